"""DDPG and TD3 against an adversary that acts too."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import configure_logger
from torch import Generator, Tensor

from robustgames.agents.callbacks import ProgressBar, callback_list, deferred_interrupt
from robustgames.agents.control.backward import RowPass
from robustgames.agents.control.behavior import Behavior
from robustgames.agents.control.critic_training import CriticTraining
from robustgames.agents.control.critics import TemporalDifference
from robustgames.agents.control.episode_factory import make_episodes
from robustgames.agents.control.episodes import Episodes
from robustgames.agents.control.normalization import RunningNorm
from robustgames.agents.control.policies import FlatNetwork, Policies
from robustgames.agents.control.policy_game import PolicyGame
from robustgames.agents.control.replay import Replay
from robustgames.agents.control.settings import Settings
from robustgames.checkpoints import load_checkpoint, save_checkpoint
from robustgames.errors import DivergedError, GameError, unknown
from robustgames.games import MLP, Oracle
from robustgames.solvers import Averaged, FusedAdam, Scheme, fused, make_solver
from robustgames.solvers.config import from_config, to_config
from robustgames.solvers.fitting import fit
from robustgames.tensors import choose_device, map_tensors


class RobustDDPG:
    """Deterministic policy gradients for a protagonist and an adversary in one env; S runs side by side.

    Every step of the env teaches the critic Q, from a replay of *executed* actions; then the solver takes one step on
    `PolicyGame`, max_x min_y of Q at what both play, so that simultaneous Adam, extragradient or Langevin chains are a
    choice of `solver`. With α = 0 there is no adversary and it is DDPG; `RobustTD3` is then TD3.

    Timesteps are steps of the env, of one run. Weights, episodes and everything else are drawn from streams of their
    own, so that runs of one seed begin alike whatever their adversaries are. A saved run goes on bit for bit on a CPU,
    in the middle of an episode too, where the env is a function of its seed and the actions.

    The same algorithm on one page, without its speed, is `tests/reference_ddpg.py`; a test compares both.

    Source: Tessler, Efroni and Mannor 2019, algorithm 5; Kamalaruban et al. 2020; Lillicrap et al. 2016.

    Args:
        env: an id of a control env with an adversary (one env per run; `robustgames/RobustPendulum-v0` is one batch on
            the device), or one env for one run. Its coupling must be "noisy" or "probabilistic".
        solver: of the two policies, a scheme or a name of `make_solver`; Adam(1e-3) by default. Its rates may be
            tensors (S, 1), one per run.
        seed: of everything random.
        runs: S.
        env_settings: of the id, e.g. {"alpha": 0.3}; a list of S shares gives every run its own.
        device: "cpu", "cuda", or "auto": the GPU where there is one and the env is a batch. Networks, replay and
            updates are there.
        tensorboard_log, verbose: as Stable-Baselines3 has them.
        **settings: see `Settings`.

    Raises:
        GameError: an env that is none, settings out of range.

    Example:
        >>> agent = RobustDDPG("robustgames/RobustPendulum-v0", runs=3, learning_starts=20, batch_size=8).learn(40)
        >>> agent.predict(np.zeros(3, np.float32), run=2)[0].shape
        (1,)
    """

    preset = Settings()

    def __init__(
        self,
        env: gym.Env | gym.vector.VectorEnv | str = "robustgames/ActionRobustPendulum-v0",
        solver: Scheme | str | None = None,
        seed: int = 0,
        runs: int = 1,
        env_settings: dict[str, Any] | None = None,
        device: str = "auto",
        tensorboard_log: str | None = None,
        verbose: int = 0,
        **settings: Any,
    ) -> None:
        self.settings = s = self.preset.changed(settings)
        if seed < 0:
            raise GameError(f"seed is {seed}: a whole number >= 0 is needed, e.g. seed=0")
        self.seed, self.tensorboard_log, self.verbose = seed, tensorboard_log, verbose
        of_players, of_critics, of_episodes, of_rest = (int(n) for n in np.random.SeedSequence(seed).generate_state(4))
        self.ongoing = make_episodes(env, runs, env_settings or {}, device, Generator().manual_seed(of_episodes))
        runs, self.device = self.ongoing.runs, self.ongoing.device if device == "auto" else choose_device(device)
        self.generator = Generator(self.device).manual_seed(of_rest)
        states, actions = self.ongoing.observation_size, self.ongoing.action_size
        self.policies = _policies(self.ongoing, s, self.device)
        critic = MLP((states + actions, *s.hidden, 1), norm=s.layer_norm)
        learning = TemporalDifference(
            self.policies,
            critic,
            s.gamma,
            s.tau,
            s.twin,
            s.smoothing,
            rule=FusedAdam(s.critic_lr),
            l2=s.l2,
            final=s.final or None,
        )
        replay = Replay(s.buffer_size, states, actions, (runs,), self.device)
        self.norm = RunningNorm(runs, states, self.device) if s.normalize else None
        first = Generator(self.device).manual_seed(of_critics)
        self.practice = CriticTraining(replay, learning, s.batch_size, first, s.every_draw, self.norm)
        self.game = PolicyGame(self.policies, critic, self.practice, s.final or None).to(self.device)
        self.oracle = Oracle(self.game, (runs,), self.generator)
        chosen = make_solver("adam", lr=1e-3) if solver is None else solver
        self.solver = fused(fit(make_solver(chosen) if isinstance(chosen, str) else chosen, self.oracle))
        if isinstance(self.solver, Averaged):
            raise GameError(f"{self.solver!r} averages, and these policies are their last iterates: leave average out")
        with torch.no_grad():
            self.z = self.game.initial((runs,), Generator(self.device).manual_seed(of_players))
            self.state = self.solver.init(self.oracle, self.z)
        self.practice.begin(self.z)
        self.behavior = Behavior(self.policies, s, self.z, self.generator)
        self.num_timesteps = self.updates = 0
        self._logger: Logger | None = None

    # -- training ----------------------------------------------------------------------------------------------
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
            DivergedError: the policies of all runs left the finite numbers.
            GameError: the env fails; the message says where.
        """
        if not total_timesteps >= 0:
            raise GameError(f"total_timesteps is {total_timesteps}: a number of env steps >= 0 is needed")
        if log_interval is not None and log_interval < 1:
            raise GameError(f"log_interval is {log_interval}: at least 1 env step lies between two logs")
        if reset_num_timesteps:
            self.num_timesteps = 0
        target = self.num_timesteps + total_timesteps
        if self._logger is None:
            self.set_logger(configure_logger(self.verbose, self.tensorboard_log, tb_log_name, reset_num_timesteps))
        callbacks = callback_list(self, callback, ProgressBar("step") if progress_bar else None)
        callbacks.on_training_start({"total_timesteps": target, "self": self}, globals())
        interval, began, first = log_interval or max(1, total_timesteps // 100), time.perf_counter(), self.num_timesteps
        try:
            with deferred_interrupt() as pressed:
                while self.num_timesteps < target:
                    with torch.inference_mode():  # a tenth less time than without gradients only
                        self._step()
                    if self.num_timesteps % interval == 0 or self.num_timesteps == target:
                        self._log((self.num_timesteps - first) / (time.perf_counter() - began))
                    if callbacks.callbacks and not callbacks.on_step():
                        break
                    if pressed:
                        raise KeyboardInterrupt
        finally:
            callbacks.on_training_end()
            self._leave_inference()
        return self

    def _leave_inference(self) -> None:
        """Replace tensors made in inference mode, with which nothing can be differentiated, by equal ones."""
        self.z, self.state = _ordinary(self.z), map_tensors(self.state, _ordinary)
        self.behavior.state = map_tensors(self.behavior.state, _ordinary)
        self.practice.held = None

    def _step(self) -> None:
        """Play one step in every env, store it, and take the updates that it is worth."""
        s, practice = self.settings, self.practice
        try:
            played = self.ongoing.play(*self._act(self.ongoing.observe()))
        except GameError as error:
            self._check_finite()  # of what is no number, the policy rather than the env may be the origin
            self.behavior.restart(self.z, [True] * len(self.z))
            raise GameError(f"timestep {self.num_timesteps}, {error}") from error
        if self.norm is not None:
            self.norm.update(torch.as_tensor(played.observations, device=self.device))
        practice.replay.add(played.observations, played.executed, played.after, played.rewards, played.terminated)
        if any(played.ended):
            self.behavior.restart(self.z, played.ended)
        self.num_timesteps += 1
        if practice.replay.size <= s.learning_starts:
            return
        practice.learn(self.generator)
        self.updates += 1
        self.behavior.adapt(self.z, practice.states)
        if self.updates % s.delay == 0:
            self.z, self.state = self.solver.step(self.oracle, self.z, self.state)
            practice.follow(self.z)

    def _act(self, observations: Any) -> tuple[Any, Any]:
        """Return the actions of both players in every env, with exploration: (S, k) each, where the envs are."""
        if self.practice.replay.size < self.settings.learning_starts:
            size = (2, len(observations), self.ongoing.action_size)
            both = torch.rand(size, generator=self.generator, device=self.device).mul_(2).sub_(1)
            own, other = both.to(self.ongoing.device)
            return own, other
        if self.behavior.row_by_row and self.norm is None:
            own, other = self.behavior.act_alone(self.z, observations[0])
            return own[None], other[None]
        states = torch.as_tensor(observations, device=self.device).unsqueeze(-2)
        both = self.behavior.act(self.z, states if self.norm is None else self.norm.apply_(states.clone()))
        own, other = (actions.nan_to_num().to(self.ongoing.device) for actions in both)  # a lost run holds up no other
        return own, other

    def _check_finite(self) -> None:
        if not bool(torch.isfinite(self.z).all(-1).any()):
            told = "all runs" if len(self.z) > 1 else "the run"
            raise DivergedError(f"{told} left the finite numbers by timestep {self.num_timesteps}: try a smaller lr")

    def _log(self, rate: float) -> None:
        self._check_finite()
        finished = [recent for recent in self.ongoing.recent if recent]
        if finished:
            returns = [float(np.mean([reward for reward, _ in recent])) for recent in finished]
            self.logger.record("rollout/ep_rew_mean", float(np.mean(returns)))
            self.logger.record("rollout/ep_len_mean", float(np.mean([n for recent in finished for _, n in recent])))
            if len(returns) > 1:
                self.logger.record("rollout/ep_rew_std_of_runs", float(np.std(returns, ddof=1)))
        if self.practice.error.numel():
            self.logger.record("train/critic_loss", float(self.practice.error.square().mean()))
        self.logger.record("train/diverged_runs", int((~torch.isfinite(self.z).all(-1)).sum()))
        for name, value in self.behavior.measures().items():
            self.logger.record(f"train/{name}", value)
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
        network, weights = self._network(player, run)
        flat = torch.as_tensor(np.asarray(observation, dtype=np.float32), device=self.device)
        if flat.dim() not in (1, 2) or flat.shape[-1] != self.ongoing.observation_size:
            size = self.ongoing.observation_size
            raise GameError(f"observation has shape {tuple(flat.shape)}: expected ({size},) or (B, {size})")
        states = flat.unsqueeze(0) if flat.dim() == 1 else flat
        if self.norm is not None:
            states = self.norm.apply_(states.clone(), run)
        actions = network(weights, states)
        return (actions.squeeze(0) if flat.dim() == 1 else actions).cpu().numpy(), None

    def policy(self, run: int = 0, player: str = "protagonist") -> Callable[[Any], np.ndarray]:
        """Return a player of one run as it is now: observation -> action, in the shapes of the env.

        For `robustgames.evaluation`, or as the opponent of a `PlayerView`; in a quarter of the time of `predict`.

        Example:
            >>> agent = RobustDDPG()
            >>> opponent = agent.policy(player="adversary")
            >>> rg.PlayerView("robustgames/ActionRobustPendulum-v0", "protagonist", opponent).action_space.shape
            (1,)
        """
        network, weights = self._network(player, run)
        shape, norm = self.ongoing.action_shape, copy.deepcopy(self.norm)
        flat = weights.clone().cpu().numpy()
        if norm is None and RowPass.fits(network):
            row = RowPass(network)  # type: ignore[arg-type]
            return lambda observation: row(flat, np.ravel(observation)).reshape(shape).copy()

        @torch.no_grad()
        def act(observation: Any) -> np.ndarray:
            states = torch.from_numpy(np.ravel(observation).astype(np.float32)).unsqueeze(0).to(self.device)
            states = states if norm is None else norm.apply_(states, run)
            return network(weights, states)[0].cpu().numpy().reshape(shape)

        return act

    def _network(self, player: str, run: int) -> tuple[FlatNetwork, Tensor]:
        """Return a player's network and its weights in one run."""
        if player not in self.game.players:
            raise unknown("player", str(player), self.game.players)
        if not -len(self.z) <= run < len(self.z):
            raise GameError(f"run is {run}: there are {len(self.z)}, 0 to {len(self.z) - 1}")
        number = self.game.players.index(player)
        network = (self.policies.actor, self.policies.adversary)[number]
        if network is None:
            why = "draws its actions at random" if self.settings.adversary == "random" else "has no share (alpha is 0)"
            raise GameError(f"the adversary of this agent {why}: it has no policy")
        return network, self.game.split(self.z[run])[number].clone()

    @property
    def episodes(self) -> list[deque[tuple[float, int]]]:
        """(return, length) of the last episodes of every run."""
        return self.ongoing.recent

    def get_env(self) -> Any:
        """Return the env of the first run, or the batch of all: where it trains; play episodes in one of your own."""
        return self.ongoing.first

    def close(self) -> None:
        """Close the envs."""
        self.ongoing.close()

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
        """Write a checkpoint with the replay and the episodes to the folder `path`, atomically, keeping the last."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        content = {
            "agent": type(self).__name__,
            "settings": asdict(self.settings) | {"hidden": list(self.settings.hidden)},
            "solver": to_config(self.solver),
            "seed": self.seed,
            "alphas": self.ongoing.alphas,
            "coupling": self.ongoing.coupling,
            "timesteps": self.num_timesteps,
            "updates": self.updates,
            "z": self.z,
            "state": self.state,
            "generator": self.generator.get_state(),
            **parts,
        }
        save_checkpoint(path, content)

    def _parts(self) -> dict[str, Any]:
        parts = {"practice": self.practice, "episodes": self.ongoing, "behavior": self.behavior}
        return parts if self.norm is None else {**parts, "norm": self.norm}

    @classmethod
    def load(
        cls,
        path: str | Path,
        env: gym.Env | gym.vector.VectorEnv | str,
        env_settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Return the agent of a checkpoint, where it was saved.

        Args:
            path: the folder that `save` wrote.
            env: as in the constructor.
            env_settings: likewise.
            **options: `device`, `tensorboard_log`, `verbose`.

        Raises:
            GameError: no undamaged checkpoint, or one of another agent or env.
        """
        content = load_checkpoint(path)
        if content.get("agent") != cls.__name__:
            raise GameError(
                f"the checkpoint in {path} is of {content.get('agent', 'another agent')}, not {cls.__name__}"
            )
        for name in options:
            if name not in (known := ("device", "tensorboard_log", "verbose")):
                raise unknown("option of load", name, known)
        solver, runs = from_config(content["solver"]), len(content["z"])
        agent = cls(env, solver, content["seed"], runs, env_settings, **options, **content["settings"])
        if agent.z.shape != content["z"].shape:
            there, here = tuple(content["z"].shape), tuple(agent.z.shape)
            raise GameError(
                f"the checkpoint in {path} has z {there}, this env needs {here}: make the env as in the run"
            )
        here, there = ((agent.ongoing.coupling, agent.ongoing.alphas), (content["coupling"], content["alphas"]))
        if here != there:
            raise GameError(
                f"the checkpoint in {path} has coupling {there[0]} with alpha {there[1]}, this env {here[0]} with "
                f"{here[1]}: pass the env_settings of the run"
            )
        # states of generators (uint8) stay where they are
        content = map_tensors(content, lambda t: t if t.dtype == torch.uint8 else t.to(agent.device))
        agent.z, agent.state = content["z"], content["state"]
        for name, part in agent._parts().items():
            part.load_state_dict(content[name])
        agent.generator.set_state(content["generator"])
        agent.num_timesteps, agent.updates = content["timesteps"], content["updates"]
        return agent


class RobustTD3(RobustDDPG):
    """`RobustDDPG` with two critics, target smoothing 0.2, a delay of 2 and tau 0.005; with α = 0 it is TD3.

    Source: Fujimoto, van Hoof and Meger 2018, algorithm 1.

    Example:
        >>> RobustTD3(learning_starts=20, batch_size=8).learn(30).settings.twin
        True
    """

    preset = Settings(tau=0.005, twin=True, smoothing=0.2, delay=2)


def _ordinary(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor


def _policies(episodes: Episodes, s: Settings, device: torch.device) -> Policies:
    alphas = episodes.alphas
    actor, other = (
        MLP((episodes.observation_size, *s.hidden, episodes.action_size), last="tanh", norm=s.layer_norm)
        for _ in range(2)
    )
    learned = s.adversary == "learned" and any(alphas)
    alpha = alphas[0] if len(set(alphas)) == 1 else torch.tensor(alphas, device=device)
    return Policies(actor, other if learned else None, alpha, episodes.law)
