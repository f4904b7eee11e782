"""DDPG and TD3 against an adversary that acts too."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import configure_logger
from torch import Generator, Tensor

from robustgames import runs as disk
from robustgames.agents.callbacks import ProgressBar, deferred_interrupt
from robustgames.agents.critics import Practice, TemporalDifference
from robustgames.agents.policies import Policies
from robustgames.agents.policy_game import PolicyGame
from robustgames.agents.replay import Replay
from robustgames.envs import ActionRobustEnv, NoisyAction, ProbabilisticAction
from robustgames.errors import DivergedError, GameError, unknown
from robustgames.games import MLP, Oracle
from robustgames.solvers import Adam, Scheme, make_solver
from robustgames.solvers.config import from_config, to_config
from robustgames.solvers.fitting import fit

RECENT = 10  # episodes of each run in the logged return


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of `RobustDDPG`.

    The defaults are those of peers' DDPG for small networks: Tessler et al. 2019 (64-64, critic 1e-3, tau 0.01),
    Fujimoto et al. 2018 (noise 0.1); the policies' rate of 1e-3 is that of Stable-Baselines3.

    Attributes:
        hidden: widths of the hidden layers of all networks (ReLU).
        gamma: discount.
        tau: by how much target networks follow.
        critic_lr: learning rate of the critic's Adam.
        batch_size: B.
        buffer_size: transitions of one run.
        learning_starts: steps of random actions before the first update.
        noise: standard deviation of the Gaussian noise on the protagonist's actions.
        twin: two critics, of whose values the smaller counts.
        smoothing: standard deviation of the noise on actions in the target.
        delay: critic steps per step of the players and the target networks.
        adversary: "learned", or "random": uniform actions, the control that a claim of robustness has to beat.
    """

    hidden: tuple[int, ...] = (64, 64)
    gamma: float = 0.99
    tau: float = 0.01
    critic_lr: float = 1e-3
    batch_size: int = 128
    buffer_size: int = 100_000
    learning_starts: int = 1_000
    noise: float = 0.1
    twin: bool = False
    smoothing: float = 0.0
    delay: int = 1
    adversary: str = "learned"

    def __post_init__(self) -> None:
        for name in ("batch_size", "buffer_size", "delay"):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) >= 1):
                raise GameError(f"{name} is {getattr(self, name)}: a whole number of at least 1 is needed")
        if self.learning_starts < 0 or not 0 <= self.noise < float("inf"):
            got = f"learning_starts is {self.learning_starts} and noise is {self.noise}"
            raise GameError(f"{got}: both are >= 0, e.g. learning_starts=1000 and noise=0.1")
        if self.adversary not in ("learned", "random"):
            raise GameError(f"adversary is {self.adversary!r}: learned or random")


class RobustDDPG:
    """Deterministic policy gradients for a protagonist and an adversary in one env; S runs side by side.

    Every step of the env teaches the critic Q, from a replay of *executed* actions; then the solver takes one step on
    `PolicyGame`, max_x min_y of Q at what both play, so that simultaneous Adam, extragradient or Langevin chains are a
    choice of `solver`. With α = 0 it is DDPG, and `RobustTD3` is TD3.

    Timesteps are steps of the env, of one run. Every episode is reset with a seed drawn from the run's generator, so
    that a run saved between two episodes goes on bit for bit.

    Source: Tessler, Efroni and Mannor 2019, algorithm 5; Kamalaruban et al. 2020; Lillicrap et al. 2016.

    Args:
        env: an id of an `ActionRobustEnv` (made once per run), or one env for one run. Its coupling must be "noisy" or
            "probabilistic".
        solver: of the two policies, a scheme or a name of `make_solver`; Adam(1e-3) by default.
        seed: of everything random.
        runs: S.
        env_settings: of the id, e.g. {"alpha": 0.3}.
        tensorboard_log, verbose: as Stable-Baselines3 has them.
        **settings: see `Settings`.

    Raises:
        GameError: an env that is none, settings out of range.

    Example:
        >>> agent = RobustDDPG("robustgames/ActionRobustPendulum-v0", learning_starts=20, batch_size=8).learn(40)
        >>> agent.predict(np.zeros(3, np.float32))[0].shape
        (1,)
    """

    preset = Settings()

    def __init__(
        self,
        env: gym.Env | str = "robustgames/ActionRobustPendulum-v0",
        solver: Scheme | str | None = None,
        seed: int = 0,
        runs: int = 1,
        env_settings: dict[str, Any] | None = None,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        **settings: Any,
    ) -> None:
        self.settings = _settings(self.preset, settings)
        self.envs = _make_envs(env, runs, env_settings or {})
        self.seed, self.tensorboard_log, self.verbose = seed, tensorboard_log, verbose
        self.generator = Generator().manual_seed(seed)
        core, s = _core(self.envs[0]), self.settings
        states, actions = (gym.spaces.flatdim(x) for x in (core.observation_space, core.inner.action_space))
        actor = MLP((states, *s.hidden, actions), last="tanh")
        adversary = MLP((states, *s.hidden, actions), last="tanh") if s.adversary == "learned" else None
        name = "noisy" if isinstance(core.coupling, NoisyAction) else "probabilistic"
        self.policies = Policies(actor, adversary, core.coupling.alpha, name)  # type: ignore[attr-defined]
        critic = MLP((states + actions, *s.hidden, 1))
        learning = TemporalDifference(
            self.policies, critic, s.gamma, s.tau, s.twin, s.smoothing, rule=Adam(s.critic_lr)
        )
        replay = Replay(s.buffer_size, states, actions, (runs,))
        self.practice = Practice(replay, learning, s.batch_size, self.generator)
        self.game = PolicyGame(self.policies, critic, self.practice)
        self.oracle = Oracle(self.game, (runs,), self.generator)
        chosen = make_solver("adam", lr=1e-3) if solver is None else solver
        self.solver = fit(make_solver(chosen) if isinstance(chosen, str) else chosen, self.oracle)
        with torch.no_grad():
            self.z = self.game.initial((runs,), self.generator)
            self.state = self.solver.init(self.oracle, self.z)
        self.practice.begin(self.z)
        self.num_timesteps = self.updates = 0
        self._observations: list[np.ndarray | None] = [None] * runs  # None: the next step begins an episode
        self._returns, self._lengths = np.zeros(runs), np.zeros(runs, dtype=int)
        self.episodes: list[deque[tuple[float, int]]] = [deque(maxlen=RECENT) for _ in range(runs)]
        self._logger: Logger | None = None

    # -- training ----------------------------------------------------------------------------------------------
    @torch.no_grad()
    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        log_interval: int | None = None,
        tb_log_name: str = "run",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train for a number of env steps of each run.

        Args:
            total_timesteps: env steps, >= 0.
            callback: Stable-Baselines3 callback(s), or a function (locals, globals) -> bool; False stops.
            log_interval: timesteps between two logs; by default a hundredth of the total.
            tb_log_name: name of the run in TensorBoard.
            reset_num_timesteps: False continues the count of an earlier `learn`.
            progress_bar: show progress, rate and time left.

        Raises:
            DivergedError: a policy left the finite numbers.
            GameError: the env fails; the message says where.
        """
        if not total_timesteps >= 0:
            raise GameError(f"total_timesteps is {total_timesteps}: a number of env steps >= 0 is needed")
        if reset_num_timesteps:
            self.num_timesteps = 0
        target = self.num_timesteps + total_timesteps
        if self._logger is None:
            self.set_logger(configure_logger(self.verbose, self.tensorboard_log, tb_log_name, reset_num_timesteps))
        given = callback if isinstance(callback, list) else [] if callback is None else [callback]
        every = [c if isinstance(c, BaseCallback) else ConvertCallback(c) for c in given]
        callbacks = CallbackList(every + ([ProgressBar()] if progress_bar else []))
        callbacks.init_callback(self)  # type: ignore[arg-type]
        callbacks.on_training_start({"total_timesteps": target, "self": self}, globals())
        interval, began, first = log_interval or max(1, total_timesteps // 100), time.perf_counter(), self.num_timesteps
        try:
            with deferred_interrupt() as pressed:
                while self.num_timesteps < target:
                    self._step()
                    if self.num_timesteps % interval == 0 or self.num_timesteps == target:
                        self._log((self.num_timesteps - first) / (time.perf_counter() - began))
                    if not callbacks.on_step():
                        break
                    if pressed:
                        raise KeyboardInterrupt
        finally:
            callbacks.on_training_end()
        return self

    def _step(self) -> None:
        """Play one step in every env, store it, and take the updates that it is worth."""
        s, observations = self.settings, self._observe()
        own, other = self._act(torch.from_numpy(observations))
        transitions = [self._play(i, *actions) for i, actions in enumerate(zip(own, other, strict=True))]
        executed, after, rewards, terminated = (np.stack(part) for part in zip(*transitions, strict=True))
        self.practice.replay.add(observations, executed, after, rewards, terminated)
        self.num_timesteps += 1
        if self.practice.replay.size <= s.learning_starts:
            return
        self.practice.learn(self.generator)
        self.updates += 1
        if self.updates % s.delay == 0:
            self.z, self.state = self.solver.step(self.oracle, self.z, self.state)
            self.practice.follow(self.z)

    def _observe(self) -> np.ndarray:
        for i, env in enumerate(self.envs):
            if self._observations[i] is None:
                seed = int(torch.randint(2**31, (), generator=self.generator))
                self._observations[i] = _flat(env.reset(seed=seed)[0])
        return np.stack(self._observations)  # type: ignore[arg-type]

    def _act(self, observations: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the actions of both players in every env, with exploration: (S, k) each."""
        if self.practice.replay.size < self.settings.learning_starts:
            both = torch.rand((2, len(self.envs), self.practice.replay.action_size), generator=self.generator)
            return tuple((2 * both - 1).numpy())  # type: ignore[return-value]
        states = observations.unsqueeze(-2)
        drawn = self.policies.draw(states.shape[:-1], self.generator, states.dtype)
        mu, nu = self.policies.actions(*self.game.split(self.z), states, drawn)
        mu = mu.squeeze(-2)
        if self.settings.noise:
            mu = mu + self.settings.noise * torch.randn(mu.shape, generator=self.generator)
        adversary = torch.zeros_like(mu) if nu is None else nu.squeeze(-2)
        return mu.clamp(-1, 1).numpy(), adversary.numpy()

    def _play(self, i: int, own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, bool]:
        shape = _core(self.envs[i]).inner.action_space.shape
        action = {"protagonist": own.reshape(shape), "adversary": other.reshape(shape)}
        try:
            after, reward, terminated, truncated, info = self.envs[i].step(action)
        except GameError as error:
            raise GameError(f"run {i}, timestep {self.num_timesteps}: {error}") from error
        after, reward = _flat(after), float(reward)
        self._returns[i] += reward
        self._lengths[i] += 1
        self._observations[i] = after
        if terminated or truncated:
            self.episodes[i].append((float(self._returns[i]), int(self._lengths[i])))
            self._returns[i], self._lengths[i], self._observations[i] = 0.0, 0, None
        return np.ravel(info["executed_action"]), after, reward, terminated

    def _log(self, rate: float) -> None:
        if not bool(torch.isfinite(self.z).all()):
            run = int((~torch.isfinite(self.z).all(-1)).nonzero()[0])
            raise DivergedError(f"run {run} left the finite numbers by timestep {self.num_timesteps}: try a smaller lr")
        finished = [episode for recent in self.episodes for episode in recent]
        if finished:
            returns, lengths = zip(*finished, strict=True)
            self.logger.record("rollout/ep_rew_mean", float(np.mean(returns)))
            self.logger.record("rollout/ep_len_mean", float(np.mean(lengths)))
        if self.practice.error.numel():
            self.logger.record("train/critic_loss", float(self.practice.error.square().mean()))
        self.logger.record("time/timesteps", self.num_timesteps)
        self.logger.record("time/updates", self.updates)
        self.logger.record("time/fps", int(rate))
        self.logger.dump(self.num_timesteps)

    # -- playing -----------------------------------------------------------------------------------------------
    @torch.no_grad()
    def predict(
        self,
        observation: np.ndarray,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
        player: str = "protagonist",
        run: int = 0,
    ) -> tuple[np.ndarray, None]:
        """Return (the action of a player of one run in [-1, 1]^k, None), without exploration.

        Args:
            observation: (p,), or (B, p) for B actions.
            state: unused, as in Stable-Baselines3.
            episode_start: unused, too.
            deterministic: unused, too: these policies are.
            player: "protagonist" or "adversary".
            run: 0 … S - 1.
        """
        if player not in self.game.players:
            raise GameError(f"player is {player!r}: protagonist or adversary")
        number = self.game.players.index(player)
        network = (self.policies.actor, self.policies.adversary)[number]
        if network is None:
            raise GameError("the adversary of this agent draws its actions at random: it has no policy")
        weights = self.game.split(self.z[run])[number]
        flat = torch.as_tensor(np.asarray(observation, dtype=np.float32))
        actions = network(weights, flat.unsqueeze(0) if flat.dim() == 1 else flat)  # type: ignore[operator]
        return (actions.squeeze(0) if flat.dim() == 1 else actions).numpy(), None

    def get_env(self) -> gym.Env:
        """Return the env of the first run."""
        return self.envs[0]

    @property
    def logger(self) -> Logger:
        """Stable-Baselines3's logger."""
        if self._logger is None:
            self._logger = configure_logger(self.verbose, self.tensorboard_log, "run")
        return self._logger

    def set_logger(self, logger: Logger) -> None:
        """Log to this logger from now on."""
        self._logger = logger

    # -- disk --------------------------------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """Write a checkpoint with the replay to the folder `path`, atomically, keeping the one before.

        Envs are not saved: a loaded agent begins new episodes.
        """
        content = {
            "agent": type(self).__name__,
            "settings": asdict(self.settings) | {"hidden": list(self.settings.hidden)},
            "solver": to_config(self.solver),
            "seed": self.seed,
            "timesteps": self.num_timesteps,
            "updates": self.updates,
            "z": self.z,
            "state": self.state,
            "practice": self.practice.state_dict(),
            "generator": self.generator.get_state(),
            "episodes": [list(map(list, recent)) for recent in self.episodes],
        }
        disk.save_checkpoint(path, content)

    @classmethod
    def load(
        cls, path: str | Path, env: gym.Env | str, env_settings: dict[str, Any] | None = None, **options: Any
    ) -> Self:
        """Return the agent of a checkpoint, at the beginning of new episodes.

        Args:
            path: the folder that `save` wrote.
            env: as in the constructor.
            env_settings: likewise.
            **options: `tensorboard_log`, `verbose`.

        Raises:
            GameError: no undamaged checkpoint, or one of another agent or env.
        """
        content = disk.load_checkpoint(path)
        if content.get("agent") != cls.__name__:
            raise GameError(
                f"the checkpoint in {path} is of {content.get('agent', 'another agent')}, not {cls.__name__}"
            )
        settings = {**content["settings"], "hidden": tuple(content["settings"]["hidden"])}
        solver, runs = from_config(content["solver"]), len(content["z"])
        agent = cls(env, solver, content["seed"], runs, env_settings, **options, **settings)
        if agent.z.shape != content["z"].shape:
            there, here = tuple(content["z"].shape), tuple(agent.z.shape)
            raise GameError(
                f"the checkpoint in {path} has z {there}, this env needs {here}: make the env as in the run"
            )
        agent.z, agent.state = content["z"], content["state"]
        agent.practice.load_state_dict(content["practice"])
        agent.generator.set_state(content["generator"])
        agent.num_timesteps, agent.updates = content["timesteps"], content["updates"]
        for recent, saved in zip(agent.episodes, content["episodes"], strict=True):
            recent.extend((float(reward), int(length)) for reward, length in saved)
        return agent


class RobustTD3(RobustDDPG):
    """`RobustDDPG` with two critics, target smoothing 0.2 and a delay of 2; with α = 0 it is TD3.

    Source: Fujimoto, van Hoof and Meger 2018, algorithm 1.

    Example:
        >>> RobustTD3(learning_starts=20, batch_size=8).learn(30).settings.twin
        True
    """

    preset = Settings(twin=True, smoothing=0.2, delay=2)


def _settings(preset: Settings, changed: dict[str, Any]) -> Settings:
    known = asdict(preset)
    for name in changed:
        if name not in known:
            raise unknown("setting", name, known)
    return Settings(**{**known, **changed})


def _make_envs(env: gym.Env | str, runs: int, settings: dict[str, Any]) -> list[gym.Env]:
    if runs < 1:
        raise GameError(f"runs is {runs}: at least one run is needed")
    if isinstance(env, str):
        envs = [gym.make(env, **settings) for _ in range(runs)]
    elif runs > 1 or settings:
        raise GameError("an env that is made serves one run as it is: pass its id for several runs, or with settings")
    else:
        envs = [env]
    core = _core(envs[0])
    if not isinstance(core.coupling, NoisyAction | ProbabilisticAction):
        name = type(core.coupling).__name__
        raise GameError(f"the coupling is {name}: noisy or probabilistic actions are needed; train a view for others")
    return envs


def _core(env: gym.Env) -> ActionRobustEnv:
    if not isinstance(env.unwrapped, ActionRobustEnv):
        wanted = "robustgames/ActionRobust-v0 with env_settings={'env_id': 'Pendulum-v1'}"
        raise GameError(f"{env} is no env with an adversary: pass an id such as {wanted}")
    return env.unwrapped


def _flat(observation: Any) -> np.ndarray:
    return np.ravel(observation).astype(np.float32)
