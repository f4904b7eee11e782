"""Attacks on what a policy observes: in every state s the adversary shows it another state of a ball around s (SA-MDP).

The ball is that of ℓ∞ with radius eps, in units of the standard deviation of each component of the observation, as in
the published evaluations, whose agents observe normalized states. The attacks maximize an objective over the ball by
Auto-PGD, the engine of `robustgames.attacks`:

* `mad`, maximal action difference: |μ(ŝ) - μ(s)|²,
* `critic`: -Q(s, μ(ŝ)) with the critic of the agent, or -V(ŝ) if it has no Q,
* `sarsa`: -Q(s, μ(ŝ)) with a robust Q of this policy that is fitted here, see `fit_robust_sarsa`,
* `random`: a uniform point of the ball, the control.

Source: Zhang et al. 2020, Robust Deep Reinforcement Learning against Adversarial Perturbations on State Observations,
section 3.5 and appendix; Pattanaik et al. 2018 (the critic attack).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Generator, Tensor, nn

from robustgames.attacks.engine import ascend
from robustgames.attacks.problem import Problem
from robustgames.attacks.steps import Halving
from robustgames.errors import GameError, unknown
from robustgames.evaluation.adversaries import SELECTION
from robustgames.evaluation.robust_sarsa import EPISODES, fit_robust_sarsa
from robustgames.evaluation.rollouts import check_episodes
from robustgames.evaluation.side_by_side import SideBySide
from robustgames.games.threat import ThreatModel

ATTACKS = ("random", "mad", "critic", "sarsa")
"""Names of the attacks."""
PUBLISHED_EPS = {"Hopper": 0.075, "Walker2d": 0.05, "HalfCheetah": 0.15, "Ant": 0.15}
"""eps of the published evaluations, by model."""
STEPS = 10
"""Gradient steps in every state, as in the published evaluations."""

Objective = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Differentiable:
    """A policy for an attack by gradients, and for bounds.

    Attributes:
        act: Actions in [-1, 1]^k of states, (B, p) -> (B, k).
        q: Q of the agent, ((B, p), (B, k)) -> (B,), or None.
        value: V of the agent, (B, p) -> (B,), or None.
        network: Module whose outputs on `scaled` states are the actions, (B, p) -> (B, k), or None; bounds follow its
            layers.
        scaled: Scaling of states in front of it, which increases in every component; None if there is none.
    """

    act: Callable[[Tensor], Tensor]
    q: Callable[[Tensor, Tensor], Tensor] | None = None
    value: Callable[[Tensor], Tensor] | None = None
    network: nn.Module | None = None
    scaled: Callable[[Tensor], Tensor] | None = None


class _Shifts:
    """The problem of the engine: max over δ in the ball of an objective of s + scale δ, row by row."""

    eot = 1

    def __init__(self, states: Tensor, scale: Tensor, eps: float, objective: Objective) -> None:
        self.a, self._scale, self._eps, self._objective = states, scale, eps, objective
        self.threat = ThreatModel("linf", eps, -float("inf"), float("inf"))

    def losses(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            value = self._objective(self.a + self._scale * eta)
        return value, torch.zeros_like(value, dtype=torch.bool)

    def gradient(self, eta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.enable_grad():
            leaf = eta.detach().requires_grad_()
            value = self._objective(self.a + self._scale * leaf)
            (g,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), torch.zeros_like(value, dtype=torch.bool), g

    def stalled(self, g: Tensor) -> Tensor | None:
        return None

    def project(self, eta: Tensor) -> Tensor:
        return eta.clamp(-self._eps, self._eps)


def shift_states(
    objective: Objective, states: Tensor, scale: Tensor, eps: float, generator: Generator, steps: int = STEPS
) -> Tensor:
    """Return the states of the balls around `states` (B, p) at which an objective is largest, as far as it is found.

    Auto-PGD begins at a uniform point of the ball, since some objectives have gradient 0 in the middle. A row is
    never below its own state.

    Args:
        objective: Objective of states, (B, p) -> (B,), of each row alone.
        states: Centers of the balls.
        scale: Units of the components, (p,).
        eps: Radius in these units.
        generator: Generator of the first points.
        steps: Number of gradient steps.

    Example:
        >>> states, scale = torch.zeros(1, 2), torch.tensor([1.0, 2.0])
        >>> shift_states(lambda s: s[:, 0] - s[:, 1], states, scale, 0.5, torch.Generator().manual_seed(0))
        tensor([[ 0.5000, -1.0000]])
    """
    problem = _Shifts(states, scale, eps, objective)
    start = eps * (2 * torch.rand(states.shape, generator=generator, dtype=states.dtype) - 1)
    eta = ascend(cast(Problem, problem), start, Halving(steps), steps, early="loss")
    better = problem.losses(eta)[0] >= problem.losses(torch.zeros_like(eta))[0]
    return torch.where(better.unsqueeze(-1), states + scale * eta, states)


@dataclass(frozen=True, eq=False)
class ObservationAttacks:
    """Returns of the runs of a method without an attack and under each, on the same starts.

    Attributes:
        eps: Radius of the balls.
        scale: Units of the components of every run, (runs, p).
        nominal: Returns without an attack, (runs, episodes).
        returns: Returns under each attack, {name: (runs, episodes)}.
        left_out: {name: reason} of the attacks that do not apply.
    """

    eps: float
    scale: np.ndarray
    nominal: np.ndarray
    returns: Mapping[str, np.ndarray]
    left_out: Mapping[str, str]

    def strongest(self) -> list[str]:
        """Return the name of the attack with the lowest mean return, of each run.

        Raises:
            GameError: No attack applies.
        """
        if not (names := list(self.returns)):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.left_out.items()) or "none is named"
            raise GameError(f"no attack was played ({reasons}): name another one, e.g. attacks=('random', 'mad')")
        means = np.stack([self.returns[name].mean(1) for name in names])
        return [names[k] for k in means.argmin(0)]

    def worst(self) -> np.ndarray:
        """Return the returns under the strongest attack of each run, (runs, episodes)."""
        return np.stack([self.returns[name][run] for run, name in enumerate(self.strongest())])


def attack_observations(
    policies: Sequence[Callable[[Any], np.ndarray]],
    differentiable: Sequence[Differentiable],
    env: str,
    eps: float,
    attacks: Sequence[str] = ATTACKS,
    episodes: int = 10,
    seed: int = 0,
    env_settings: Mapping[str, Any] | None = None,
    scale: np.ndarray | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> ObservationAttacks:
    """Play policies whose observations are attacked in every state, the first one too, and return what they are left.

    All actions are executed as they are: there is no other adversary. The episodes of an attack are played side by
    side, so policies must have no memory.

    Args:
        policies: Policies of the runs of one method, observation -> action in [-1, 1]^k.
        differentiable: The same policies for gradients.
        env: Id of an `ActionRobustEnv` that observes a vector of numbers.
        eps: Radius of the balls, in units of `scale`.
        attacks: Names of attacks, some of `ATTACKS`.
        episodes: Number of episodes, which start from the seeds `seed`, `seed + 1`, ….
        seed: Seed of the first episode, and of the attacks.
        env_settings: Settings of the id.
        scale: Units of the components, (p,). If None, they are the standard deviations of each component over 10 other
            episodes of the policy.
        progress: Function that is called with (parts done, all parts).

    Raises:
        GameError: An unknown attack, a negative eps, no episode, an env with other observations; see also `play`.
    """
    check_episodes(episodes)
    attacks = tuple(dict.fromkeys(attacks))  # one that is named twice is played once
    for name in attacks:
        if name not in ATTACKS:
            raise unknown("observation attack", name, ATTACKS)
    if not 0 <= eps < float("inf"):
        raise GameError(f"eps is {eps}: the radius of the balls is finite and not negative, e.g. eps=0.075")
    if len(policies) != len(differentiable) or not policies:
        raise GameError(f"{len(policies)} policies and {len(differentiable)} for gradients: give both of every run")
    scales, nominal, found, left_out = [], [], {name: [] for name in attacks}, {}
    parts = len(policies) * len(attacks)
    with SideBySide(env, env_settings, max(episodes, EPISODES)) as envs:
        for run, (policy, own) in enumerate(zip(policies, differentiable, strict=True)):
            walk = envs.play(policy, EPISODES, seed + SELECTION)
            units = np.std(np.concatenate(walk.states), 0) if scale is None else np.asarray(scale, float)
            scales.append(units)
            nominal.append(envs.play(policy, episodes, seed).returns)
            for name in attacks:
                generator = Generator().manual_seed(seed)
                sight = _sight(name, own, units, eps, generator, lambda p=policy: fit_robust_sarsa(p, envs, seed))
                if isinstance(sight, str):
                    left_out[name] = sight
                else:
                    found[name].append(envs.play(policy, episodes, seed, sight).returns)
                if progress is not None:
                    progress(run * len(attacks) + attacks.index(name) + 1, parts)
    returns = {name: np.stack(rows) for name, rows in found.items() if name not in left_out}
    return ObservationAttacks(eps, np.stack(scales), np.stack(nominal), returns, left_out)


def _sight(
    name: str,
    own: Differentiable,
    units: np.ndarray,
    eps: float,
    generator: Generator,
    fit: Callable[[], Callable[[Tensor, Tensor], Tensor]],
) -> Callable[[np.ndarray], np.ndarray] | str:
    """Return the function from states (B, p) to the states that are seen, or the reason why there is none."""
    scale = torch.as_tensor(units, dtype=torch.float32)
    if name == "random":
        return lambda states: states + units * eps * (2 * torch.rand(states.shape, generator=generator).numpy() - 1)
    if name == "critic" and own.q is None and own.value is None:
        return "the model has no critic"
    q = fit() if name == "sarsa" else own.q

    def sight(states: np.ndarray) -> np.ndarray:
        rows = torch.as_tensor(states, dtype=torch.float32)
        objective = _difference(own, rows) if name == "mad" else _harm(own, q, rows)
        shifted = shift_states(objective, rows, scale, eps, generator) - rows
        return states + np.clip(shifted.numpy(), -eps * units, eps * units)  # rounding may leave the ball by a digit

    return sight


def _difference(own: Differentiable, states: Tensor) -> Objective:
    """Return the square of the difference of actions, |μ(ŝ) - μ(s)|²."""
    with torch.no_grad():
        before = own.act(states)
    return lambda seen: (own.act(seen) - before).square().sum(-1)


def _harm(own: Differentiable, q: Callable[[Tensor, Tensor], Tensor] | None, states: Tensor) -> Objective:
    """Return -Q(s, μ(ŝ)), or -V(ŝ) without a Q."""
    value = own.value
    if q is not None:
        return lambda seen: -q(states, own.act(seen))
    assert value is not None
    return lambda seen: -value(seen)
