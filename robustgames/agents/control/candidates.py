"""The candidates of the worst parameters: how often each is the worst, which are replaced, and what episodes get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.checkpoints import CHECKPOINT, check_like
from robustgames.solvers.rules import State
from robustgames.streams import uniform
from robustgames.tensors import Keys, rebuild


class Candidates:
    """N candidates of each run with their shares p_k, which follow the candidate that is the worst in an update.

    p_k⁺ = (1 - 1/T) p_k + 1/T if k was the worst, else (1 - 1/T) p_k; T is the length of the run's last episode. An
    episode gets candidate k with probability p_k, and normal noise. Before it begins, candidates are drawn again if
    they are near a later candidate (in the 1-norm of coordinates), or if their share is small. Their share is then the
    mean of the others'.

    Source: Tanabe et al. 2022, and their code, whose distance is in units of the parameters.

    Args:
        runs: S.
        count: N.
        size: d.
        device: Device of the shares.
    """

    def __init__(self, runs: int, count: int, size: int, device: torch.device) -> None:
        self.count, self.size = count, size
        self.shares = torch.full((runs, count), 1 / count, dtype=torch.float64, device=device)
        """p, (S, N)."""
        self.worst = torch.zeros(runs, dtype=torch.int64, device=device)
        """The worst candidate of each run in the last evaluation of the game, (S,)."""

    def first(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Draw logits of candidates that are uniform in the box, (*shape, N d)."""
        return _logits(uniform((*shape, self.count * self.size), generator, torch.float64)).to(dtype)

    def follow(self, lengths: Sequence[int]) -> None:
        """Move the shares towards the worst candidates of an update, by 1/T; T of each run are `lengths`."""
        rate = 1 / torch.tensor(lengths, dtype=self.shares.dtype, device=self.shares.device).unsqueeze(-1)
        self.shares = (1 - rate) * self.shares + rate * torch.nn.functional.one_hot(self.worst, self.count)

    def stale(self, coordinates: np.ndarray, run: int, distance: float, share: float) -> list[int]:
        """Return the candidates to be drawn again: near a later one, then those that were seldom the worst.

        Args:
            coordinates: Coordinates of the candidates of a run, (N, d).
            run: Number of the run.
            distance: Distance in the 1-norm up to which two candidates are near each other.
            share: Share below which a candidate is seldom the worst.
        """
        if self.count == 1:
            return []
        between = np.abs(coordinates[:, None] - coordinates[None]).sum(-1)
        near = [k for k in range(self.count - 1) if bool((between[k, k + 1 :] <= distance).any())]
        seldom = np.flatnonzero(self.shares[run].cpu().numpy() < share).tolist()
        return [*near, *(k for k in seldom if k not in near)]

    def renew(self, y: Tensor, run: int, which: Sequence[int], drawn: np.random.Generator) -> Tensor:
        """Return logits of a run, (N d,), with some candidates drawn again: a share is then the mean of the rest."""
        y, shares = y.clone(), self.shares.clone()
        for k in which:
            fresh = _logits(torch.from_numpy(drawn.uniform(size=self.size)))
            y[k * self.size : (k + 1) * self.size] = fresh.to(y)
            shares[run, k] = 0.0
            shares[run, k] = shares[run].sum() / (self.count - 1)
        total = shares[run].sum()
        shares[run] = shares[run] / total if total > 0 else 1 / self.count  # 0 after episodes of one step
        self.shares = shares
        return y

    def sample(self, coordinates: np.ndarray, run: int, spread: float, drawn: np.random.Generator) -> np.ndarray:
        """Return the coordinates (d,) of an episode: a candidate by its share, with noise, clipped to the box."""
        shares = self.shares[run].cpu().numpy()
        k = int(drawn.choice(self.count, p=shares / shares.sum()))
        return np.clip(coordinates[k] + spread * drawn.standard_normal(self.size), -1, 1)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes."""
        return {"shares": self.shares, "worst": self.worst}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        check_like(state, self.state_dict(), CHECKPOINT, ("candidates",))
        self.shares, self.worst = state["shares"].clone(), state["worst"].clone()


def forget(state: State, first: State, run: int, start: int, which: Sequence[int], size: int, count: int) -> State:
    """Return the state of a solver in which some candidates of a run have their first state, such as moments of 0.

    Args:
        state: State of the solver.
        first: State of the solver at its start, at the new point.
        run: Number of the run.
        start: n, the number of coordinates of the actor.
        which: Candidates.
        size: d.
        count: N.
    """

    def renewed(node: Any, path: Keys) -> Any:
        if not isinstance(node, Tensor) or node.dim() != 2:
            return node
        fresh: Any = first
        for key in path:
            fresh = fresh.get(key) if isinstance(fresh, dict) else None
        if not isinstance(fresh, Tensor) or fresh.shape != node.shape:
            return node
        offsets = {start + count * size: (start, size), count: (0, 1), count * size: (0, size)}
        if node.shape[-1] not in offsets:
            return node
        offset, width = offsets[node.shape[-1]]
        node = node.clone()
        for k in which:
            own = slice(offset + k * width, offset + (k + 1) * width)
            node[run, own] = fresh[run, own]
        return node

    return rebuild(state, renewed)


def _logits(u: Tensor) -> Tensor:
    """Return the logits of numbers in [0, 1], kept from infinity."""
    return torch.logit(u, 1e-6)
