"""The harm that an adversary does to a trained policy: random controls, and the best response that a learner finds."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from robustgames.envs.control.discrete_actions import finite_actions
from robustgames.envs.views import PlayerView
from robustgames.errors import GameError, unknown
from robustgames.evaluation.reliability import Interval, bootstrap
from robustgames.evaluation.rollouts import Policy, adversary_shape, control_env, play

ALGORITHMS = ("A2C", "DDPG", "PPO", "SAC", "TD3")
SELECTION = 1_000_000
"""Offset of the seeds of the episodes that choose between learned adversaries from those that are reported."""


def random_controls(
    policy: Policy,
    env: str,
    alpha: float = 0.1,
    episodes: int = 10,
    seed: int = 0,
    env_settings: Mapping[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """Return the returns of a policy without an adversary and under random ones, each (episodes,).

    "without" executes a; "mixing" executes (1 - α) a + α ā; "replacement" executes ā with probability α, else a. Here
    ā is uniform on [-1, 1]^n. The effect of a learned adversary has to be compared with these. With finitely many
    actions, of which the largest of n preferences is executed, there is no "mixing": a small share of chance in the
    preferences mostly changes no action.

    Args:
        policy: Policy of the protagonist.
        env: Id of an `ActionRobustEnv`.
        alpha: Share α of the random adversary.
        episodes: Number of episodes of each control.
        seed: Seed of the first episode, the same for all three.
        env_settings: Settings of the id; the coupling is set by this function.

    Raises:
        GameError: alpha is outside [0, 1]; see also `play`.

    Example:
        >>> still = lambda observation: np.zeros(1)
        >>> controls = random_controls(still, "robustgames/ActionRobustPendulum-v0", alpha=0.5, episodes=2)
        >>> {name: returns.shape for name, returns in controls.items()}
        {'without': (2,), 'mixing': (2,), 'replacement': (2,)}
    """
    results = {}
    with control_env(env, env_settings) as made:
        finite = finite_actions(made.unwrapped) is not None
    for name, coupling in {"without": "noisy", "mixing": "noisy", "replacement": "probabilistic"}.items():
        if finite and name == "mixing":
            continue
        settings = {**(env_settings or {}), "coupling": coupling, "alpha": alpha}
        adversary = None if name == "without" else "random"
        results[name] = play(env, policy, episodes, seed, adversary=adversary, env_settings=settings).returns
    return results


@dataclass(frozen=True, eq=False)
class BestResponseReturns:
    """Returns of a frozen protagonist, played on the same episodes.

    Attributes:
        without: Returns without an adversary, (episodes,).
        random: Returns under a uniformly random adversary in the same coupling, (episodes,).
        learned: Returns under each learned adversary, (learners, episodes).
        chosen: Index of the strongest one, determined on other episodes than these.
        adversaries: Learned policies, observation -> action in [-1, 1]^m.
    """

    without: np.ndarray
    random: np.ndarray
    learned: np.ndarray
    chosen: int
    adversaries: Sequence[Policy]

    @property
    def exploitability(self) -> float:
        """Return the mean without an adversary minus the mean under the strongest learned one: >= 0 if it harms.

        A learner with finitely many steps finds no better response than the best. In expectation this is therefore a
        lower bound of the true exploitability, and a small number proves nothing.
        """
        return float(self.without.mean() - self.learned[self.chosen].mean())

    def interval(self, seed: int = 0) -> Interval:
        """Return the exploitability of this policy with a 95 % interval over episodes, paired by their seeds."""
        return bootstrap(self.without - self.learned[self.chosen], seed=seed)[0]


def best_response(
    policy: Policy,
    env: str,
    algorithm: str | Callable[..., Any] = "TD3",
    steps: int = 10_000,
    seeds: Sequence[int] = (0,),
    episodes: int = 10,
    seed: int = 0,
    env_settings: Mapping[str, Any] | None = None,
    **settings: Any,
) -> BestResponseReturns:
    """Train fresh adversaries against a frozen protagonist and return the returns that it is left with.

    Args:
        policy: Policy of the protagonist. It does not learn.
        env: Id of an `ActionRobustEnv`; its coupling and share determine the power of the adversary.
        algorithm: Class of Stable-Baselines3, or its name there.
        steps: Env steps of each training.
        seeds: Seeds of the learners, one each.
        episodes: Number of reported episodes; as many others choose the strongest learner.
        seed: Seed of the first episode.
        env_settings: Settings of the id, e.g. {"alpha": 0.3}.
        **settings: Settings of the algorithm. By default networks of 64-64; TD3, DDPG and SAC start learning after a
            tenth of the steps, and TD3 and DDPG explore with noise of standard deviation 0.2.

    Raises:
        GameError: The algorithm is unknown, or seeds are empty; see also `play` and the env of the algorithm.

    Example:
        >>> still = lambda observation: np.zeros(1)
        >>> found = best_response(still, "robustgames/ActionRobustPendulum-v0", steps=50, episodes=2)
        >>> found.learned.shape
        (1, 2)
    """
    if not seeds:
        raise GameError("seeds are empty: one learner is trained for each, e.g. seeds=(0, 1, 2)")
    adversaries = []
    for learner_seed in seeds:
        with _learner(policy, env, algorithm, steps, learner_seed, env_settings, settings) as model:
            adversaries.append(_policy_of(model.learn(steps)))
    made = control_env(env, env_settings)
    try:
        harm = [play(made, policy, episodes, seed + SELECTION, adversary=a).returns.mean() for a in adversaries]
        learned = np.stack([play(made, policy, episodes, seed, adversary=a).returns for a in adversaries])
        without = play(made, policy, episodes, seed).returns
        at_random = play(made, policy, episodes, seed, adversary="random").returns
    finally:
        made.close()
    return BestResponseReturns(without, at_random, learned, int(np.argmin(harm)), adversaries)


def _algorithm(algorithm: str | Callable[..., Any]) -> Callable[..., Any]:
    if callable(algorithm):
        return algorithm
    if algorithm not in ALGORITHMS:
        raise unknown("algorithm", algorithm, ALGORITHMS)
    # imported only if an adversary is trained, since it takes a second
    return getattr(importlib.import_module("stable_baselines3"), algorithm)


def _defaults(make: Callable[..., Any], steps: int, env: str, env_settings: Mapping[str, Any] | None) -> dict[str, Any]:
    name = getattr(make, "__name__", "")
    chosen: dict[str, Any] = {"policy_kwargs": {"net_arch": [64, 64]}, "device": "cpu"}
    if name in ("TD3", "DDPG", "SAC"):
        chosen["learning_starts"] = min(1000, steps // 10)
    if name in ("TD3", "DDPG"):
        from stable_baselines3.common.noise import NormalActionNoise

        made = control_env(env, env_settings)
        size = adversary_shape(made)
        made.close()
        chosen["action_noise"] = NormalActionNoise(np.zeros(size), np.full(size, 0.2))
    return chosen


def check_learner(env: str, algorithm: str, steps: int, env_settings: Mapping[str, Any] | None = None) -> None:
    """Check that the learner of a `best_response` can be made, without a step.

    Raises:
        GameError: See `best_response`.
    """
    with _learner(np.zeros_like, env, algorithm, steps, 0, env_settings, {}):
        pass


@contextmanager
def _learner(
    policy: Policy,
    env: str,
    algorithm: str | Callable[..., Any],
    steps: int,
    seed: int,
    env_settings: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
) -> Iterator[Any]:
    """Yield an adversary before its first step, in an env that is closed afterwards."""
    make = _algorithm(algorithm)
    from stable_baselines3.common.logger import Logger  # imported with the algorithm only

    nominal = {**(env_settings or {}), "perturbation": None}  # it is evaluated without a perturbation as well
    view = PlayerView(control_env(env, nominal), "adversary", opponent=policy)
    try:
        with _global_generators():
            model = make("MlpPolicy", view, seed=seed, **{**_defaults(make, steps, env, env_settings), **settings})
            if getattr(model, "tensorboard_log", "") is None:
                model.set_logger(Logger(None, []))  # its own would leave a folder for temporary files behind
            yield model
    finally:
        view.close()


def _policy_of(model: Any) -> Policy:
    return lambda observation: model.predict(observation, deterministic=True)[0]


@contextmanager
def _global_generators() -> Iterator[None]:
    """Restore the states of the global generators, which Stable-Baselines3 seeds."""
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])
