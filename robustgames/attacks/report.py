"""What an evaluation of a classifier under attack found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Tally:
    """What one attack did: inputs it attacked, inputs that fell, images passed through per input, wall-clock time."""

    name: str
    attacked: int = 0
    fell: int = 0
    forwards: float = 0.0
    backwards: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Report:
    """What an evaluation found.

    Args:
        x_adv: adversarial inputs (N, ...); the input itself where it is robust, or misclassified from the start.
        clean: classified correctly, (N,).
        robust: classified correctly under every attack, (N,).
        attacks: one tally for each attack that began.
        warnings: signs that the figures say less than they seem to.
        interrupted: Ctrl-C stopped it; what was found until then is kept.
        unfinished: inputs that count as robust, though not every attack was tried on them.
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
