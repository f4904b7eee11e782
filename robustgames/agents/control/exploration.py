"""Exploration: noise on actions, or on the weights of a policy.

Settings are frozen. The state is an explicit one of tensors and integers, of all runs at once. Everything is drawn from
the generator of the runs, a `Streams` if every run draws its own numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.solvers.rules import State
from robustgames.streams import branch, normal


class ActionNoise(ABC):
    """A process whose values are added to actions."""

    @abstractmethod
    def init(self, actions: Tensor) -> State:
        """Return the state before the first step of an episode, for actions of this shape, (*S, k)."""

    @abstractmethod
    def step(self, state: State, actions: Tensor, generator: Generator) -> tuple[Tensor, State]:
        """Return (the noise for these actions, (*S, k); the next state)."""

    def restart(self, state: State, ended: Tensor) -> State:
        """Return the state after a restart of the runs whose episode has ended, `ended` (*S,)."""
        return state


BLOCK = 256  # steps of white noise that are drawn at once: a call costs more than the numbers


@dataclass(frozen=True)
class GaussianNoise(ActionNoise):
    """std ξ, with a new ξ ~ N(0, I) in every step.

    Source: Fujimoto, van Hoof and Meger 2018 (TD3: 0.1).

    Args:
        std: A number, or a tensor (*S, 1) with one per run.
    """

    std: float | Tensor = 0.1

    def __post_init__(self) -> None:
        _check_size("std", self.std)

    def init(self, actions: Tensor) -> State:
        return {}

    def step(self, state: State, actions: Tensor, generator: Generator) -> tuple[Tensor, State]:
        state = self.advance(state, actions.shape, generator, actions.dtype)
        return state["block"][..., state["left"], :], state

    def advance(self, state: State, shape: Sequence[int], generator: Generator, dtype: torch.dtype) -> State:
        """Return the next state, {"block": (*S, BLOCK, k), "left"}, whose noise is block[..., left, :]."""
        left = state.get("left", 0)
        block = state["block"] if left else self._drawn(shape, generator, dtype)
        return {"block": block, "left": (left or BLOCK) - 1}

    def _drawn(self, shape: Sequence[int], generator: Generator, dtype: torch.dtype) -> Tensor:
        std = self.std.unsqueeze(-1) if isinstance(self.std, Tensor) else self.std
        *runs, k = shape
        return std * normal((*runs, BLOCK, k), generator, dtype)


@dataclass(frozen=True)
class OrnsteinUhlenbeck(ActionNoise):
    """u⁺ = (1 - theta dt) u + std sqrt(dt) ξ, ξ ~ N(0, I), from u = 0 in every episode: correlated noise.

    Its standard deviation tends to std / sqrt(2 theta - theta² dt), and its correlation over l steps is
    (1 - theta dt)^l: with the defaults one step adds 0.02, and the correlation time is 667 steps.

    Source: Uhlenbeck and Ornstein 1930; Lillicrap et al. 2016 (theta 0.15, std 0.2), with the dt = 0.01 of the code
    that followed it and of Tessler et al. 2019.

    Args:
        std: A number, or a tensor (*S, 1) with one per run.
        theta: Rate of return to 0.
        dt: Length of a step, 0 < theta dt <= 1.
    """

    std: float | Tensor = 0.2
    theta: float = 0.15
    dt: float = 1e-2

    def __post_init__(self) -> None:
        _check_size("std", self.std)
        if not (self.dt > 0 and 0 < self.theta * self.dt <= 1):
            raise GameError(f"theta dt is {self.theta * self.dt:g}: it lies in (0, 1], e.g. theta=0.15 and dt=0.01")

    def init(self, actions: Tensor) -> State:
        return {"u": torch.zeros_like(actions)}

    def step(self, state: State, actions: Tensor, generator: Generator) -> tuple[Tensor, State]:
        u = (1 - self.theta * self.dt) * state["u"] + self.std * self.dt**0.5 * normal(
            actions.shape, generator, actions.dtype
        )
        return u, {"u": u}

    def restart(self, state: State, ended: Tensor) -> State:
        return {"u": state["u"].masked_fill(ended.unsqueeze(-1), 0.0)}


@dataclass(frozen=True)
class AdaptiveParameterNoise:
    """A policy of weights w + std ξ, drawn once per episode; std holds the distance between both policies at delta.

    Every `interval` steps new weights are drawn around the *current* w, and both policies act in given states. If
    d <= delta, std grows by `factor`, else it shrinks by it; d = sqrt(mean over states and actions of
    (π_w(s) - π_{w + std ξ}(s))²). (The code of Tessler et al. 2019 compares with actions from the replay, which older
    policies played.) On average the noise acts like Gaussian action noise of standard deviation delta.

    Layers differ in how far they carry a disturbance, so a single std disturbs some of them too much. Layer
    normalization between the layers evens that out (`MLP(norm=True)`, which has no weights of its own to disturb).

    Source: Plappert et al. 2018, section 3 and appendix C.1; interval and first std from the code of OpenAI baselines.

    Args:
        std: First standard deviation, a number.
        delta: Distance of actions to hold, > 0; actions lie in [-1, 1].
        factor: Factor of an adaptation, > 1.
        interval: Number of steps between two adaptations.

    Example:
        >>> noise, w = AdaptiveParameterNoise(delta=0.1), torch.zeros(8, 33)    # 8 runs
        >>> state = noise.init(w, torch.Generator().manual_seed(0))
        >>> state["weights"].shape, state["std"].shape
        (torch.Size([8, 33]), torch.Size([8, 1]))
    """

    std: float = 0.2
    delta: float = 0.2
    factor: float = 1.01
    interval: int = 50

    def __post_init__(self) -> None:
        _check_size("std", self.std)
        if not (self.std > 0 and 0 < self.delta < float("inf")):
            raise GameError(f"std is {self.std} and delta is {self.delta}: both are positive, e.g. 0.2")
        if not 1 < self.factor < float("inf") or self.interval < 1:
            raise GameError(f"factor is {self.factor} and interval {self.interval}: above 1, and at least 1")

    def init(self, weights: Tensor, generator: Generator) -> State:
        """Return the first state, with the weights to act with in the first episode: weights (*S, n)."""
        std = torch.full_like(weights[..., :1], self.std)
        episode = torch.zeros_like(std[..., 0], dtype=torch.int64)
        return {"k": 0, "std": std, "weights": self._disturbed(weights, std, generator), "episode": episode}

    def restart(self, state: State, weights: Tensor, ended: Tensor, generator: Generator) -> State:
        """Return the state with new weights, drawn around `weights`, in the runs whose episode has ended, (*S,).

        The draws of a `Streams` depend on the number of the run's episode, not on the time at which others end.
        """
        episode = state["episode"] + ended
        fresh = self._disturbed(weights, state["std"], branch(generator, episode))
        return {**state, "weights": torch.where(ended.unsqueeze(-1), fresh, state["weights"]), "episode": episode}

    def adapt(
        self,
        state: State,
        policy: Callable[[Tensor, Tensor], Tensor],
        weights: Tensor,
        states: Tensor | Callable[[], Tensor],
        generator: Generator,
    ) -> State:
        """Count a step, and adapt std if that is due: policy(weights (*S, n), states (*S, B, p)) -> (*S, B, k).

        States that are a function are computed only then.
        """
        k = state["k"] + 1
        if k % self.interval:
            return {**state, "k": k}
        others = self._disturbed(weights, state["std"], generator)
        d = self.distance(policy, weights, others, states if isinstance(states, Tensor) else states())
        change = torch.where(d <= self.delta, self.factor, 1 / self.factor).unsqueeze(-1)
        return {**state, "k": k, "std": state["std"] * change.to(state["std"])}

    def distance(
        self, policy: Callable[[Tensor, Tensor], Tensor], weights: Tensor, others: Tensor, states: Tensor
    ) -> Tensor:
        """Return d between the policies of two weights, (*S,)."""
        return (policy(weights, states) - policy(others, states)).square().mean((-2, -1)).sqrt()

    def _disturbed(self, weights: Tensor, std: Tensor, generator: Generator) -> Tensor:
        return weights + std * normal(weights.shape, generator, weights.dtype)


def _check_size(name: str, value: float | Tensor) -> None:
    if isinstance(value, Tensor):
        if not bool(((value >= 0) & (value < float("inf"))).all()):
            raise GameError(f"{name} is {value.flatten().tolist()}: every standard deviation is >= 0")
    elif not 0 <= value < float("inf"):
        raise GameError(f"{name} is {value}: it must be a standard deviation >= 0, e.g. {name}=0.1")
