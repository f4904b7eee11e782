"""Episodes of S envs that are one batch on a device."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.agents.control.episodes import RECENT, Episodes, Played
from robustgames.envs.control.pendulum import RobustPendulumVectorEnv


class BatchedPendulums(Episodes):
    """S pendulums in one tensor on the device, whose episodes begin and end together.

    Args:
        env: Batch of pendulums.
        generator: Generator of the first seed; the env continues with a generator of its own.
    """

    def __init__(self, env: RobustPendulumVectorEnv, generator: Generator) -> None:
        self.env = self.first = env
        self.generator, self.runs = generator, env.num_envs
        self.observation_size, self.action_size, self.action_shape = 3, 1, (1,)
        self.device, self.law = env.device, env.coupling
        self.alphas = env.alpha.squeeze(-1).tolist()
        self.recent = [deque(maxlen=RECENT) for _ in range(self.runs)]
        self._now: Tensor | None = None
        self._returns = torch.zeros(self.runs, device=self.device)

    def observe(self) -> Tensor:
        if self._now is None:
            self._now = self.env.reset(seed=int(torch.randint(2**31, (), generator=self.generator)))[0]
        return self._now

    def play(self, own: Any, other: Any) -> Played:
        before = self.observe()
        self._now, rewards, terminated, _, info = self.env.step({"protagonist": own, "adversary": other})
        self._returns = self._returns + rewards
        over = self.env.elapsed == 0
        if over:
            for recent, total in zip(self.recent, self._returns.tolist(), strict=True):
                recent.append((total, self.env.max_episode_steps))
            self._returns = torch.zeros_like(self._returns)
        return Played(before, info["executed_action"], info["final_obs"], rewards, terminated, [over] * self.runs)

    def abandon(self) -> None:
        self._now, self._returns = None, torch.zeros_like(self._returns)

    def state_dict(self) -> dict[str, Any]:
        started = self._now is not None
        return {
            "generator": self.generator.get_state(),
            "env": self.env.state_dict() if started else {},
            "now": self._now if started else torch.empty(0),
            "returns": self._returns,
            "recent": [[list(episode) for episode in recent] for recent in self.recent],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self._now, self._returns = None, state["returns"].to(self.device)
        if state["env"]:
            self.env.load_state_dict(state["env"])
            self._now = state["now"].to(self.device)
        for recent, saved in zip(self.recent, state["recent"], strict=True):
            recent.extend((float(reward), int(length)) for reward, length in saved)

    def close(self) -> None:
        self.env.close()
