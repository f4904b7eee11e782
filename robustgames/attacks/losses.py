"""Losses that an attack raises: logits (N, C), labels (N,) -> (N,). A positive margin means misclassified."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

LabelLoss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return -log softmax(z)_y."""
    return functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return max_{i != y} z_i - z_y, the loss of Carlini and Wagner 2017: positive if misclassified."""
    true = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return _others(logits, labels).amax(-1) - true


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the difference of logits ratio -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)), z_(i) sorted, C >= 3.

    Unlike the cross-entropy it does not change when the logits are shifted or scaled. Source: Croce and Hein 2020,
    eq. (6).
    """
    top = logits.topk(3, dim=-1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), C >= 4. Source: Croce and Hein 2020, eq. (7)."""
    top = logits.topk(4, dim=-1).values
    pair = logits.gather(-1, torch.stack([targets, labels], -1))
    return (pair[:, 0] - pair[:, 1]) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


def _others(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.scatter(-1, labels.unsqueeze(-1), -float("inf"))


LOSSES: dict[str, LabelLoss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}


def classes_needed(loss: str | LabelLoss, targeted: bool) -> int:
    """Return the fewest classes for which a loss is defined."""
    return 2 if loss != "dlr" else 4 if targeted else 3
