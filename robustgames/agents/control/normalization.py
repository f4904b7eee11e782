"""Observations scaled by their running mean and deviation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustgames.checkpoints import CHECKPOINT, check_like

CLIP = 5.0


class RunningNorm:
    """s -> clip((s - mean) / std, ±5), with the mean and standard deviation of all observations so far, of each run.

    The replay keeps raw observations. Minibatches, and the observations that policies act on, are scaled by the current
    statistics. Evaluation does not change these.

    Source: Tessler, Efroni and Mannor 2019 (code), after OpenAI baselines; recursion of Welford 1962.

    Args:
        runs, size: S and p.
        device: Device of the observations.

    Example:
        >>> norm = RunningNorm(1, 1)
        >>> for s in (1.0, 3.0):
        ...     norm.update(torch.tensor([[s]]))
        >>> norm.apply_(torch.tensor([[[3.0]]])).item()
        1.0
    """

    def __init__(self, runs: int, size: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self.mean = torch.zeros(runs, 1, size, device=device, dtype=torch.float64)
        self.squares = torch.zeros_like(self.mean)  # sum of squared deviations from the mean
        self._shift, self._scale = self.mean.float(), torch.ones_like(self.mean, dtype=torch.float32)

    def update(self, observations: Tensor) -> None:
        """Add one observation of every run, (S, p)."""
        s = observations.unsqueeze(-2).double()
        self.count += 1
        before = s - self.mean
        self.mean = self.mean + before / self.count
        self.squares = torch.addcmul(self.squares, before, s - self.mean)
        self._refresh()

    def _refresh(self) -> None:
        std = (self.squares / max(1, self.count)).sqrt()
        self._scale = torch.where(std > 1e-6, 1 / std, 1.0).float()  # a constant component is only centered
        self._shift = self.mean.float()

    def apply_(self, observations: Tensor, run: int | None = None) -> Tensor:
        """Scale observations (S, B, p) of all runs, or (B, p) of one run, in place, and return them."""
        runs = slice(None) if run is None else run
        return observations.sub_(self._shift[runs]).mul_(self._scale[runs]).clamp_(-CLIP, CLIP)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (shift, factor) of the observations of a CPU, (S, p) each: s -> (s - shift) factor."""
        return self._shift.squeeze(1).numpy(), self._scale.squeeze(1).numpy()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        check_like(state, self.state_dict(), CHECKPOINT, ("norm",))
        self.count = state["count"]
        self.mean, self.squares = (state[name].to(self.mean) for name in ("mean", "squares"))
        self._refresh()
