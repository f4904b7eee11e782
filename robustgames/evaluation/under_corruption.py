"""Accuracy of a classifier on corrupted images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.attacks.inputs import Bounds, check_batch_size, check_inputs, check_labels
from robustgames.attacks.victim import Model, Victim
from robustgames.data.corruptions import SEVERITIES, as_images, corrupt, kinds_of
from robustgames.errors import GameError

TOGETHER, LARGEST = 250, 2**28  # images that share the draws of a generator, and their bytes unless one is larger


@dataclass(frozen=True)
class Corrupted:
    """Accuracies on corrupted images.

    Attributes:
        images: Number of images.
        clean: Accuracy on the images as they are.
        accuracy: Accuracies {kind: those at severities 1 to 5}.
    """

    images: int
    clean: float
    accuracy: dict[str, tuple[float, ...]]

    @property
    def mean_error(self) -> float:
        """Mean corruption error: the mean of 1 - accuracy over kinds and severities.

        Hendrycks and Dietterich divide the error of each kind by that of AlexNet first; here nothing is divided.
        """
        shares = [share for row in self.accuracy.values() for share in row]
        return 1 - sum(shares) / len(shares) if shares else float("nan")

    def table(self) -> dict[str, Any]:
        """Return the accuracies, ready for JSON."""
        kinds = {kind: list(row) for kind, row in self.accuracy.items()}
        return {"images": self.images, "clean": self.clean, "accuracy": kinds, "mean_error": self.mean_error}


def under_corruption(
    model: Model,
    x: Tensor,
    y: Tensor,
    kinds: str | Sequence[str] = "all",
    *,
    bounds: Bounds = (0.0, 1.0),
    seed: int = 0,
    batch_size: int = 250,
    progress: Callable[[Corrupted], None] | None = None,
) -> Corrupted:
    """Evaluate a classifier on images corrupted in several ways, each at five severities.

    Every kind draws from a generator of its own with the seed, at every severity again, so the result of a kind does
    not depend on which others are evaluated, nor on `batch_size`.

    Args:
        model: Classifier, inputs (N, ...) -> logits (N, C).
        x: Images (N, C, H, W) with C = 1 or 3, (N, H, W), or flat square ones (N, p).
        y: Labels (N,).
        kinds: "all", which are the 15 kinds of ImageNet-C, or names out of `robustgames.data.corruptions.CORRUPTIONS`.
        bounds: Least and largest value of an input, numbers.
        seed: Seed of the corruptions.
        batch_size: Images that pass through the model together.
        progress: Function that is called with the result so far after every kind.

    Raises:
        GameError: Unknown kind, inputs that are not images or lie outside their bounds, bounds that are not numbers,
            labels of the wrong type or number, or batch_size below 1.

    Example:
        >>> x = torch.rand(50, 1, 8, 8)
        >>> model = lambda x: torch.stack([x.mean((1, 2, 3)), 0.9 + 0 * x[:, 0, 0, 0]], 1)
        >>> under_corruption(model, x, torch.ones(50).long(), "contrast").accuracy    # which does not change the mean
        {'contrast': (1.0, 1.0, 1.0, 1.0, 1.0)}
    """
    names = kinds_of(kinds)
    low, high = bounds
    images = as_images(x)
    if images is None:
        raise GameError(f"inputs {tuple(x.shape)} are not images of 1 or 3 channels: they have no corruptions")
    if isinstance(low, Tensor) or isinstance(high, Tensor) or not high - low < float("inf"):
        raise GameError("images to corrupt need the same finite bounds for all pixels, e.g. --bounds 0,1")
    check_inputs(x, bounds)
    classes = check_labels("labels", y, x)
    check_batch_size(batch_size)
    victim = model if isinstance(model, Victim) else Victim(model)
    accuracy: dict[str, tuple[float, ...]] = {}
    together = max(1, min(TOGETHER, LARGEST // max(images[:1].nbytes, 1)))

    def right(change: Callable[[Tensor], Tensor]) -> float:
        count = 0
        for part, labels in zip(images.split(together), y.split(together), strict=True):
            inputs = (low + (high - low) * change(((part - low) / (high - low)).clamp(0, 1))).clamp(low, high)
            inputs = inputs.view(-1, *x.shape[1:])
            for batch, own in zip(inputs.split(batch_size), labels.split(batch_size), strict=True):
                count += int((victim.logits(batch).argmax(-1) == own).sum())
        return count / max(len(y), 1)

    with victim.under_attack(classes), torch.no_grad():
        clean = right(lambda part: part)
        for kind in names:
            row = []
            for severity in SEVERITIES:
                generator = Generator(x.device).manual_seed(seed)
                row.append(right(lambda part, k=kind, s=severity, g=generator: corrupt(part, k, s, g)))
            accuracy[kind] = tuple(row)
            if progress is not None:
                progress(Corrupted(len(y), clean, dict(accuracy)))
    return Corrupted(len(y), clean, accuracy)
