"""The result of an evaluation of a classifier under attack."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Tally:
    """The result of one attack: inputs attacked, inputs fooled, forward and backward passes per input, and seconds."""

    name: str
    attacked: int = 0
    fooled: int = 0
    forwards: float = 0.0
    backwards: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Report:
    """The result of an evaluation.

    Args:
        x_adv: Adversarial inputs (N, ...); the input itself if it is robust, or misclassified from the start.
        clean: Mask of the inputs that are classified correctly, (N,).
        robust: Mask of the inputs that are classified correctly under every attack, (N,).
        attacks: Tallies of the attacks that began.
        warnings: Signs that the figures mean less than they seem to.
        interrupted: Whether Ctrl-C stopped the evaluation; the examples found until then are kept.
        unfinished: Number of inputs that count as robust, although not every attack was tried on them.
    """

    x_adv: Tensor
    clean: Tensor
    robust: Tensor
    attacks: tuple[Tally, ...]
    warnings: tuple[str, ...] = ()
    interrupted: bool = False
    unfinished: int = 0

    @property
    def clean_accuracy(self) -> float:
        """Share of inputs that are classified correctly."""
        return _share(self.clean)

    @property
    def robust_accuracy(self) -> float:
        """Share of inputs that no attack could fool."""
        return _share(self.robust)

    def table(self) -> dict[str, Any]:
        """Return all but the tensors, ready for JSON."""
        return {
            "inputs": len(self.clean),
            "clean_accuracy": self.clean_accuracy,
            "robust_accuracy": self.robust_accuracy,
            "attacks": [asdict(tally) for tally in self.attacks],
            "warnings": list(self.warnings),
            "interrupted": self.interrupted,
            "unfinished": self.unfinished,
        }


def _share(mask: Tensor) -> float:
    return float(mask.double().mean()) if len(mask) > 0 else float("nan")
