"""Losses of a classifier: scores (*S, B, C) and classes (*S, B) -> (*S, B).

With one score (C = 1) classes 0 and 1 denote the signs b = -1 and +1; with more, the logistic, squared and hinge
loss take one class against the rest, b_c = +1 for the class and -1 for the others, and add up. All three depend on
the margins b_c z_c alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

ClassLoss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return -log softmax(z)_b; with one score this is the logistic loss."""
    if scores.shape[-1] == 1:
        return logistic(scores, labels)
    loss = functional.cross_entropy(scores.flatten(0, -2), labels.flatten(), reduction="none")
    return loss.view(labels.shape)


def logistic(scores: Tensor, labels: Tensor) -> Tensor:
    """Return sum_c log(1 + exp(-b_c z_c))."""
    return functional.softplus(-margins(scores, labels)).sum(-1)


def squared(scores: Tensor, labels: Tensor) -> Tensor:
    """Return sum_c (z_c - b_c)²."""
    return (1 - margins(scores, labels)).square().sum(-1)  # b² = 1


def hinge(scores: Tensor, labels: Tensor) -> Tensor:
    """Return sum_c max(0, 1 - b_c z_c)."""
    return (1 - margins(scores, labels)).clamp_min(0).sum(-1)


def margins(scores: Tensor, labels: Tensor) -> Tensor:
    """Return b_c z_c, (*S, B, C)."""
    count = scores.shape[-1]
    if count == 1:
        return scores * (2 * labels.unsqueeze(-1) - 1)
    return torch.where(functional.one_hot(labels, count).bool(), scores, -scores)


def predictions(scores: Tensor) -> Tensor:
    """Return the predicted classes, (*S, B)."""
    return (scores.squeeze(-1) > 0).long() if scores.shape[-1] == 1 else scores.argmax(-1)


def as_logits(scores: Tensor) -> Tensor:
    """Return two or more logits: one score s becomes (-s / 2, s / 2), whose cross-entropy is the logistic loss of s."""
    return scores if scores.shape[-1] > 1 else torch.cat([-scores, scores], -1) / 2


CLASS_LOSSES: dict[str, ClassLoss] = {
    "cross_entropy": cross_entropy,
    "logistic": logistic,
    "squared": squared,
    "hinge": hinge,
}
