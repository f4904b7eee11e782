"""Replay: the transitions of S runs side by side, in one tensor."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.checkpoints import CHECKPOINT, Several, check_like
from robustgames.errors import GameError
from robustgames.streams import integers

Array = Tensor | np.ndarray | float | bool


class Transitions(NamedTuple):
    """Sampled transitions; the parts are views of one new tensor `rows`, (*S, B, width), and may be changed."""

    rows: Tensor
    played: Tensor
    """[s | a], the critic's input, (*S, B, p + k)."""
    states: Tensor
    """s, (*S, B, p)."""
    actions: Tensor
    """a as executed, (*S, B, k)."""
    next_states: Tensor
    """s', (*S, B, p)."""
    rewards: Tensor
    """r, (*S, B, 1)."""
    continues: Tensor
    """1 - terminated, (*S, B, 1): whether s' has a value."""


class Replay:
    """The last `capacity` transitions of every run: rows [s | a | s' | r | 1 - terminated] of one tensor.

    A minibatch is one gather. A time limit truncates an episode but does not end it: the last transition is like any
    other, and its s' is the observation before the reset. Only with `terminated` does s' have no value.

    Args:
        capacity: Number of transitions of one run, >= 1; memory is taken as they are added.
        state_size: Size p of a state.
        action_size: Size k of an action.
        shape: Shape of the runs, () or (S,).
        device, dtype: Device and dtype of the tensor.

    Raises:
        GameError: Sizes below 1, sampling from an empty replay, or a state of another shape.

    Example:
        >>> replay = Replay(1000, state_size=3, action_size=1, shape=(2,))
        >>> replay.add(torch.zeros(2, 3), torch.zeros(2, 1), torch.ones(2, 3), torch.ones(2), torch.tensor([0, 1]))
        >>> batch = replay.sample(5, torch.Generator().manual_seed(0))
        >>> batch.states.shape, batch.continues[:, 0].tolist()
        (torch.Size([2, 5, 3]), [[1.0], [0.0]])
    """

    def __init__(
        self,
        capacity: int,
        state_size: int,
        action_size: int,
        shape: tuple[int, ...] = (),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        for name, value in (("capacity", capacity), ("state_size", state_size), ("action_size", action_size)):
            if value < 1:
                raise GameError(f"{name} is {value}: it must be a whole number of at least 1")
        if len(shape) > 1:
            raise GameError(f"shape is {shape}: () for one run, or (S,) for S runs side by side")
        self.capacity, self.shape, self.dtype = capacity, shape, dtype
        self.state_size, self.action_size, self._runs = state_size, action_size, shape[0] if shape else 1
        self.width = 2 * state_size + action_size + 2
        # never touched before it is written: the system hands out the memory as the replay fills
        self._rows = torch.empty(capacity, self._runs, self.width, device=device, dtype=dtype)
        self.lines = self._rows.view(-1, self.width)
        """The transitions of all runs, (capacity * S, width): line c * S + i is number c of run i."""
        self._first = torch.arange(self._runs, device=device).unsqueeze(-1)  # the number of each run within a row
        self.size = self.position = 0
        self._shapes = tuple((*shape, n) for n in (state_size, action_size, state_size))
        self._arrays = self._parts(self._rows.numpy()) if self._rows.device.type == "cpu" else None

    def _parts(self, rows: Any) -> tuple[Any, ...]:
        p, k = self.state_size, self.action_size
        bounds = (0, p, p + k, 2 * p + k, 2 * p + k + 1, 2 * p + k + 2)
        parts = [rows[..., a:b] for a, b in pairwise(bounds)]
        return (*parts[:3], parts[3][..., 0], parts[4][..., 0])

    def add(self, state: Array, action: Array, next_state: Array, reward: Array, terminated: Array) -> None:
        """Add one transition of every run: (*S, p), (*S, k), (*S, p), (*S,), (*S,), numpy arrays or tensors."""
        if self._arrays is None or isinstance(state, Tensor):
            values = (state, action, next_state, reward, terminated)
            self.extend(*(torch.as_tensor(v, device=self._rows.device).unsqueeze(0) for v in values))
            return
        if (np.shape(state), np.shape(action), np.shape(next_state)) != self._shapes:
            raise self._misfit(state, action)
        at, (s, a, next_s, r, continues) = self.position, self._arrays
        s[at], a[at], next_s[at], r[at] = state, action, next_state, reward
        continues[at] = np.logical_not(terminated)
        self._advance(1)

    def extend(self, states: Tensor, actions: Tensor, next_states: Tensor, rewards: Tensor, terminated: Tensor) -> None:
        """Add E <= capacity transitions of every run: tensors as in `add` with a leading dimension E."""
        kind, (e, *runs), p, k = self._rows.dtype, rewards.shape, self.state_size, self.action_size
        shapes = [states.shape, actions.shape, next_states.shape, terminated.shape]
        if shapes != [(e, *runs, p), (e, *runs, k), (e, *runs, p), (e, *runs)] or tuple(runs) != self.shape:
            raise self._misfit(states[0], actions[0])
        if e > self.capacity:
            raise GameError(f"{e} transitions at once do not fit a capacity of {self.capacity}")
        flags = torch.stack([rewards.to(kind), 1 - terminated.to(kind)], -1)
        new = torch.cat([states.to(kind), actions.to(kind), next_states.to(kind), flags], -1)
        new, e = new.view(e, self._runs, self.width), min(e, self.capacity - self.position)
        self._rows[self.position : self.position + e] = new[:e]
        self._rows[: len(new) - e] = new[e:]  # around the end of the ring
        self._advance(len(new))

    def _advance(self, added: int) -> None:
        self.position = (self.position + added) % self.capacity
        self.size = min(self.size + added, self.capacity)

    def _misfit(self, state: Any, action: Any) -> GameError:
        return GameError(
            f"states of shape {tuple(np.shape(state))} and actions of shape {tuple(np.shape(action))}: expected "
            f"{(*self.shape, self.state_size)} and {(*self.shape, self.action_size)}, and one reward and end per run"
        )

    def sample(self, batch_size: int, generator: Generator) -> Transitions:
        """Return `batch_size` transitions of every run, drawn with replacement, independently for every run.

        Raises:
            GameError: The replay is empty.
        """
        if self.size == 0:
            raise GameError("the replay is empty: add transitions before sampling")
        return self.at(integers(self.size, (self._runs, batch_size), generator))

    def at(self, index: Tensor) -> Transitions:
        """Return the transitions at places (S, B), (1, B) for one run, that are below `size`."""
        batch_size = index.size(1)
        if self._runs > 1:
            index = index * self._runs + self._first
        rows = self.lines.index_select(0, index.view(-1)).view(*self.shape, batch_size, self.width)
        p, k = self.state_size, self.action_size
        s, a, next_s, r, continues = rows.split_with_sizes([p, k, p, 1, 1], -1)
        return Transitions(rows, rows[..., : p + k], s, a, next_s, r, continues)

    # -- disk ------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Return the transitions, a view until the next `add`; once loaded, sampling continues bit for bit."""
        return {"rows": self._rows[: self.size], "position": self.position, "capacity": self.capacity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the transitions of a saved replay.

        Raises:
            GameError: It has another capacity, other runs or other sizes.
        """
        rows = state["rows"]
        if state["capacity"] != self.capacity or rows.shape[1:] != self._rows.shape[1:]:
            saved = f"{state['capacity']} transitions of {tuple(rows.shape[1:])}"
            own = f"{self.capacity} of {tuple(self._rows.shape[1:])}"
            raise GameError(f"the saved replay holds {saved} (runs, width), this one {own}: make it of the same sizes")
        check_like(state, {"rows": Several(self._rows[0], self.capacity), "position": 0}, CHECKPOINT, ("replay",))
        places = range(self.capacity) if len(rows) == self.capacity else (len(rows),)
        if state["position"] not in places:
            raise GameError(f"position of the saved replay is {state['position']}: it holds {len(rows)} transitions")
        self._rows[: len(rows)] = rows
        self.size, self.position = len(rows), state["position"]
