"""Episodes of S envs that are one batch on a device."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from robustgames.agents.control.episodes import RECENT, Episodes, Played
from robustgames.agents.control.seeds import episode_seed
from robustgames.checkpoints import CHECKPOINT, Several, check_like
from robustgames.envs.control.batch import RobustVectorEnv
from robustgames.errors import GameError


class BatchedEnvs(Episodes):
    """S envs in one tensor on the device, whose episodes begin and end together (pendulums) or one by one.

    Args:
        env: Batch of envs.
        seed: Seed of the agent; each env continues with a stream of its own.
    """

    def __init__(self, env: RobustVectorEnv, seed: int) -> None:
        self.env = self.first = env
        self.seed, self.runs = seed, env.num_envs
        self.observation_size, self.action_size = gym.spaces.flatdim(env.single_observation_space), env.action_size
        self.observation_shape, self.action_shape = (self.observation_size,), (self.action_size,)
        self.device, self.law = env.device, env.coupling
        self.alphas = env.alpha.squeeze(-1).tolist()
        self.recent = [deque(maxlen=RECENT) for _ in range(self.runs)]
        self._now: Tensor | None = None
        self._resets = self._moves = 0
        self._gone = False
        self._returns = torch.zeros(self.runs, device=self.device)

    def observe(self) -> Tensor:
        if self._now is None:
            seeds, options = [episode_seed(self.seed, run, self._resets) for run in range(self.runs)], self._options()
            self._resets += 1
            self._now, self._moves = self.env.reset(seed=seeds, options=options)[0], self.env.moves
        return self._now

    def _options(self) -> dict[str, Any] | None:
        """Return the options of the reset that begins the episodes."""
        return None

    def lost(self) -> list[bool]:
        if self._now is not None and self.env.moves != self._moves:
            self.abandon()
        gone, self._gone = self._gone, False
        return [gone] * self.runs

    def play(self, own: Any, other: Any) -> Played:
        before = self.observe()
        self._now, rewards, terminated, _, info = self.env.step({"protagonist": own, "adversary": other})
        self._moves, self._returns = self.env.moves, self._returns + rewards
        lengths = self.env.ended()
        if any(lengths):
            for i, (total, length) in enumerate(zip(self._returns.tolist(), lengths, strict=True)):
                if length:
                    self.recent[i].append((total, length))
            self._returns = torch.where(torch.tensor(lengths, device=self.device) > 0, 0.0, self._returns)
        over = [length > 0 for length in lengths]
        executed = info.get("coupled_action", info["executed_action"])
        return Played(before, executed, info["final_obs"], rewards, terminated, over)

    def abandon(self) -> None:
        self._now, self._gone, self._returns = None, True, torch.zeros_like(self._returns)

    def state_dict(self) -> dict[str, Any]:
        moved = self._now is not None and self.env.moves != self._moves
        started = self._now is not None and not moved
        return {
            "resets": self._resets,
            "lost": self._gone or moved,
            "env": self.env.state_dict() if started else {},
            "now": self._now if started else torch.empty(0),
            "returns": self._returns,
            "recent": [[list(episode) for episode in recent] for recent in self.recent],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # checkpoints of versions before had neither resets nor a lost episode
        state = {"resets": int(bool(state["env"])), "lost": False, **state}
        fresh = {**self.state_dict(), "recent": [Several([0.0, 0])] * self.runs}
        self._now = None
        if state["env"]:
            self.observe()  # seeds the streams of the env, which a state of a version before lacks
            fresh |= {"env": self._like_env_state(), "now": self._now}
        check_like(state, fresh, CHECKPOINT, ("episodes",))
        self._resets, self._gone, self._returns = state["resets"], state["lost"], state["returns"].to(self.device)
        if state["env"]:
            elapsed = int(torch.as_tensor(state["env"]["elapsed"]).max())
            if elapsed >= (most := self.env.max_episode_steps):
                raise GameError(f"episodes/env/elapsed in the checkpoint is {elapsed}: it must be below {most}")
            self.env.load_state_dict(state["env"])
            self._now, self._moves = state["now"].to(self.device), self.env.moves
        for recent, saved in zip(self.recent, state["recent"], strict=True):
            recent.extend((float(reward), int(length)) for reward, length in saved)

    def _like_env_state(self) -> dict[str, Any]:
        """Return the state of the env but for its generator, which has another one in versions before."""
        state = self.env.state_dict()
        return {name: value for name, value in state.items() if name != "generator"}

    def close(self) -> None:
        self.env.close()
