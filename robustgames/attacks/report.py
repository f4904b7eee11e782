"""The result of an evaluation of a classifier under attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
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
            With `eot` above 1, the point found for each input that fools most passes.
        clean: Mask of the inputs that are classified correctly, (N,).
        robust: Mask of the inputs that are classified correctly under every attack, (N,).
        attacks: Tallies of the attacks that began.
        warnings: Signs that the figures mean less than they seem to.
        interrupted: Whether Ctrl-C stopped the evaluation; the examples found until then are kept.
        unfinished: Number of inputs that count as robust, although not every attack was tried on them.
        eot: Passes over which a stochastic classifier is judged. Above 1, `clean` and `robust` are the inputs that are
            classified correctly in most passes, and accuracies are means over the passes.
        clean_passes: Verdicts of the passes on the inputs, (eot, N): True if correct. None if eot is 1.
        robust_passes: Verdicts of new passes on the adversarial inputs, (eot, N).

    The standard errors are those of the noise: of the accuracies of the single passes, over the root of their number.
    They do not contain the choice of the inputs.
    """

    x_adv: Tensor
    clean: Tensor
    robust: Tensor
    attacks: tuple[Tally, ...]
    warnings: tuple[str, ...] = ()
    interrupted: bool = False
    unfinished: int = 0
    eot: int = 1
    clean_passes: Tensor | None = None
    robust_passes: Tensor | None = None

    @property
    def clean_accuracy(self) -> float:
        """Share of inputs that are classified correctly, over all passes."""
        return _share(self.clean if self.clean_passes is None else self.clean_passes)

    @property
    def robust_accuracy(self) -> float:
        """Share of inputs that no attack could fool, over all passes."""
        return _share(self.robust if self.robust_passes is None else self.robust_passes)

    @property
    def clean_standard_error(self) -> float | None:
        """Standard error of the clean accuracy of a stochastic classifier; None if eot is 1."""
        return _error(self.clean_passes)

    @property
    def robust_standard_error(self) -> float | None:
        """Standard error of the robust accuracy of a stochastic classifier; None if eot is 1."""
        return _error(self.robust_passes)

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
            "eot": self.eot,
            "clean_standard_error": self.clean_standard_error,
            "robust_standard_error": self.robust_standard_error,
        }


def join_reports(parts: Sequence[Report]) -> Report:
    """Return the report on the inputs of several parts, which were attacked one after the other in the same way.

    Passes per input are means over the inputs attacked. The examples `x_adv` are those of all parts together.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    tallies: dict[int, list[Tally]] = {}
    for part in parts:
        for place, tally in enumerate(part.attacks):
            tallies.setdefault(place, []).append(tally)
    passes = {
        name: torch.cat([getattr(part, name) for part in parts], 1)
        for name in ("clean_passes", "robust_passes")
        if getattr(first, name) is not None
    }
    return Report(
        torch.cat([part.x_adv for part in parts]),
        torch.cat([part.clean for part in parts]),
        torch.cat([part.robust for part in parts]),
        tuple(_together(each) for each in tallies.values()),
        tuple(dict.fromkeys(note for part in parts for note in part.warnings)),
        any(part.interrupted for part in parts),
        sum(part.unfinished for part in parts),
        first.eot,
        **passes,
    )


def _together(tallies: list[Tally]) -> Tally:
    attacked = sum(tally.attacked for tally in tallies)
    forwards, backwards = (
        sum(getattr(tally, name) * tally.attacked for tally in tallies) / max(attacked, 1)
        for name in ("forwards", "backwards")
    )
    fooled, seconds = (sum(getattr(tally, name) for tally in tallies) for name in ("fooled", "seconds"))
    return Tally(tallies[0].name, attacked, int(fooled), forwards, backwards, seconds)


def _share(mask: Tensor) -> float:
    return float(mask.double().mean()) if mask.numel() > 0 else float("nan")


def _error(passes: Tensor | None) -> float | None:
    if passes is None or passes.numel() == 0:
        return None
    return float(passes.double().mean(-1).std() / len(passes) ** 0.5)
