"""A batch of envs with finitely many actions, whose episodes end one by one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustgames.envs.control.batch import RobustVectorEnv
from robustgames.envs.control.batched_axes import ends_of
from robustgames.envs.control.parameters import Parameters
from robustgames.envs.control.perturbations import Distribution
from robustgames.envs.control.uncertainty_sets import Axis


class SeparateEnds(RobustVectorEnv):
    """`num_envs` copies of an env with n actions, each with a protagonist and an adversary, whose episodes differ.

    Action: {"protagonist": a, "adversary": ā}, preferences (N, n) in [-1, 1]; of the preferences that the coupling
    executes, the largest is the action, the first of equals, as in `Preferences`. Observation, reward, termination and
    starts are those of Gymnasium's env. The state is float64 whatever the dtype of observations is.

    An episode is truncated after `max_episode_steps` of its own, and a new one starts in the same step (Gymnasium's
    SAME_STEP) in the envs whose episodes are over, `info["_final_obs"]`. The observation returned is then the first of
    the next episode; `info["final_obs"]` holds, in every step, the ones that the actions led to.

    Every env draws from a stream of its own, as many numbers in every step, so its episodes depend neither on the other
    envs nor on when theirs end. No step waits for a GPU; on a CPU, a step in which no episode ends draws nothing.

    A subclass states `parameters` and the protected methods of the env.
    """

    parameters: ClassVar[Parameters]

    def __init_subclass__(cls) -> None:
        cls.axes = cls.parameters.axes

    # -- the env -------------------------------------------------------------------------------------------------
    @abstractmethod
    def _start(self, u: Tensor) -> Tensor:
        """Return the first states, (N, d), from uniform numbers u (N, d) in [0, 1)."""

    @abstractmethod
    def _after(self, state: Tensor, action: Tensor) -> Tensor:
        """Return the states (N, d) that actions (N,), whole numbers, lead to."""

    @abstractmethod
    def _judge(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return (rewards, whether they are terminal), (N,) each, of the states that were reached."""

    def _move(self, executed: Tensor) -> tuple[Tensor, Tensor]:
        self._state = self._after(self._state, executed.argmax(-1))
        return self._judge(self._state)

    @cached_property
    def _skips(self) -> bool:
        """Whether a step looks whether an episode ended: on a GPU it would wait for that."""
        return self.device.type == "cpu"

    # -- ends of episodes ----------------------------------------------------------------------------------------
    def _begin(self) -> None:
        self._elapsed = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self._lengths = torch.zeros_like(self._elapsed)
        self._state = self._start(self._uniform(torch.float64, len(self.state_words)))
        self._perturb(self._drawn())

    def _place(self, state: Tensor) -> None:
        self._state = state

    def _renew(self, terminated: Tensor) -> tuple[Tensor, Tensor, bool]:
        elapsed = self._elapsed + 1
        truncated = elapsed >= self.max_episode_steps
        over = terminated | truncated
        varied = sum(isinstance(value, Distribution) for value in self._source.values())
        begun = not self._skips or bool(over.any())
        if not begun:
            self.generator.skip(len(self.state_words) + varied)
            self._elapsed, self._lengths = elapsed, torch.zeros_like(elapsed)
            return truncated, over, begun
        self._lengths = torch.where(over, elapsed, 0)
        self._elapsed = torch.where(over, 0, elapsed)
        start = self._start(self._uniform(torch.float64, len(self.state_words)))
        self._state = torch.where(over.unsqueeze(-1), start, self._state)
        if varied:
            self._perturb(_chosen(over, self._drawn(), self.perturbation))
        return truncated, over, begun

    def ended(self) -> list[int]:
        return self._lengths.tolist()

    def _perturb(self, perturbation: dict[str, Any]) -> None:
        """Take the parameters of a perturbation of every env."""
        self.perturbation, one = perturbation, torch.ones((), dtype=torch.float64, device=self.device)

        def scale(axis: str, part: str | None = None) -> Tensor:
            value = perturbation.get(axis, one)
            return value.get(part, one) if isinstance(value, Mapping) else value

        self._now = self.parameters.scaled(self.parameters.base, scale)

    def _check_range(self, perturbation: Mapping[Axis, float | Distribution]) -> None:
        ends = ends_of(perturbation)
        self.parameters.check({axis: both for axis, both in ends.items() if axis != "action_noise"})

    # -- what changes --------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        now = {"state": self._state, "elapsed": self._elapsed, "lengths": self._lengths}
        return {**now, "generator": self.generator.get_state(), "drawn": self.perturbation}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._state, self._elapsed, self._lengths = (
            state[name].to(self.device) for name in ("state", "elapsed", "lengths")
        )
        self._seeded = True
        self.generator.set_state(state["generator"])
        self._perturb(_moved(state["drawn"], self.device))


def _chosen(over: Tensor, new: Any, old: Any) -> Any:
    """Return the new values where episodes are over, and the old ones elsewhere."""
    if isinstance(new, Mapping):
        return {name: _chosen(over, value, old[name]) for name, value in new.items()}
    return torch.where(over, new, old)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Mapping):
        return {name: _moved(one, device) for name, one in value.items()}
    return value.to(device)
