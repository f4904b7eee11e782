"""What a certificate says about each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from robustgames.errors import GameError


@dataclass(frozen=True, eq=False)
class Verdicts:
    """The result of a certificate.

    An image is certified (no input of its ball is misclassified), falsified (a misclassified one is known), or neither:
    then this method does not know.

    Args:
        method: Name of the certificate.
        certified: Mask of the certified images, (N,).
        falsified: Mask of the falsified images, (N,).
        margin: Lower bounds of min_c (z_y - z_c) over each ball, c != y, float64 (N,); positive if certified. -inf if
            there is none. For smoothing it is the lower bound of the probability of y under noise, minus 1/2.
        x_adv: Misclassified inputs of the ball where falsified, else the images themselves, (N, ...).
        radius: Radii up to which the image is certified, (N,), if the method finds one; else None.
        seconds: Wall-clock time.
        of_smoothed: Whether all this is about the smoothed classifier, and not about the model.
        unreached: Number of images, the last ones, that Ctrl-C left without a verdict. They count as unknown.
    """

    method: str
    certified: Tensor
    falsified: Tensor
    margin: Tensor
    x_adv: Tensor
    radius: Tensor | None = None
    seconds: float = 0.0
    of_smoothed: bool = False
    unreached: int = 0

    @property
    def unknown(self) -> Tensor:
        """Mask of the images about which the method does not know, (N,)."""
        return ~self.certified & ~self.falsified

    @property
    def certified_accuracy(self) -> float:
        """Share of the certified images, a lower bound of the accuracy under every attack."""
        return float(self.certified.double().mean()) if len(self.certified) else float("nan")

    def table(self) -> dict[str, Any]:
        """Return all but the tensors, ready for JSON; the interval is that of the share certified, at 95 %."""
        certified, count = int(self.certified.sum()), len(self.certified)
        return {
            "certified": certified,
            "falsified": int(self.falsified.sum()),
            "unknown": int(self.unknown.sum()),
            "certified_accuracy": self.certified_accuracy,
            "interval": list(clopper_pearson(certified, count)),
            "unreached": self.unreached,
            "of_smoothed": self.of_smoothed,
            "seconds": round(self.seconds, 2),
        }


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a probability from a number of successes.

    Source: Clopper and Pearson 1934.

    Raises:
        GameError: There are fewer than 0 successes or more than trials, or the level is not strictly between 0 and 1.

    Example:
        >>> [round(end, 4) for end in clopper_pearson(8, 10)]
        [0.4439, 0.9748]
    """
    if not 0 <= successes <= trials:
        raise GameError(f"successes is {successes}: a number from 0 to trials = {trials} is needed")
    if not 0 < level < 1:
        raise GameError(f"level is {level}: a probability strictly between 0 and 1 is needed, e.g. 0.95")
    tail = (1 - level) / 2
    at_most = float(lower_bound(np.array(trials - successes), trials, tail))
    return float(lower_bound(np.array(successes), trials, tail)), 1 - at_most


def lower_bound(successes: np.ndarray, trials: int, alpha: float) -> np.ndarray:
    """Return one-sided lower bounds of probabilities, each of which is wrong with probability at most alpha.

    Args:
        successes: Numbers of successes.
        trials: Number of trials.
        alpha: Probability of a bound above the truth.

    Example:
        >>> lower_bound(np.array([0, 100]), 100, alpha=0.001).round(4).tolist()
        [0.0, 0.9333]
    """
    k = np.asarray(successes, dtype=np.float64)
    return np.where(k > 0, betaincinv(np.maximum(k, 1), trials - k + 1, alpha), 0.0)


def row_mask(mask: Tensor, x: Tensor) -> Tensor:
    """Return a mask (N,) in the number of dimensions of x (N, ...)."""
    return mask.view(-1, *(1 for _ in x.shape[1:]))


def joined(parts: list[Verdicts]) -> Verdicts:
    """Return the verdicts of batches as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    certified, falsified, margin, x_adv = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("certified", "falsified", "margin", "x_adv")
    )
    radii = [part.radius for part in parts if part.radius is not None]
    seconds, unreached = sum(part.seconds for part in parts), sum(part.unreached for part in parts)
    radius = torch.cat(radii) if radii else None
    return Verdicts(first.method, certified, falsified, margin, x_adv, radius, seconds, first.of_smoothed, unreached)


def unreached(method: str, x: Tensor, of_smoothed: bool, with_radius: bool) -> Verdicts:
    """Return the verdicts on images that a method has not reached."""
    none = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    margin, radius = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device), none.double()
    return Verdicts(method, none, none, margin, x.clone(), radius if with_radius else None, 0.0, of_smoothed, len(x))
