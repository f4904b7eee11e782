"""The agent of a game: one solver, one batch of runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from math import ceil
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import torch
from torch import Generator, Tensor

from robustgames import envs
from robustgames.agents.agent import Agent
from robustgames.agents.learning import record_runs
from robustgames.checkpoints import check_counts, check_like, lacks, load_checkpoint, restoring, save_checkpoint
from robustgames.errors import DivergedError, GameError, one_line
from robustgames.evaluation import certificates, final_certificates, take_long
from robustgames.games import Game, Oracle, ShardedOracle
from robustgames.games.identity import fingerprint, former_fingerprint
from robustgames.solvers import Scheme, make_solver
from robustgames.solvers.columns import LEAP, Columns, columns
from robustgames.solvers.config import from_config, to_config
from robustgames.solvers.fitting import fit
from robustgames.solvers.partitioned import own_state, partitioned, whole_solver, whole_state
from robustgames.solvers.rules import State
from robustgames.tensors import map_tensors, tensors_of

LATER = ("w",)  # log-weights of `Entropic`, which versions before took from z
UNROLLED, SMALL = 8, 16  # steps in one graph, of a game of at most 16 coordinates that does not run on columns
FAR = 1e3  # times the size of a start, at which a field that is not finite is due to the steps
LOGGED = 2_000  # runs in a log of a game without samples; the numbers of a result are of all runs
LOG_ATTACK_STEPS = 10  # steps of the attack in a learning curve; final numbers take 40


class GameAgent(Agent):
    """Trains both players of a game with a solver; all runs of the env side by side in one tensor.

    A log has the metrics of at most 2,000 runs, evenly spaced, if there are more and the game draws no samples. The
    standard error of their mean is then at most 1/31 of the standard deviation over the runs (1,001 of 2,001 runs).

    `num_timesteps` counts oracle calls of one run. Extragradient pays two a step, so learning curves compare.
    A checkpoint holds `(z, state, generator, num_timesteps)`. On a CPU a resumed run equals an uninterrupted one bit
    for bit.

    An env serves one agent at a time, the newest: both share its oracle.

    Args:
        env: A `GameVectorEnv`, a `GameEnv`, or an id (one run, on `device`).
        solver: A scheme, or a name of `make_solver`.
        seed: Seed of the run's generator, which draws starts, samples and Langevin noise.
        z0: First joint strategy, (n + m,) for all runs or (S, n + m); drawn by the game by default.
        compile: If True, steps run through `torch.compile`; pays for long runs of cheap games with many runs.
        device: "auto", "cpu" or "cuda", if `env` is an id.
        shard_optimizer: If True, the processes of a sharded oracle divide the state of the solver, see `Partitioned`.
        tensorboard_log: Folder of event files; if None, none are written.
        verbose: If 1, every log is printed as a table, as in Stable-Baselines3.

    Raises:
        GameError: The env has no game, or z0 has another shape or non-finite values.

    Example:
        >>> agent = GameAgent("robustgames/Quadratic-v0", make_solver("gda", lr=0.1), seed=0).learn(200)
        >>> bool(agent.z.norm() < 1e-6)
        True
    """

    timestep = "oracle call"
    _loop = torch.no_grad()(Agent._loop)  # once around all steps: around each it would cost several microseconds

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
        shard_optimizer: bool = False,
    ) -> None:
        self.env = envs.make(env, runs=1, device=device) if isinstance(env, str) else env
        if isinstance(env, Game) or not isinstance(self.env.unwrapped, envs.GameEnv | envs.GameVectorEnv):
            raise GameError(f"{self.env} is not an env of a game: pass an id, or rg.GameVectorEnv(game, num_envs=8)")
        self.oracle: Oracle = self.env.unwrapped.oracle
        self.game: Game = self.oracle.game
        self.processes = self.oracle.processes
        self.solver = fit(make_solver(solver) if isinstance(solver, str) else solver, self.oracle)
        if shard_optimizer and isinstance(self.oracle, ShardedOracle):
            self.solver = partitioned(self.solver, self.oracle)
        self.seed, self.tensorboard_log, self.verbose = seed, tensorboard_log, verbose
        self.oracle.calls = 0
        self.oracle.generator.manual_seed(seed)
        self.z = _runs_side_by_side(self._start(z0)) if compile else self._start(z0)
        with torch.no_grad():
            self.state = self.solver.init(self.oracle, self.z)
        self.steps = self._cost = 0
        self._small = compile and sum(self.game.sizes) <= SMALL
        self._step = torch.compile(self.solver.step) if compile else self.solver.step
        self._leap = torch.compile(self._steps) if self._small else self._steps
        self._remember()

    def _subject(self) -> str:
        return repr(self.game)

    def _start(self, z0: Tensor | list[float] | None) -> Tensor:
        shape = self._shape
        if z0 is None:
            return self.oracle.initial()
        z = torch.as_tensor(z0, dtype=self.game.dtype, device=self.game.device)
        if z.shape not in (shape, shape[-1:]):
            raise GameError(f"z0 has shape {tuple(z.shape)}: expected {shape[-1:]} (the same for all runs) or {shape}")
        if not bool(torch.isfinite(z).all()):
            raise GameError("z0 has non-finite values: pass finite ones, or leave it out")
        return self.oracle.project(self.oracle.divided(z.expand(shape).clone()))

    @property
    def _shape(self) -> tuple[int, ...]:
        """Shape of z with the coordinates of all processes."""
        return (*self.oracle.shape, sum(self.oracle.whole.sizes))

    # -- training ------------------------------------------------------------------------------------------
    @property
    def num_timesteps(self) -> int:
        """Oracle calls so far, of one run."""
        return self.oracle.calls

    @property
    def is_begun(self) -> bool:
        return self.steps > 0

    def _reset_timesteps(self) -> None:
        if self.steps > 0:  # before the first step, the calls of `solver.init` count
            self.oracle.calls = 0

    @torch.no_grad()
    def _begin(self) -> None:
        self._cost = 0
        if self.steps == 0 and self._is_read():
            self._log(0.0)

    def _end(self) -> None:
        self.oracle.forget()

    def _advance(self, room: int = 0) -> None:
        if self._columns is not None:
            steps = min(LEAP, max(1, room // self._columns.calls))
            self.z, self.state = self._columns(self.z, self.state, steps)
            self.steps += steps
            self.oracle.calls += steps * self._columns.calls
            return
        if self._small and 0 < UNROLLED * self._cost <= room:
            self.z, self.state = self._leap(self.z, self.state)
            self.steps += UNROLLED
            return
        before = self.oracle.calls
        self.z, self.state = self._step(self.oracle, self.z, self.state)
        self.steps += 1
        self._cost = self.oracle.calls - before

    @cached_property
    def _columns(self) -> Columns | None:
        """The step on columns of a small compiled game with many runs, if it can be written so."""
        many = self.z.dim() == 2 and self.z.shape[0] > self.z.shape[1]
        return columns(self.solver, self.game, self.z, self.state) if self._small and many else None

    def _steps(self, z: Tensor, state: State) -> tuple[Tensor, State]:
        for _ in range(UNROLLED):
            z, state = self.solver.step(self.oracle, z, state)
        return z, state

    def _log(self, rate: float) -> None:
        self.oracle.check_same(self.z)
        z, point = self.z, self.best()
        if z.dim() == 2 and self.oracle.draws_nothing():
            z, point = (_some(z),) * 2 if point is z else (_some(z), _some(point))
        keep = z is self.z and self._is_undisturbed and self._step == self.solver.step
        values = {f"game/{name}": value for name, value in self.oracle.metrics(z, self.seed, keep).items()}
        with self._budget.always():
            record_runs(self.logger, values, self.z.dim() > 1)
        evaluate = certificates if point is z else final_certificates  # the metrics above are not of an average
        if not take_long(self.game):
            self._evaluate(evaluate, point)
        elif self._evaluation_is_due():
            with self._budget.spending():
                self._evaluate(evaluate, point)
        with self._budget.always():
            self.logger.record("time/timesteps", self.num_timesteps)
            self.logger.record("time/iterations", self.steps)
            self.logger.record("time/fps", int(rate))
            self._record_varying("runs/diverged", self.diverged)
            self.logger.dump(self.num_timesteps)

    def _evaluate(self, evaluate: Callable[..., dict[str, Tensor]], point: Tensor) -> None:
        """Record the certificates of the point to evaluate, which ends with a copy from the device."""
        found = evaluate(self.oracle.whole, point, LOG_ATTACK_STEPS, True, self.processes)
        record_runs(self.logger, {f"eval/{name}": value for name, value in found.items()}, self.z.dim() > 1)

    # -- divergence --------------------------------------------------------------------------------------
    def _finite(self) -> Tensor:
        return self.processes.all(self.finite_runs().reshape(-1))

    @property
    def diverged(self) -> int:
        """Number of runs that diverged (non-finite values)."""
        alone = self.processes.world == 1  # several ask each other, whatever they have found themselves
        if alone and bool(torch.isfinite(self.z.sum())):  # then all are, which takes a tenth of the time
            return 0
        return int((~self._finite()).sum())

    def _remember(self) -> None:
        self._good = (self.z, self.state, self.oracle.generator.get_state(), self.oracle.calls, self.steps)

    def _recall(self) -> None:
        """Go back to the last point that was logged or saved while finite."""
        self.z, self.state, generator, self.oracle.calls, self.steps = self._good
        self.oracle.generator.set_state(generator)

    def _check_finite(self) -> None:
        """Remember this point if a run is finite; else go back to the last such point and raise."""
        first = self.z if self.z.dim() == 1 else self.z[0]
        alone = self.processes.world == 1
        if (alone and bool(torch.isfinite(first).all())) or bool(self._finite().any()):
            self._remember()
            return
        reached = self.steps
        self._recall()
        healthy, before = self._finite(), self.z
        while self.steps < reached and bool((self._finite() | ~healthy).all()):  # replay from the last finite log
            before = self.z
            self._advance()
        lost = (~self._finite() & healthy).nonzero()
        run, step, timestep = int(lost[0]) if len(lost) else 0, self.steps, self.num_timesteps
        cause = self._cause(before, run)
        self._recall()
        others = "" if len(healthy) == 1 else ", as did all others"
        raise DivergedError(
            f"run {run} of {len(healthy)} diverged (non-finite values) at step {step} (timestep {timestep}){others}: "
            f"the agent is back at timestep {self.num_timesteps}; {cause}"
        )

    def _cause(self, z: Tensor, run: int) -> str:
        """Return the likely cause of a divergence in the step from z."""
        if not all(bool(torch.isfinite(part).all()) for part in tensors_of(self.oracle.sample)):
            return "the minibatch has non-finite values, look at the data"
        field = self.game.field(z, self.oracle.sample).reshape(-1, z.shape[-1])[run]
        if bool(torch.isfinite(field).all()):
            return "try a smaller lr"
        start = self.game.initial((), Generator(self.game.device).manual_seed(self.seed))
        reached, usual = float(z.reshape(-1, z.shape[-1])[run].abs().max()), float(start.abs().max())
        if reached > FAR * (1 + usual):
            return f"its strategies had grown to {reached:.2g}, where the field is not finite: try a smaller lr"
        return "the field is not finite at a finite point, look at the payoff"

    # -- points ----------------------------------------------------------------------------------------------
    def best(self) -> Tensor:
        """Return the point to evaluate, (*S, n + m): the average if the solver keeps one, else the last iterate.

        Coordinates of an average that follow the others (`Game.settle`) are computed from it.
        """
        point = self.solver.output(self.z, self.state)
        return point if point is self.z else self.game.settle_fully(point)

    def average(self) -> Tensor:
        """Return the average of the iterates, (*S, n + m).

        Raises:
            GameError: The solver keeps none.
        """
        point = self.best()
        if point is self.z:
            raise GameError("this solver keeps no average: make_solver(name, average='uniform') or average=0.999 does")
        return point

    def adopt(self, point: Tensor) -> None:
        """Make a point, (*S, n + m), the current one and the point to evaluate."""
        self.z = point.clone()
        self.state = self.solver.adopt(self.z, self.state)
        self._remember()

    def predict(
        self, observation: Any = None, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[dict[str, Any], None]:
        """Return ({player: strategy}, None), the action to play: numpy for a `GameEnv`, torch for a `GameVectorEnv`."""
        blocks = dict(zip(self.game.players, self.game.split(self.best()), strict=True))
        if self.oracle.shape:
            return blocks, None
        return {player: block.cpu().numpy() for player, block in blocks.items()}, None

    # -- disk ------------------------------------------------------------------------------------------------
    @cached_property
    def _fingerprint(self) -> str:
        return self.oracle.whole.fingerprint()  # digests all the data: once, not at every checkpoint

    def save(self, path: str | Path) -> None:
        content = {
            "game": repr(self.oracle.whole),
            "fingerprint": self._fingerprint,
            "solver": to_config(whole_solver(self.solver)),
            "seed": self.seed,
            "timesteps": self.num_timesteps,
            "steps": self.steps,
            "z": self.z,
            "state": whole_state(self.state, self.processes),
            "generator": self.oracle.generator.get_state(),
            "callbacks": self.callback_states,
        }
        content = self.oracle.gathered(content)
        if self.processes.is_first:
            save_checkpoint(path, content)
        self._remember()

    @classmethod
    def load(
        cls, path: str | Path, env: gym.Env | gym.vector.VectorEnv | str, solver: Scheme | None = None, **settings: Any
    ) -> Self:
        """Return the agent of a checkpoint, in an env of the same game.

        Args:
            path: Folder that `save` wrote.
            env: Env as in the constructor.
            solver: Solver of the run; needed only if it is made of classes that are not imported.
            **settings: `compile`, `device`, `tensorboard_log`, `verbose`, `shard_optimizer` of the constructor.

        Raises:
            GameError: There is no undamaged checkpoint, or it is one of another game.
        """
        content, checkpoint = load_checkpoint(path), f"the checkpoint in {path}"
        check_counts(content, checkpoint, "seed", "timesteps", "steps")
        with restoring(checkpoint):
            agent = cls(env, solver or from_config(content["solver"]), content["seed"], **settings)
            agent._check_same_game(content, path)
            content = agent.oracle.divided(content)
            content["state"] = own_state(content["state"], agent.state, agent.oracle.processes)
            check_like(content["state"], agent.state, checkpoint, ("state",), optional=LATER)
            content = {"callbacks": {}, **content}  # 0.1.0 wrote none
            check_like(content["callbacks"], {}, checkpoint, ("callbacks",))
            agent._check_restorable(content, checkpoint)
            agent._restore(content)
        return agent

    def _check_same_game(self, content: dict[str, Any], path: str | Path) -> None:
        there, here = content["z"], (self._shape, self.z.dtype)
        same = (there.shape, there.dtype) == here
        saved = content["fingerprint"]
        game = self.oracle.whole
        earlier = (partial(fingerprint, game, computed=True), partial(former_fingerprint, game))  # digests of all data
        if same and (saved == self._fingerprint or any(saved == found() for found in earlier)):
            return
        raise GameError(
            f"the checkpoint in {path} is of {one_line(content['game'])} with z {tuple(there.shape)} in {there.dtype}, "
            f"the env is {self.oracle.whole!r} with z {here[0]} in {here[1]}: make the env as in the run"
            + (" (their settings or data differ)" if same and content["game"] == repr(self.oracle.whole) else "")
        )

    def _check_restorable(self, content: dict[str, Any], checkpoint: str) -> None:
        """Refuse probabilities of 0 of a version that kept no log-weights: their actions could not return."""
        if lacks(content["state"], self.state) and bool((content["z"] == 0).any()):
            raise GameError(
                f"{checkpoint} is of an earlier version, in which an action of probability 0 could not return, and it "
                "has such actions: repeat the run"
            )

    def _restore(self, content: dict[str, Any]) -> None:
        self.z = content["z"].to(self.z)
        self.state = map_tensors(content["state"], lambda t: t.to(self.z.device))
        for tensor in tensors_of(content["state"]):
            if tensor.dtype == torch.uint8:  # that of a generator, which checks it
                self.oracle.generator.set_state(tensor)
        self.oracle.generator.set_state(content["generator"])
        self.oracle.calls, self.steps = content["timesteps"], content["steps"]
        self.callback_states = content["callbacks"]
        self._remember()


def _some(z: Tensor) -> Tensor:
    """Return z, or at most LOGGED of its runs at equal distances."""
    return z if len(z) <= LOGGED else _runs_side_by_side(z[:: ceil(len(z) / LOGGED)])


def _runs_side_by_side(z: Tensor) -> Tensor:
    """Return z with coordinate i of all runs contiguous, if there are more runs than coordinates.

    A compiled step vectorizes over contiguous runs: three times faster on 100,000 runs of a planar game. Eager steps
    do not keep the layout.
    """
    return z.mT.contiguous().mT if z.dim() == 2 and z.shape[0] > z.shape[1] else z
