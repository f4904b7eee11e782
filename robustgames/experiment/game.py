"""An experiment with a game: a solver, an env of a game, its certificates and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import gymnasium as gym
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from torch import Generator, Tensor

from robustgames import envs, figures
from robustgames.agents import GameAgent
from robustgames.agents.callbacks import EarlyStopping, Frames, Recorder, Snapshots
from robustgames.checkpoints import restoring
from robustgames.errors import GameError, writing
from robustgames.evaluation import LAST, catastrophic_overfitting, final_certificates, verdicts
from robustgames.experiment.base import Examination, Experiment, Progress, differing, explained, silent
from robustgames.experiment.folder import Content
from robustgames.experiment.logs import show_figures
from robustgames.experiment.naming import title
from robustgames.experiment.user_solvers import parameters_of_solver, recipe_of
from robustgames.figures import animation
from robustgames.figures.style import Figure
from robustgames.figures.video import Film
from robustgames.games import GAN, AdversarialClassification, HeldOut
from robustgames.processes import current
from robustgames.solvers import SGD, Averaged, Scheme, make_solver

RATES = ("lr", "lr_y")
"""Settings of a solver that may be lists with a number of every run."""
START_IMAGES = 1000
"""Held-out images on which a classifier is measured before the first step."""
_FRAMES = 40  # of an animation of a GAN
_IMAGES = 4  # in a figure of digits for TensorBoard, whose panels are narrow


@dataclass(frozen=True, kw_only=True)
class GameExperiment(Experiment[GameAgent]):
    """Everything needed to repeat a run of a solver on a game: the fields are the content of config.yaml.

    The agent is the name of a solver, the env the id of a game, and a timestep is an oracle call.

    Attributes:
        average: See `make_solver`.
        average_lookaheads: See `make_solver`.
        anneal: If true, all learning rates decrease linearly to 0 over the steps.
        compile: See `GameAgent`.
        patience: Looks (one at each log) at the watched images without a rise of the accuracy under attack, after
            which training stops; the best weights are kept. 0 trains to the end and keeps the last.
        shards: Shards M of every minibatch, see `games.ShardedOracle`; as many processes as divide M share the work.
        shard_optimizer: If true, these processes also divide the state of the solver; the results are the same.
        seeds: Seed of the start of every run; without them, one seed draws all starts. Learning rates in `settings`
            may then be lists, too, with one of every run.
    """

    timestep: ClassVar[str] = "oracle call"
    average: float | Literal["uniform", "linear", "quadratic"] | None = None
    average_lookaheads: bool = False
    anneal: bool = False
    compile: bool = False
    patience: int = 0
    shards: int = 1
    shard_optimizer: bool = False
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self._check_counts(patience=0, shards=1)
        if self.compile and self.shards > 1:
            raise GameError(f"shards is {self.shards}: a compiled step has one shard, leave out --shards or --compile")

    def chosen(self) -> Content:
        """Return the settings of solver and training that are not the defaults, the learning rate always and first."""
        usual = parameters_of_solver(self.agent)
        own = {
            name: getattr(self, name)
            for name in ("average", "average_lookaheads", "anneal", "patience")
            if getattr(self, name)
        }
        own |= {"shards": self.shards} if self.shards > 1 else {}
        return differing(self.settings, {name: part.default for name, part in usual.items()}) | own

    def make_agent(self) -> GameAgent:
        """Return the agent at its start, see `Experiment.make_agent`."""
        horizon = self.steps if self.anneal else 0
        settings, recipe = self._each_run(self.settings), recipe_of(self.agent)
        solver = make_solver(recipe, self.average, horizon, self.average_lookaheads, **settings)
        with explained(self.env, self.env_settings):
            sharded = {"shards": self.shards} if self.shards > 1 else {}
            env = envs.make(self.env, self.runs, device=self.device, **sharded, **self.env_settings)
            starts, divided = self._starts(env), self.shard_optimizer
            agent = GameAgent(env, solver, self.seed, starts, compile=self.compile, shard_optimizer=divided)
        if self.patience and not isinstance(agent.game, HeldOut):
            raise GameError(f"patience is {self.patience}: {self.env} has no held-out images to stop early by")
        return agent

    def _each_run(self, settings: Content) -> Content:
        """Return the settings with a list of learning rates as one rate per run."""
        rates = {name: settings[name] for name in RATES if isinstance(settings.get(name), list)}
        for name, values in rates.items():
            if len(values) != self.runs or not all(isinstance(value, int | float) for value in values):
                raise GameError(
                    f"{name} has {len(values)} entries: give one number, or one for each of {self.runs} runs"
                )
        return settings | {name: torch.tensor(values).unsqueeze(-1) for name, values in rates.items()}

    def _starts(self, env: gym.Env | gym.vector.VectorEnv) -> Tensor | None:
        """Return the start of every run from its own seed, as a single run with that seed has it."""
        if not self.seeds:
            return None
        if len(self.seeds) != self.runs:
            raise GameError(f"seeds has {len(self.seeds)} seeds: give one for each of {self.runs} runs, or none")
        game = env.unwrapped.game  # type: ignore[attr-defined]
        return torch.cat([game.initial((1,), Generator(game.device).manual_seed(seed)) for seed in self.seeds])

    def check_processes(self, world: int) -> None:
        """Check that the shards can be divided among the processes, see `Experiment.check_processes`."""
        if self.shards % world:
            raise GameError(f"shards is {self.shards}: {world} processes need a multiple of {world}, --shards {world}")

    def load_agent(self, folder: Path, first: GameAgent) -> GameAgent:
        """Return the agent of the newest checkpoint in a run folder, in the env of `first`."""
        with restoring(folder):
            return GameAgent.load(folder, first.env, compile=self.compile, shard_optimizer=self.shard_optimizer)

    def extended(self, steps: int) -> Self:
        """Return the experiment with more steps, see `Experiment.extended`."""
        more = super().extended(steps)
        horizon = self.settings.get("horizon") == self.steps  # after which the rate is 0
        for name, why, fixed in (
            ("anneal", "its learning rates decrease", self.anneal),
            ("horizon", "its learning rate decreases", horizon),
            ("patience", "its accuracy is looked at", self.patience),
        ):
            if fixed and steps != self.steps:
                raise GameError(
                    f"steps cannot change in a run with --{name}: {why} by a share of the {self.steps:,} steps; leave "
                    "--steps out, or start a new run"
                )
        return more

    def remaining(self, agent: GameAgent, watchers: list[BaseCallback]) -> int:
        """Return the timesteps that are left to train: 0 if patience has ended the run."""
        ended = any(watcher.is_over for watcher in watchers if isinstance(watcher, EarlyStopping))
        return 0 if ended else super().remaining(agent, watchers)

    def is_over(self, timesteps: int) -> bool:
        """Return whether a run that has a result is trained to its end; patience may have ended it early."""
        return bool(self.patience) or timesteps >= self.steps

    def watchers(self, agent: GameAgent, logger: Logger) -> list[BaseCallback]:
        """Return the callbacks of early stopping and of the figures."""
        early: list[BaseCallback] = []
        if self.patience:
            early.append(EarlyStopping(floor(self.log_interval), self.patience))
        if not current().is_first:
            return [*early]
        recorders = self._recorders(agent)
        return [*early, *recorders, *self._snapshots(agent, logger, recorders)]

    def measure(self, agent: GameAgent) -> dict[str, Tensor]:
        """Return `final_certificates` of the point to evaluate, each of shape (runs,).

        If that is an average, those of the last iterate are added, with "last_" before their names. Before the first
        step a classifier is attacked on START_IMAGES held-out images: 1,000 of MNIST take 11 CPU seconds, all 10,000
        took 150, and untrained networks are at chance.
        """
        point, game, team = agent.best(), agent.oracle.whole, current()
        values = final_certificates(game, point, processes=team, images=None if agent.steps else START_IMAGES)
        if point is agent.z:
            return values
        last = values if agent.steps == 0 else final_certificates(game, agent.z, processes=team)
        return values | {f"{LAST}{name}": value for name, value in last.items()}

    def details(self, agent: GameAgent, values: dict[str, Tensor]) -> Content:
        """Return the game, the solver's steps, and how many runs diverged or overfitted catastrophically."""
        collapsed = catastrophic_overfitting(values, norm=getattr(agent.oracle.whole, "norm", "linf"))
        return {
            "game": repr(agent.oracle.whole),
            "settings": self.env_settings,
            "steps": agent.steps,
            "diverged": agent.diverged,
            **({} if collapsed is None else {"catastrophic_overfitting": collapsed.reshape(-1).tolist()}),
        }

    def check(self, what: Examination) -> None:
        """Refuse an examination other than the default, whose settings are for control."""
        if what != Examination():
            raise GameError(f"{what} is for runs of control, {self.env} is a game: pass Examination()")

    def examine(self, agent: GameAgent, folder: Path, what: Examination, progress: Progress = silent) -> Content:
        """Return the local-Nash verdicts, {verdict: number of runs}; draw the figures of the run.

        Raises:
            GameError: See `check`.
        """
        self.check(what)
        logger = Logger(None, [])  # TensorBoard has the figures of the training
        self.draw(agent, self.restored(agent), folder, logger)
        return {"verdicts": verdicts(agent.game, agent.best())}

    def restored(self, agent: GameAgent) -> list[BaseCallback]:
        """Return the callbacks that hold the path of a saved run, its snapshots and its frames, as far as it has them.

        Raises:
            GameError: The checkpoint is damaged.
        """
        recorders = [*self._recorders(agent), Snapshots([], _show_nothing)]
        for recorder in recorders:
            if (name := type(recorder).__name__) in agent.callback_states:
                with restoring(f"the {name} in a checkpoint"):
                    recorder.load_state_dict(agent.callback_states[name])
        return [*recorders]

    def draw(self, agent: GameAgent, watchers: list[BaseCallback], folder: Path, logger: Logger) -> None:
        """Draw the figures that apply to the game: as PNG in the run folder, and for TensorBoard."""
        game, point, path = agent.game.to("cpu"), agent.best().cpu(), self._path(agent, watchers)
        shots = next((w.points for w in watchers if isinstance(w, Snapshots) and w.points), None)
        curves = sorted(folder.glob("progress*.csv"))
        drawn = figures.draw_all(
            game, point, **path, progress=curves, snapshots=shots, title=title(self), runs=self.runs
        )
        for name, figure in drawn.items():
            with writing(folder):
                figures.save(figure, folder / "figures" / f"{name}.png")
        drawn.pop("learning_curves", None)  # TensorBoard draws the curves itself
        if "digits" in drawn and logger.output_formats:
            drawn |= figures.draw_all(game, point, images=_IMAGES)
        _show(drawn, logger, agent.num_timesteps)

    def animate(self, agent: GameAgent) -> Film:
        """Return an animation of a saved run: its paths, or what the first run of a GAN generates.

        Raises:
            GameError: The game has neither, or the run was trained by a version that did not record it.
        """
        watchers, game = self.restored(agent), agent.game.to("cpu")
        frames = next((w.frames for w in watchers if isinstance(w, Frames)), {})
        if isinstance(game, GAN) and frames:
            return animation.generated_film(game, frames, title(self))
        path = self._path(agent, watchers)
        if "trajectory" not in path:
            raise GameError(
                f"this run on {self.env} has no animation: small games and GANs have one, if they were trained with "
                "this version; train again, or leave --animate out"
            )
        return animation.path_film(game, **path, title=title(self))

    def _path(self, agent: GameAgent, watchers: list[BaseCallback]) -> dict[str, Any]:
        """Return the trajectory, the averages and the time between two points that a recorder has kept; else {}."""
        recorder = next((w for w in watchers if isinstance(w, Recorder) and w.points), None)
        if recorder is None:
            return {}
        if recorder.points[0].shape[-1] != sum(agent.game.sizes):
            raise GameError(f"the path in the checkpoint is not one of {agent.game!r}: restore it, or repeat the run")
        average, dt = recorder.average, recorder.stride * _time_of_a_step(agent.solver)
        return {
            "trajectory": recorder.trajectory.cpu(),
            "average": None if average is None else average.cpu(),
            "dt": dt,
        }

    def _recorders(self, agent: GameAgent) -> list[Recorder | Frames]:
        """Return the callback that records what an animation shows."""
        if figures.has_path(agent.game):
            return [Recorder()]
        if isinstance(agent.game, GAN) and animation.has_film(agent.game):
            return [Frames([max(1, self.steps * k // _FRAMES) for k in range(1, _FRAMES + 1)], animation.generated)]
        return []

    def _snapshots(self, agent: GameAgent, logger: Logger, recorders: Sequence[BaseCallback]) -> list[BaseCallback]:
        """Return the callback that shows the figures of a point after 1/8, 1/4, 1/2 and all of the steps."""
        game = agent.game.to("cpu")
        if not (isinstance(game, GAN | AdversarialClassification) or figures.has_path(game)):
            return []

        def show(timesteps: int, point: Tensor) -> None:
            if timesteps < self.steps:  # `draw` shows the last ones, with the other figures
                path = self._path(agent, [*recorders])
                shots = {timesteps: point} if isinstance(game, GAN) else None
                _show(
                    figures.draw_all(game, point, **path, snapshots=shots, images=_IMAGES, quick=True),
                    logger,
                    timesteps,
                )

        planar = isinstance(game, GAN) and game.source.size == 2
        return [Snapshots([max(1, self.steps // k) for k in (8, 4, 2, 1)], show, keep=planar)]


def _show_nothing(timesteps: int, point: Tensor) -> None:
    """Show nothing: these snapshots are only read."""


def _show(drawn: dict[str, Figure], logger: Logger, timesteps: int) -> None:
    """Write figures to TensorBoard."""
    for writer in logger.output_formats:
        if isinstance(writer, TensorBoardOutputFormat):
            show_figures(writer, drawn, timesteps)


def _time_of_a_step(solver: Scheme) -> float:
    """Return lr, the time that a gradient step follows the flow z' = V(z); 1 for rules that do not follow it."""
    solver = solver.scheme if isinstance(solver, Averaged) else solver
    rule = getattr(solver, "rule", None)
    return rule.lr if isinstance(rule, SGD) and isinstance(rule.lr, float) else 1.0
