"""Episodes of S runs side by side: separate envs stepped in turn, or one env that is a batch."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.envs import ActionRobustEnv, NoisyAction, ProbabilisticAction, control_ids
from robustgames.envs.first_order import choose_device
from robustgames.envs.pendulum import RobustPendulumVectorEnv
from robustgames.errors import GameError, unknown

RECENT = 10  # episodes of each run in the logged return


class Played(NamedTuple):
    """One step of every run, as a replay stores it: numpy arrays, or tensors on the device of the envs.

    The arrays are overwritten by the next step.
    """

    observations: Any
    """s, (S, p)."""
    executed: Any
    """What the actuators got, (S, k)."""
    after: Any
    """s', (S, p), also where the episode ends."""
    rewards: Any
    """(S,)."""
    terminated: Any
    """(S,); a time limit does not terminate."""
    ended: list[bool]
    """Whose episode is over, terminated or truncated."""


class Episodes(ABC):
    """The envs of S runs in the middle of their episodes.

    `recent` holds (return, length) of the last episodes of each run. All randomness of the envs comes from the seeds
    that are drawn from `generator`, so that a saved run goes on bit for bit where its envs repeat themselves.
    """

    runs: int
    observation_size: int
    action_size: int
    action_shape: tuple[int, ...]
    """Of the env, whose k components are one row here."""
    device: torch.device
    alphas: list[float]
    """α of every run."""
    coupling: str
    recent: list[deque[tuple[float, int]]]
    first: Any
    """The env of the first run, or the batch of all."""

    @abstractmethod
    def observe(self) -> Any:
        """Return what every run observes now, (S, p) in float32, where need be of a new episode."""

    @abstractmethod
    def play(self, own: Any, other: Any) -> Played:
        """Play the actions of protagonists and adversaries, each (S, k) in [-1, 1], arrays or tensors.

        Raises:
            GameError: an env fails; nothing of this step is kept, and new episodes come next.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""

    @abstractmethod
    def close(self) -> None:
        """Close the envs."""


class SeparateEnvs(Episodes):
    """One `ActionRobustEnv` per run, stepped in turn.

    Every episode is reset with a seed of its own. A checkpoint holds that seed and the actions since, and loading it
    plays them again: an env that is a function of seed and actions then stands where it stood.

    Args:
        envs: one per run.
        generator: seeds of episodes are drawn from it.
    """

    def __init__(self, envs: list[gym.Env], generator: Generator) -> None:
        core = core_of(envs[0])
        self.envs, self.first, self.generator, self.runs = envs, envs[0], generator, len(envs)
        self.observation_size = gym.spaces.flatdim(core.observation_space)
        self.action_size = gym.spaces.flatdim(core.inner.action_space)
        self.device = torch.device("cpu")
        self.alphas = [core_of(env).coupling.alpha for env in envs]  # type: ignore[attr-defined]
        self.coupling = "noisy" if isinstance(core.coupling, NoisyAction) else "probabilistic"
        self.recent = [deque(maxlen=RECENT) for _ in envs]
        self.action_shape: tuple[int, ...] = core.inner.action_space.shape or ()
        self._going = [False] * self.runs  # False: the next step begins an episode
        self._now, self._after = (np.zeros((self.runs, self.observation_size), np.float32) for _ in range(2))
        self._executed = np.zeros((self.runs, self.action_size), np.float32)
        self._rewards, self._terminated = np.zeros(self.runs), np.zeros(self.runs, bool)
        self._seeds = [0] * self.runs
        self._actions: list[list[np.ndarray]] = [[] for _ in envs]
        self._returns = [0.0] * self.runs

    def observe(self) -> np.ndarray:
        for i, env in enumerate(self.envs):
            if not self._going[i]:
                self._seeds[i] = int(torch.randint(2**31, (), generator=self.generator))
                self._actions[i], self._returns[i] = [], 0.0
                try:
                    self._now[i] = np.ravel(env.reset(seed=self._seeds[i])[0])
                except Exception as error:
                    raise self._failed(i, error) from error
                self._going[i] = True
        return self._now

    def play(self, own: Any, other: Any) -> Played:
        if not all(self._going):
            self.observe()
        joint = np.empty((self.runs, 2, self.action_size), np.float32)
        joint[:, 0], joint[:, 1] = own, other
        over = [self._step(i, actions) for i, actions in enumerate(joint)]
        for i, ended in enumerate(over):  # only now: an env that failed leaves all as they were
            self._actions[i].append(joint[i])
            self._returns[i] += float(self._rewards[i])
            self._going[i] = not ended
            if ended:
                self.recent[i].append((self._returns[i], len(self._actions[i])))
        self._now, self._after = self._after, self._now
        return Played(self._after, self._executed, self._now, self._rewards, self._terminated, over)

    def _step(self, i: int, actions: np.ndarray) -> bool:
        """Step one env, write down what it says, and return whether its episode is over."""
        own, other = actions.reshape(2, *self.action_shape)
        try:
            after, reward, terminated, truncated, info = self.envs[i].step({"protagonist": own, "adversary": other})
        except Exception as error:
            raise self._failed(i, error) from error
        self._after[i], self._executed[i] = np.ravel(after), info["executed_action"].ravel()
        self._rewards[i], self._terminated[i] = reward, terminated
        return terminated or truncated

    def _failed(self, i: int, error: Exception) -> GameError:
        self._going = [False] * self.runs  # the same actions would fail again, and others have stepped already
        told = str(error) if isinstance(error, GameError) else f"{self.envs[i]} raised {type(error).__name__}: {error}"
        return GameError(f"run {i}, step {len(self._actions[i])} of the episode of seed {self._seeds[i]}: {told}")

    def state_dict(self) -> dict[str, Any]:
        each = []
        for i in range(self.runs):
            played = np.zeros((0, 2, self.action_size), np.float32)
            if self._going[i] and self._actions[i]:
                played = np.stack(self._actions[i])
            each.append({
                "going": self._going[i], "seed": self._seeds[i], "actions": torch.from_numpy(played),
                "observation": torch.from_numpy(self._now[i]), "recent": [list(episode) for episode in self.recent[i]],
            })  # fmt: skip
        return {"generator": self.generator.get_state(), "runs": {str(i): saved for i, saved in enumerate(each)}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        for i in range(self.runs):
            saved = state["runs"][str(i)]
            self.recent[i].extend((float(reward), int(length)) for reward, length in saved["recent"])
            self._going[i], self._seeds[i] = False, saved["seed"]
            if saved["going"]:
                self._replay(i, saved["actions"].cpu().numpy(), saved["observation"].cpu().numpy())

    def _replay(self, i: int, joint: np.ndarray, seen: np.ndarray) -> None:
        """Play an episode again up to where it was saved; begin a new one where the env does not repeat itself."""
        self._now[i] = np.ravel(self.envs[i].reset(seed=self._seeds[i])[0])
        self._actions[i], self._returns[i] = [], 0.0
        for actions in joint:
            over = self._step(i, actions)
            self._actions[i].append(actions)
            self._returns[i] += float(self._rewards[i])
            self._now[i] = self._after[i]
            if over:
                break
        self._going[i] = len(self._actions[i]) == len(joint) and np.array_equal(self._now[i], seen)
        if not self._going[i]:
            warnings.warn(f"the env of run {i} does not repeat its episode; it begins a new one", stacklevel=2)

    def close(self) -> None:
        for env in self.envs:
            env.close()


class BatchedPendulums(Episodes):
    """S pendulums in one tensor on the device, whose episodes begin and end together.

    Args:
        env: the batch.
        generator: the first seed is drawn from it; the env goes on with a generator of its own.
    """

    def __init__(self, env: RobustPendulumVectorEnv, generator: Generator) -> None:
        self.env = self.first = env
        self.generator, self.runs = generator, env.num_envs
        self.observation_size, self.action_size, self.action_shape = 3, 1, (1,)
        self.device, self.coupling = env.device, env.coupling
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

    def state_dict(self) -> dict[str, Any]:
        going = self._now is not None
        return {
            "generator": self.generator.get_state(),
            "env": self.env.state_dict() if going else {},
            "now": self._now if going else torch.empty(0),
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


def make_episodes(
    env: gym.Env | gym.vector.VectorEnv | str,
    runs: int,
    settings: dict[str, Any],
    device: str,
    generator: Generator,
) -> Episodes:
    """Return the episodes of so many runs: of an id with these settings, or of an env that is made.

    A batch that an id names is made on the device. The share `alpha` may be a list with one per run.

    Raises:
        GameError: no env with an adversary, a coupling whose adversary is no second policy, no runs.
    """
    if runs < 1:
        raise GameError(f"runs is {runs}: at least one run is needed")
    spec = gym.registry.get(env) if isinstance(env, str) else None
    if isinstance(env, str) and spec is not None and spec.vector_entry_point is RobustPendulumVectorEnv:
        env = gym.make_vec(env, num_envs=runs, device=str(choose_device(device)), **settings)
        settings = {}
    elif isinstance(env, str):
        return SeparateEnvs(_separate(env, runs, settings), generator)
    if settings:
        raise GameError(f"{settings} come too late for an env that is made: pass its id, or set them there")
    if isinstance(env.unwrapped, RobustPendulumVectorEnv):
        return BatchedPendulums(env.unwrapped, generator)
    if runs > 1:
        raise GameError("an env that is made serves one run: pass its id for several")
    return SeparateEnvs([_fitting(env)], generator)  # type: ignore[arg-type]


def _separate(id: str, runs: int, settings: dict[str, Any]) -> list[gym.Env]:
    alphas = settings.get("alpha")
    if not isinstance(alphas, list | tuple):
        return [_fitting(_made(id, settings)) for _ in range(runs)]
    if len(alphas) != runs:
        raise GameError(f"alpha has {len(alphas)} values for {runs} runs: pass one number, or one for each run")
    return [_fitting(_made(id, {**settings, "alpha": alpha})) for alpha in alphas]


def _made(id: str, settings: dict[str, Any]) -> gym.Env:
    try:
        return gym.make(id, disable_env_checker=True, **settings)
    except gym.error.UnregisteredEnv as error:
        raise unknown("env", id, control_ids()) from error


def _fitting(env: gym.Env) -> gym.Env:
    if not isinstance(env.observation_space, gym.spaces.Box):
        raise GameError(f"{env} observes {env.observation_space}: a Box is needed; wrap it in FlattenObservation")
    if isinstance(env, gym.Env) and isinstance(core_of(env).coupling, NoisyAction | ProbabilisticAction):
        return env
    name = type(core_of(env).coupling).__name__
    raise GameError(f"the coupling is {name}: noisy or probabilistic actions are needed; train a view for others")


def core_of(env: gym.Env) -> ActionRobustEnv:
    """Return the game inside an env's wrappers.

    Raises:
        GameError: there is none.
    """
    if not isinstance(env.unwrapped, ActionRobustEnv):
        wanted = "robustgames/ActionRobust-v0 with env_settings={'env_id': 'Pendulum-v1'}"
        raise GameError(f"{env} is no env with an adversary: pass an id such as {wanted}")
    return env.unwrapped
