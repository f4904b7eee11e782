"""Returns of an agent of control while it learns: deterministic episodes, with and without its adversary."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from robustgames.agents import M2TD3, RobustDDPG
from robustgames.agents.learning import record_runs
from robustgames.evaluation.rollouts import Opponent, play

STARTS = 2
"""Episodes of every run at a look, from the same starts at every look."""
SHARE = 0.6
"""Largest number of steps in these episodes per step of the training, which takes fifteen times as long or longer.

They took 2.8 % of the time of 5,000 steps of the pendulum against an adversary, and 3.4 % without one.
"""
LONGEST = 1000
"""Length assumed of episodes without a limit."""


class ReturnCurve:
    """Records returns without exploration just before a log, at a few logs of a training; changes nothing else.

    * `eval/return`: the protagonist alone.
    * `eval/return_under_adversary`: against the adversary that it learns with, if there is one; of several, the
      strongest, as in a result. The adversary of `M2TD3` is the worst of its candidates, whose parameters the env then
      has.
    * `eval/value_at_start`, `eval/discounted_return`: what the critic expects at the starts of the episodes in which
      the agent learns, and what it then gets, against all adversaries. A truncated episode is completed by the critic's
      value at its end.

    Which logs have them depends on the timestep alone, so a resumed run records the same curve.

    Args:
        agent: The agent.
        make_env: Function that returns a new env of a run.
        interval: Timesteps between two logs.
        last: Timestep of the last log, which always has them.
        stride: Timesteps between two looks. If None, so many that these episodes take a few per cent of the time.
    """

    def __init__(
        self,
        agent: RobustDDPG,
        make_env: Callable[[int], gym.Env],
        interval: float | Fraction,
        last: int,
        stride: float | Fraction | None = None,
    ) -> None:
        self.agent, self.make_env, self.interval, self.last = agent, make_env, interval, last
        self.adversaries = (len(agent.adversaries_of(0)) or 1) if agent.is_opposed else 0
        length = getattr(agent.env.spec, "max_episode_steps", None) or LONGEST
        self.has_candidates = isinstance(agent, M2TD3) and agent.policies.further > 0
        self.stride = stride or ceil((1 + self.adversaries + self.has_candidates) * STARTS * length / SHARE)

    def __call__(self) -> None:
        """Play and record if a look is due at the present timestep."""
        now = self.agent.num_timesteps
        if now >= self.last or now // self.stride > (now - self.interval) // self.stride:
            team, own = self.agent.processes, self.measure()
            every = {name: team.gather(values) for name, values in own.items()}
            record_runs(self.agent.logger, every, len(self.agent.z) * team.world > 1)

    @torch.no_grad()
    def measure(self) -> dict[str, Tensor]:
        """Return the metrics, (S,) each; NaN for a run that diverged."""
        rows = [self._of_run(run) for run in range(len(self.agent.z))]
        found = {"eval/return": torch.tensor([alone.total for alone, *_ in rows])}
        if self.adversaries and self.agent.has_adversary:
            totals = [[one.total for one in against] for _, *against in rows]
            found["eval/return_under_adversary"] = torch.tensor(totals).amin(-1)
        if self.has_candidates:
            at_worst = [self._at_the_worst_candidate(run) for run in range(len(self.agent.z))]
            found["eval/return_under_adversary"] = torch.tensor(at_worst)
        played = [row[1:] or row for row in rows]
        starts, ends, sums, left = (
            [_joined(row, name) for row in played] for name in ("starts", "ends", "sums", "left")
        )
        start, end = self._values(starts), self._values(ends)
        realized, left = (torch.tensor(np.array(numbers)) for numbers in (sums, left))
        found["eval/value_at_start"] = start.mean(-1)
        found["eval/discounted_return"] = (realized + left * end).mean(-1)
        return found

    def _of_run(self, run: int) -> list[_Episodes]:
        """Return the episodes of a run alone, and those against each of its adversaries."""
        agent = self.agent
        if not bool(agent.finite_runs()[run]):
            nothing = _Episodes(self.make_env(run), agent.settings.gamma).of_nothing(agent.ongoing.observation_size)
            return [nothing] * (1 + self.adversaries)
        against: list[Opponent] = [*(agent.adversaries_of(run) or ["random"])] if self.adversaries else []
        found = []
        for adversary in [None, *against]:
            env = _Episodes(self.make_env(run), agent.settings.gamma)
            env.total = float(play(env, agent.policy(run), STARTS, adversary=adversary).returns.mean())
            env.close()
            found.append(env)
        return found

    def _at_the_worst_candidate(self, run: int) -> float:
        """Return the return of a run at the parameters that its candidates found to be the worst."""
        agent = self.agent
        assert isinstance(agent, M2TD3)
        if not bool(agent.finite_runs()[run]):
            return float("nan")
        env = self.make_env(run)
        played = play(env, agent.policy(run), STARTS, perturbation=agent.worst_perturbation(run))
        env.close()
        return float(played.returns.mean())

    def _values(self, states: list[list[np.ndarray]]) -> Tensor:
        """Return what the critics expect in states (S, B, p), (S, B)."""
        return self.agent.values(torch.as_tensor(np.array(states), dtype=torch.float32)).cpu().double()


def _joined(row: list[_Episodes], name: str) -> list[Any]:
    return [value for one in row for value in getattr(one, name)]


class _Episodes(gym.Wrapper[Any, Any, Any, Any]):
    """Wrapper that keeps starts, ends and discounted returns of episodes."""

    def __init__(self, env: gym.Env, gamma: float) -> None:
        super().__init__(env)
        self.gamma, self.total = gamma, float("nan")
        self.starts: list[np.ndarray] = []
        self.ends: list[np.ndarray] = []
        self.sums: list[float] = []
        self.left: list[float] = []
        """Weight of the value at the end: γ^T if the episode was truncated, else 0."""

    def of_nothing(self, size: int) -> _Episodes:
        """Return the episodes of a run that diverged."""
        self.starts = self.ends = [np.full(size, np.nan)] * STARTS
        self.sums = self.left = [float("nan")] * STARTS
        return self

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**options)
        self.starts.append(np.ravel(observation))
        self.sums.append(0.0)
        self._weight = 1.0
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.sums[-1] += self._weight * float(reward)
        self._weight *= self.gamma
        if terminated or truncated:
            self.ends.append(np.ravel(observation))
            self.left.append(0.0 if terminated else self._weight)
        return observation, reward, terminated, truncated, info
