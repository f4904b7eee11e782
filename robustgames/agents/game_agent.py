"""The agent of a game: one solver, one batch of runs, Stable-Baselines3's surface."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import configure_logger
from torch import Generator, Tensor

from robustgames import envs
from robustgames.agents.callbacks import ProgressBar, callback_list, deferred_interrupt
from robustgames.checkpoints import load_checkpoint, save_checkpoint
from robustgames.errors import DivergedError, GameError
from robustgames.evaluation import certificates, final_certificates, mean_and_std
from robustgames.games import Game, Oracle
from robustgames.solvers import Scheme, make_solver
from robustgames.solvers.config import from_config, to_config
from robustgames.solvers.fitting import fit
from robustgames.solvers.rules import State
from robustgames.solvers.schemes import Averaged
from robustgames.tensors import tensors_of

LEAP, SMALL = 8, 16  # compiled as one graph where no callback looks on: 8 steps of a game of at most 16 coordinates
LOG_ATTACK_STEPS = 10  # the attack of a learning curve; final numbers take 40
Callback = BaseCallback | list[BaseCallback] | Any | None


class GameAgent:
    """Trains both players of a game with a solver; all runs of the env side by side in one tensor.

    `num_timesteps` counts oracle calls of one run: extragradient pays two a step, so that learning curves compare.
    `(z, state, generator, num_timesteps)` is all there is to save; on a CPU a resumed run equals an uninterrupted one
    bit for bit.

    An env serves one agent at a time, the newest: both share its oracle.

    Args:
        env: a `GameVectorEnv`, a `GameEnv`, or an id (one run, on `device`).
        solver: a scheme, or a name of `make_solver`.
        seed: of the run's generator, which draws starts, samples and Langevin noise.
        z0: first joint strategy, (n + m,) for all runs or (S, n + m); drawn by the game by default.
        compile: run each step through `torch.compile`; pays for long runs of cheap games with many runs.
        device: "auto", "cpu" or "cuda", where `env` is an id.
        tensorboard_log: folder of event files (None: none).
        verbose: 1 prints a table at every log, as Stable-Baselines3 does.

    Example:
        >>> agent = GameAgent("robustgames/Quadratic-v0", make_solver("gda", lr=0.1), seed=0).learn(200)
        >>> bool(agent.z.norm() < 1e-6)
        True
    """

    def __init__(
        self,
        env: gym.Env | gym.vector.VectorEnv | str,
        solver: Scheme | str = "extragradient",
        seed: int = 0,
        z0: Tensor | list[float] | None = None,
        compile: bool = False,
        device: str = "auto",
        tensorboard_log: str | None = None,
        verbose: int = 0,
    ) -> None:
        self.env = envs.make(env, runs=1, device=device) if isinstance(env, str) else env
        if isinstance(env, Game) or not isinstance(self.env.unwrapped, envs.GameEnv | envs.GameVectorEnv):
            raise GameError(f"{self.env} is no env of a game: pass an id, or rg.GameVectorEnv(game, num_envs=8)")
        self.oracle: Oracle = self.env.unwrapped.oracle
        self.game: Game = self.oracle.game
        self.solver = fit(make_solver(solver) if isinstance(solver, str) else solver, self.oracle)
        self.seed, self.tensorboard_log, self.verbose = seed, tensorboard_log, verbose
        self.oracle.calls = 0
        self.oracle.generator.manual_seed(seed)
        self.z = _runs_side_by_side(self._start(z0)) if compile else self._start(z0)
        with torch.no_grad():
            self.state = self.solver.init(self.oracle, self.z)
        self.steps = 0
        self._advance = torch.compile(self.solver.step) if compile else self.solver.step
        self._leap = torch.compile(self._steps) if compile and sum(self.game.sizes) <= SMALL else None
        self._logger: Logger | None = None
        self._remember()

    def _start(self, z0: Tensor | list[float] | None) -> Tensor:
        shape = (*self.oracle.shape, sum(self.game.sizes))
        if z0 is None:
            return self.game.initial(self.oracle.shape, self.oracle.generator)
        z = torch.as_tensor(z0, dtype=self.game.dtype, device=self.game.device)
        if z.shape not in (shape, shape[-1:]):
            raise GameError(f"z0 has shape {tuple(z.shape)}: expected {shape[-1:]} (the same for all runs) or {shape}")
        if not bool(torch.isfinite(z).all()):
            raise GameError("z0 holds values that are not finite")
        return self.oracle.project(z.expand(shape).clone())

    # -- training ------------------------------------------------------------------------------------------
    @property
    def num_timesteps(self) -> int:
        """Oracle calls so far, of one run."""
        return self.oracle.calls

    @torch.no_grad()
    def learn(
        self,
        total_timesteps: int,
        callback: Callback = None,
        log_interval: int | None = None,
        tb_log_name: str = "run",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train for a number of oracle calls (the last step may pass it by less than its own calls).

        Args:
            total_timesteps: oracle calls, >= 0.
            callback: Stable-Baselines3 callback(s), or a function (locals, globals) -> bool; False stops.
            log_interval: timesteps between two logs; by default a hundredth of the total.
            tb_log_name: name of the run in TensorBoard.
            reset_num_timesteps: False continues the count of an earlier `learn`.
            progress_bar: show progress, rate and time left.

        Raises:
            DivergedError: all runs left the finite numbers; the agent is back at its last finite log.
        """
        if not total_timesteps >= 0:
            raise GameError(f"total_timesteps is {total_timesteps}: a number of oracle calls >= 0 is needed")
        if log_interval is not None and log_interval < 1:
            raise GameError(f"log_interval is {log_interval}: at least 1 oracle call lies between two logs")
        if reset_num_timesteps and self.steps > 0:
            self.oracle.calls = 0
        target = total_timesteps + (0 if reset_num_timesteps else self.num_timesteps)
        if self._logger is None:
            self.set_logger(configure_logger(self.verbose, self.tensorboard_log, tb_log_name, reset_num_timesteps))
        callbacks = callback_list(self, callback, ProgressBar() if progress_bar else None)
        callbacks.on_training_start({"total_timesteps": target, "self": self}, globals())
        if self.steps == 0:
            self._log(0.0)
        try:
            with deferred_interrupt() as pressed:
                self._loop(target, log_interval or max(1, total_timesteps // 100), callbacks, pressed)
            self._check_finite()
        except BaseException:
            self._recall()  # whatever stopped a step half-way: back to a point between two steps
            raise
        finally:
            callbacks.on_training_end()
        return self

    def _loop(self, target: int, interval: int, callbacks: CallbackList, pressed: list[int]) -> None:
        oracle, began, first, cost = self.oracle, time.perf_counter(), self.num_timesteps, 0
        # logs fall on multiples of the interval, so that a resumed run logs where the uninterrupted one does
        due, watched = min((first // interval + 1) * interval, target), bool(callbacks.callbacks)
        while oracle.calls < target:
            if self._leap is not None and cost and not watched and oracle.calls + LEAP * cost <= due:
                self.z, self.state = self._leap(self.z, self.state)
                self.steps += LEAP
            else:
                cost = -oracle.calls
                self.z, self.state = self._advance(oracle, self.z, self.state)
                self.steps += 1
                cost += oracle.calls
            if oracle.calls >= due:
                due = min((oracle.calls // interval + 1) * interval, target)
                self._check_finite()
                self._log((oracle.calls - first) / (time.perf_counter() - began))
            if watched and not callbacks.on_step():
                break
            if pressed:
                self._check_finite()
                raise KeyboardInterrupt

    def _steps(self, z: Tensor, state: State) -> tuple[Tensor, State]:
        for _ in range(LEAP):
            z, state = self.solver.step(self.oracle, z, state)
        return z, state

    def _log(self, rate: float) -> None:
        point, sample = self.best(), self.oracle.sample
        if sample is None:  # nothing is drawn before the first step: look at a sample the run's generator never sees
            sample = self.game.draw(self.oracle.shape, Generator(self.game.device).manual_seed(self.seed))
        values = {f"game/{name}": value for name, value in self.game.metrics(self.z, sample).items()}
        evaluate = certificates if point is self.z else final_certificates  # of an average, all is news
        values |= {f"eval/{name}": value for name, value in evaluate(self.game, point, LOG_ATTACK_STEPS, True).items()}
        for name, (mean, std) in mean_and_std(values).items():
            self.logger.record(name, mean)
            if self.z.dim() > 1:
                self.logger.record(name.replace("/", "_std/"), std, exclude="tensorboard")
        self.logger.record("time/timesteps", self.num_timesteps)
        self.logger.record("time/iterations", self.steps)
        self.logger.record("time/fps", int(rate))
        self.logger.record("runs/diverged", self.diverged)
        self.logger.dump(self.num_timesteps)

    # -- divergence --------------------------------------------------------------------------------------
    def _finite(self) -> Tensor:
        return torch.isfinite(self.z).all(-1).reshape(-1)

    @property
    def diverged(self) -> int:
        """Number of runs that have left the finite numbers."""
        return int((~self._finite()).sum())

    def _remember(self) -> None:
        self._good = (self.z, self.state, self.oracle.generator.get_state(), self.oracle.calls, self.steps)

    def _recall(self) -> None:
        self.z, self.state, generator, self.oracle.calls, self.steps = self._good
        self.oracle.generator.set_state(generator)

    def _check_finite(self) -> None:
        """Remember this point if a run is finite; else go back to the last such point and say where it went wrong."""
        if bool(self._finite().any()):
            self._remember()
            return
        reached = self.steps
        self._recall()
        healthy, before = self._finite(), self.z
        while self.steps < reached and bool((self._finite() | ~healthy).all()):  # replay from the last finite log
            before = self.z
            self.z, self.state = self._advance(self.oracle, self.z, self.state)
            self.steps += 1
        lost = (~self._finite() & healthy).nonzero()
        run, step, timestep = int(lost[0]) if len(lost) else 0, self.steps, self.num_timesteps
        field = self.game.field(before, self.oracle.sample).reshape(len(healthy), -1)[run]
        finite_field = bool(torch.isfinite(field).all())
        self._recall()
        others = "" if len(healthy) == 1 else ", and all others did"
        cause = "try a smaller lr" if finite_field else "the field is not finite at a finite point, look at the payoff"
        if not all(bool(torch.isfinite(part).all()) for part in tensors_of(self.oracle.sample)):
            cause = "the minibatch holds values that are not finite, look at the data"
        raise DivergedError(
            f"run {run} of {len(healthy)} left the finite numbers at step {step} (timestep {timestep}){others}: "
            f"the agent is back at timestep {self.num_timesteps}; {cause}"
        )

    # -- what the agent knows --------------------------------------------------------------------------------
    def average(self) -> Tensor:
        """Return the average of the iterates, (*S, n + m), where the solver keeps one.

        Raises:
            GameError: it keeps none.
        """
        if not isinstance(self.solver, Averaged):
            raise GameError("this solver keeps no average: make_solver(name, average='uniform') or average=0.999 does")
        return self.state["mean"]

    def best(self) -> Tensor:
        """Return the point to evaluate: the average where the solver keeps one, else the last iterate."""
        return self.average() if isinstance(self.solver, Averaged) else self.z

    def adopt(self, point: Tensor) -> None:
        """Make a point, (*S, n + m), the current one, and the average where the solver keeps one."""
        self.z = point.clone()
        if isinstance(self.solver, Averaged):
            self.state = {**self.state, "mean": point.clone()}
        self._remember()

    def predict(
        self, observation: Any = None, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[dict[str, Any], None]:
        """Return ({player: strategy}, None): the action to play; numpy for a `GameEnv`, torch for a `GameVectorEnv`."""
        blocks = dict(zip(self.game.players, self.game.split(self.best()), strict=True))
        if self.oracle.shape:
            return blocks, None
        return {player: block.cpu().numpy() for player, block in blocks.items()}, None

    def get_env(self) -> Any:
        """Return the env, as callbacks expect."""
        return self.env

    @property
    def logger(self) -> Logger:
        """Stable-Baselines3's logger."""
        if self._logger is None:
            self._logger = configure_logger(self.verbose, self.tensorboard_log, "run")
        return self._logger

    def set_logger(self, logger: Logger) -> None:
        """Log to this logger from now on."""
        self._logger = logger

    # -- disk ----------------------------------------------------------------------------------------------
    @cached_property
    def _fingerprint(self) -> str:
        return self.game.fingerprint()  # digests all the data: once, not at every checkpoint

    def save(self, path: str | Path) -> None:
        """Write a checkpoint to the folder `path`: atomically, keeping the one before."""
        content = {
            "game": repr(self.game),
            "fingerprint": self._fingerprint,
            "solver": to_config(self.solver),
            "seed": self.seed,
            "timesteps": self.num_timesteps,
            "steps": self.steps,
            "z": self.z,
            "state": self.state,
            "generator": self.oracle.generator.get_state(),
        }
        save_checkpoint(path, content)
        self._remember()

    @classmethod
    def load(
        cls, path: str | Path, env: gym.Env | gym.vector.VectorEnv | str, solver: Scheme | None = None, **settings: Any
    ) -> Self:
        """Return the agent of a checkpoint, in an env of the same game.

        Args:
            path: the folder that `save` wrote.
            env: as in the constructor.
            solver: needed only where the solver is made of classes that are not imported.
            **settings: `compile`, `device`, `tensorboard_log`, `verbose` of the constructor.

        Raises:
            GameError: no undamaged checkpoint, or one of another game.
        """
        content = load_checkpoint(path)
        agent = cls(env, solver or from_config(content["solver"]), content["seed"], **settings)
        there, here = content["z"], agent.z
        same = there.shape == here.shape and there.dtype == here.dtype
        if not same or content["fingerprint"] != agent._fingerprint:
            raise GameError(
                f"the checkpoint in {path} is of {content['game']} with z {tuple(there.shape)} in {there.dtype}, the "
                f"env is {agent.game!r} with z {tuple(here.shape)} in {here.dtype}: make the env as in the run"
                + (" (their settings or data differ)" if same and content["game"] == repr(agent.game) else "")
            )
        agent.z, agent.state = content["z"].to(agent.z), _like(content["state"], agent.z)
        agent.oracle.generator.set_state(content["generator"])
        agent.oracle.calls, agent.steps = content["timesteps"], content["steps"]
        agent._remember()
        return agent


def _runs_side_by_side(z: Tensor) -> Tensor:
    """Return z with coordinate i of all runs contiguous, where runs outnumber coordinates.

    A compiled step vectorizes over contiguous runs: three times faster on 100,000 runs of a planar game. Eager steps
    do not keep the layout.
    """
    return z.mT.contiguous().mT if z.dim() == 2 and z.shape[0] > z.shape[1] else z


def _like(state: Any, z: Tensor) -> Any:
    """Move the tensors of a state to the device of z."""
    if isinstance(state, dict):
        return {name: _like(value, z) for name, value in state.items()}
    return state.to(z.device) if isinstance(state, Tensor) else state
