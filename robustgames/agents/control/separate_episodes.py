"""Episodes of S separate envs, stepped in turn."""

from __future__ import annotations

import warnings
from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Generator

from robustgames.agents.control.episodes import RECENT, Episodes, Played
from robustgames.envs import ActionRobustEnv
from robustgames.envs.control.action_couplings import ActionCoupling
from robustgames.envs.control.couplings import check_actions_coupled
from robustgames.errors import GameError


class SeparateEnvs(Episodes):
    """One `ActionRobustEnv` per run, stepped in turn.

    Every episode is reset with a seed of its own. A checkpoint holds that seed and the actions since, and loading it
    plays them again. This restores an env that is a function of seed and actions.

    Args:
        envs: Envs, one per run.
        generator: Generator of the seeds of episodes.
    """

    def __init__(self, envs: list[gym.Env], generator: Generator) -> None:
        core = core_of(envs[0])
        self.envs, self.first, self.generator, self.runs = envs, envs[0], generator, len(envs)
        self.observation_size = gym.spaces.flatdim(core.observation_space)
        self.action_size = gym.spaces.flatdim(core.inner.action_space)
        self.device = torch.device("cpu")
        self.law, self.alphas = law_of(envs[0]), [law_of(env).alpha for env in envs]
        self.recent = [deque(maxlen=RECENT) for _ in envs]
        self.action_shape: tuple[int, ...] = core.inner.action_space.shape or ()
        self._started = [False] * self.runs  # if not, the next step begins an episode
        self._now, self._after = (np.zeros((self.runs, self.observation_size), np.float32) for _ in range(2))
        self._executed = np.zeros((self.runs, self.action_size), np.float32)
        self._rewards, self._terminated = np.zeros(self.runs), np.zeros(self.runs, bool)
        self._seeds = [0] * self.runs
        self._actions: list[list[np.ndarray]] = [[] for _ in envs]
        self._returns = [0.0] * self.runs

    def observe(self) -> np.ndarray:
        for i, env in enumerate(self.envs):
            if not self._started[i]:
                self._seeds[i] = int(torch.randint(2**31, (), generator=self.generator))
                self._actions[i], self._returns[i] = [], 0.0
                try:
                    self._now[i] = np.ravel(env.reset(seed=self._seeds[i])[0])
                except Exception as error:
                    raise self._failed(i, error) from error
                self._started[i] = True
        return self._now

    def play(self, own: Any, other: Any) -> Played:
        if not all(self._started):
            self.observe()
        joint = np.empty((self.runs, 2, self.action_size), np.float32)
        joint[:, 0], joint[:, 1] = own, other
        over = [self._step(i, actions) for i, actions in enumerate(joint)]
        for i, ended in enumerate(over):  # only now: an env that failed leaves all as they were
            self._actions[i].append(joint[i])
            self._returns[i] += float(self._rewards[i])
            self._started[i] = not ended
            if ended:
                self.recent[i].append((self._returns[i], len(self._actions[i])))
        self._now, self._after = self._after, self._now
        return Played(self._after, self._executed, self._now, self._rewards, self._terminated, over)

    def _step(self, i: int, actions: np.ndarray) -> bool:
        """Step one env, store what it returns, and return whether its episode is over."""
        own, other = actions.reshape(2, *self.action_shape)
        try:
            after, reward, terminated, truncated, info = self.envs[i].step({"protagonist": own, "adversary": other})
        except Exception as error:
            raise self._failed(i, error) from error
        self._after[i], self._executed[i] = np.ravel(after), info["executed_action"].ravel()
        self._rewards[i], self._terminated[i] = reward, terminated
        return terminated or truncated

    def _failed(self, i: int, error: Exception) -> GameError:
        self._started = [False] * self.runs  # the same actions would fail again, and others have stepped already
        cause = str(error) if isinstance(error, GameError) else f"{self.envs[i]} raised {type(error).__name__}: {error}"
        return GameError(f"run {i}, step {len(self._actions[i])} of the episode of seed {self._seeds[i]}: {cause}")

    def abandon(self) -> None:
        self._started = [False] * self.runs

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state(), "runs": {str(i): self._run_state(i) for i in range(self.runs)}}

    def _run_state(self, i: int) -> dict[str, Any]:
        played = np.zeros((0, 2, self.action_size), np.float32)
        if self._started[i] and self._actions[i]:
            played = np.stack(self._actions[i])
        return {
            "going": self._started[i],
            "seed": self._seeds[i],
            "actions": torch.from_numpy(played),
            "observation": torch.from_numpy(self._now[i]),
            "recent": [list(episode) for episode in self.recent[i]],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        for i in range(self.runs):
            saved = state["runs"][str(i)]
            self.recent[i].extend((float(reward), int(length)) for reward, length in saved["recent"])
            self._started[i], self._seeds[i] = False, saved["seed"]
            if saved["going"]:
                self._replay(i, saved["actions"].cpu().numpy(), saved["observation"].cpu().numpy())

    def _replay(self, i: int, joint: np.ndarray, seen: np.ndarray) -> None:
        """Play an episode again up to where it was saved; begin a new one if the env does not repeat itself."""
        self._now[i] = np.ravel(self.envs[i].reset(seed=self._seeds[i])[0])
        self._actions[i], self._returns[i] = [], 0.0
        for actions in joint:
            over = self._step(i, actions)
            self._actions[i].append(actions)
            self._returns[i] += float(self._rewards[i])
            self._now[i] = self._after[i]
            if over:
                break
        self._started[i] = len(self._actions[i]) == len(joint) and np.array_equal(self._now[i], seen)
        if not self._started[i]:
            warnings.warn(f"the env of run {i} does not repeat its episode; it begins a new one", stacklevel=2)

    def close(self) -> None:
        for env in self.envs:
            env.close()


def core_of(env: gym.Env) -> ActionRobustEnv:
    """Return the `ActionRobustEnv` inside an env's wrappers.

    Raises:
        GameError: The env has no adversary.
    """
    if not isinstance(env.unwrapped, ActionRobustEnv):
        wanted = "robustgames/ActionRobust-v0 with env_settings={'env_id': 'Pendulum-v1'}"
        raise GameError(f"{env} has no adversary: pass an id such as {wanted}")
    return env.unwrapped


def law_of(env: gym.Env) -> ActionCoupling:
    """Return the coupling of an env whose adversary is a second policy on the same actions.

    Raises:
        GameError: The adversary acts through something else.
    """
    return check_actions_coupled(core_of(env).coupling)
