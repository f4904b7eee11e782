"""Episodes of S separate envs, stepped in turn."""

from __future__ import annotations

import warnings
from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from robustgames.agents.control.episodes import RECENT, Episodes, Played
from robustgames.agents.control.recording import LIMIT, Recording
from robustgames.agents.control.seeds import episode_seed
from robustgames.agents.control.wrapped import (
    check_env,
    check_executed,
    core_of,
    executed_action,
    law_of,
    names_of,
    stored,
    stored_reward,
)
from robustgames.checkpoints import CHECKPOINT, Several, check_like
from robustgames.envs import ActionRobustEnv
from robustgames.envs.control.inner import checked_flag
from robustgames.errors import GameError


class SeparateEnvs(Episodes):
    """One `ActionRobustEnv` per run, with its wrappers, stepped in turn.

    Every episode is reset with a seed of its own. A checkpoint holds that seed and the actions since, and loading it
    plays them again. This restores an env that is a function of seed and actions, in episodes of up to 10,000 steps.

    Args:
        envs: Envs, one per run.
        seed: Seed of the agent.

    Raises:
        GameError: An env without an adversary, or with wrappers that agents cannot learn with.
    """

    def __init__(self, envs: list[gym.Env], seed: int) -> None:
        self.envs, self.first = [check_env(env) for env in envs], envs[0]
        self.law, self.alphas = law_of(envs[0]), [law_of(env).alpha for env in envs]
        self._allocate([core_of(env) for env in envs], envs[0].action_space["protagonist"], seed)  # type: ignore[index]

    def _allocate(self, cores: list[ActionRobustEnv], box: Any, seed: int) -> None:
        """Take memory for one step of every env, whose actions lie in this box."""
        self._cores, self.seed, self.runs, space = cores, seed, len(cores), self.envs[0].observation_space
        self.observation_shape = space.shape or ()
        self.observation_size = gym.spaces.flatdim(space)
        self.action_size, self.action_shape = gym.spaces.flatdim(box), box.shape
        self.device = torch.device("cpu")
        self.recent = [deque(maxlen=RECENT) for _ in cores]
        self._started = [False] * self.runs  # if not, the next step begins an episode
        self._lost = [False] * self.runs
        self._moves = [0] * self.runs  # of the env after the last one here: more are those of others
        self._now, self._after = (np.zeros((self.runs, self.observation_size), np.float32) for _ in range(2))
        self._executed = np.zeros((self.runs, self.action_size), np.float32)
        self._rewards, self._terminated = np.zeros(self.runs), np.zeros(self.runs, bool)
        self._seeds, self._episodes = [0] * self.runs, [0] * self.runs
        self._recordings = [Recording(self.action_size) for _ in cores]
        self._returns = [0.0] * self.runs

    def observe(self) -> np.ndarray:
        for i in range(self.runs):
            if not self._started[i]:
                self._seeds[i] = episode_seed(self.seed, i, self._episodes[i])
                self._episodes[i] += 1
                try:
                    self._prepare(i)
                    self._reset(i)
                except Exception as error:
                    raise self._failed(i, error) from error
                self._started[i] = True
        return self._now

    def lost(self) -> list[bool]:
        lost = [before or self._is_moved(i) for i, before in enumerate(self._lost)]
        self._started = [started and not gone for started, gone in zip(self._started, lost, strict=True)]
        self._lost = [False] * self.runs
        return lost

    def _is_moved(self, i: int) -> bool:
        return self._started[i] and self._cores[i].moves != self._moves[i]

    def play(self, own: Any, other: Any) -> Played:
        if not all(self._started):
            self.observe()
        joint = np.empty((self.runs, 2, self.action_size), np.float32)
        joint[:, 0], joint[:, 1] = own, other
        over = [self._step(i, actions) for i, actions in enumerate(joint)]
        for i, ended in enumerate(over):  # only now: an env that failed leaves all as they were
            self._keep(i, joint[i])
            self._started[i] = not ended
            if ended:
                self.recent[i].append((self._returns[i], self._recordings[i].length))
        self._now, self._after = self._after, self._now
        return Played(self._after, self._executed, self._now, self._rewards, self._terminated, over)

    def _prepare(self, i: int) -> None:
        """Choose what a new episode of run i has of its own: nothing."""

    def _options(self, i: int) -> dict[str, Any] | None:
        """Return the options of the reset that begins the episode."""
        return None

    def _reset(self, i: int) -> None:
        """Begin the episode of `_seeds[i]`."""
        stored("the first observation", self._begin(i), self._now[i], self.observation_shape)
        self._recordings[i].clear()
        self._returns[i], self._moves[i] = 0.0, self._cores[i].moves

    def _keep(self, i: int, actions: np.ndarray) -> None:
        self._recordings[i].add(actions)
        self._returns[i] += float(self._rewards[i])

    def _step(self, i: int, actions: np.ndarray) -> bool:
        """Step one env, store what it returns, and return whether its episode is over."""
        own, other = actions.reshape(2, *self.action_shape)
        moves = self._cores[i].moves
        try:
            after, reward, terminated, truncated, info = self._move(i, own, other)
            self._count(i, moves)
            stored("the observation", after, self._after[i], self.observation_shape)
            self._rewards[i] = stored_reward(reward)
            terminated = checked_flag("terminated", terminated, self.envs[i])
            truncated = checked_flag("truncated", truncated, self.envs[i])
            self._terminated[i] = terminated
            self._executed[i] = self._stored_action(i, own, other, info)
        except Exception as error:
            raise self._failed(i, error) from error
        return terminated or truncated

    def _begin(self, i: int) -> Any:
        """Reset one env and return its first observation."""
        return self.envs[i].reset(seed=self._seeds[i], options=self._options(i))[0]

    def _move(self, i: int, own: np.ndarray, other: np.ndarray) -> tuple[Any, ...]:
        """Step one env and return what it returns."""
        return self.envs[i].step({"protagonist": own, "adversary": other})

    def _stored_action(self, i: int, own: np.ndarray, other: np.ndarray, info: dict[str, Any]) -> np.ndarray:
        """Return the action that the critic learns from, flat: that of the actuators before noise."""
        executed = executed_action(info, self.envs[i], "action_noise" in self._cores[i].perturbation)
        if self._recordings[i].length == 0:
            check_executed(law_of(self.envs[i]), own, other, executed.reshape(own.shape), self.envs[i])
        return executed

    def _count(self, i: int, before: int) -> None:
        """Check that a step was one of the env inside the wrappers."""
        self._moves[i] = self._cores[i].moves
        if (times := self._moves[i] - before) != 1:
            names = names_of(self.envs[i])
            raise GameError(f"one step moved the env {times} times: one of {names} repeats or resets; leave it out")

    def _failed(self, i: int, error: Exception) -> GameError:
        self.abandon()  # the same actions would fail again, and others have stepped already
        cause = str(error) if isinstance(error, GameError) else f"{self.envs[i]} raised {type(error).__name__}: {error}"
        return GameError(f"run {i}, step {self._recordings[i].length} of the episode of seed {self._seeds[i]}: {cause}")

    def abandon(self) -> None:
        self._started, self._lost = [False] * self.runs, [True] * self.runs

    def state_dict(self) -> dict[str, Any]:
        return {"runs": {str(i): self._run_state(i) for i in range(self.runs)}}

    def _run_state(self, i: int) -> dict[str, Any]:
        recording, moved = self._recordings[i], self._is_moved(i)
        going = self._started[i] and not moved and recording.whole
        played = recording.actions if going else recording.actions[:0]
        return {
            "going": going,
            "lost": self._lost[i] or moved or (self._started[i] and not recording.whole),
            "seed": self._seeds[i],
            "episode": self._episodes[i],
            "actions": torch.from_numpy(played.copy()),
            "observation": torch.from_numpy(self._now[i].copy()),
            "recent": [list(episode) for episode in self.recent[i]],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i in range(self.runs):
            # checkpoints of versions before had neither episodes nor lost ones
            saved = {"episode": 0, "lost": False, **state["runs"][str(i)]}
            check_like(saved, self._like_run_state(i), CHECKPOINT, ("episodes", "runs", i))
            self.recent[i].extend((float(reward), int(length)) for reward, length in saved["recent"])
            self._episodes[i], self._lost[i] = saved["episode"], saved["lost"]
            self._started[i], self._seeds[i] = False, saved["seed"]
            if saved["going"]:
                self._repeat(i, saved["actions"].cpu().numpy(), saved["observation"].cpu().numpy())

    def _like_run_state(self, i: int) -> dict[str, Any]:
        """Return a state with the types and shapes of every state of a run, for `check_like`."""
        actions = torch.empty(2, self.action_size)
        several = {"actions": Several(actions, LIMIT), "recent": Several([0.0, 0])}
        return {**self._run_state(i), **several}

    def _repeat(self, i: int, joint: np.ndarray, seen: np.ndarray) -> None:
        """Play an episode again up to where it was saved; begin a new one if the env does not repeat itself."""
        self._reset(i)
        over = False
        for actions in joint:
            over = self._step(i, actions)
            self._keep(i, actions)
            self._now[i] = self._after[i]
            if over:
                break
        self._started[i] = not over and np.array_equal(self._now[i], seen)
        self._lost[i] = not self._started[i]
        if not self._started[i]:
            warnings.warn(f"the env of run {i} does not repeat its episode; it begins a new one", stacklevel=2)

    def close(self) -> None:
        for env in self.envs:
            env.close()
