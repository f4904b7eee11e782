"""One experiment: an agent on an env, trained into a run folder, resumed, evaluated."""

from __future__ import annotations

import platform
import sys
import time
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as MatplotlibFigure
from stable_baselines3.common.logger import Figure, Logger, TensorBoardOutputFormat, make_output_format
from torch import Tensor

from robustgames import envs, runs
from robustgames.agents import GameAgent
from robustgames.agents.callbacks import Checkpoint, EarlyStopping, Recorder, Snapshots
from robustgames.errors import GameError
from robustgames.evaluation import catastrophic_overfitting, figures, final_certificates, summarize, verdicts
from robustgames.games import GAN, HeldOut
from robustgames.solvers import SGD, Averaged, Scheme, make_solver

ATTACK_STEPS = 40


@dataclass(frozen=True)
class Experiment:
    """What config.yaml holds, and all that is needed to repeat a run.

    Attributes:
        agent: name of a solver.
        env: id of a game, "module:namespace/Name-v0" to import a user's module first.
        settings: of the solver.
        env_settings: of the game.
        steps: oracle calls of one run.
        runs: independent runs, side by side in one tensor.
        seed: of the runs' common generator.
        device: "auto", "cpu" or "cuda".
        average: see `make_solver`.
        anneal: let all learning rates fall linearly to 0 over the steps.
        compile: see `GameAgent`.
        checkpoint: timesteps between two checkpoints.
        patience: stop after so many looks (a fiftieth of the steps each) at the watched images without a rise of the
            accuracy under attack, and keep the best weights; 0: train to the end and keep the last.
    """

    agent: str
    env: str
    settings: dict[str, Any] = field(default_factory=dict)
    env_settings: dict[str, Any] = field(default_factory=dict)
    steps: int = 10_000
    runs: int = 5
    seed: int = 0
    device: str = "auto"
    average: Any = None
    anneal: bool = False
    compile: bool = False
    checkpoint: int = 1_000
    patience: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("runs", 1), ("seed", 0), ("checkpoint", 1), ("patience", 0)):
            if not isinstance(getattr(self, name), int) or not least <= getattr(self, name) < 2**63:
                wanted = f"a whole number of at least {least} is needed, e.g. --{name} {least or 1000}"
                raise GameError(f"{name} is {getattr(self, name)}: {wanted}")

    def make_agent(self) -> GameAgent:
        """Return the agent at its start.

        Raises:
            GameError: unknown names or settings, unusable values.
        """
        fall = self.steps if self.anneal else 0
        solver = make_solver(self.agent, average=self.average, anneal=fall, **self.settings)
        try:
            env = envs.make(self.env, self.runs, device=self.device, **self.env_settings)
            if self.patience and not isinstance(env.unwrapped.game, HeldOut):  # type: ignore[attr-defined]
                raise GameError(f"patience is {self.patience}: {self.env} has no held-out images to stop early by")
            return GameAgent(env, solver, seed=self.seed, compile=self.compile)
        except (TypeError, RuntimeError, ValueError) as error:
            if isinstance(error, GameError):
                raise
            told = ", ".join(f"{key}={value!r}" for key, value in self.env_settings.items()) or "its defaults"
            raise GameError(f"{self.env} cannot be made with {told}: {str(error).splitlines()[0]}") from error


def train(experiment: Experiment, out: str | Path = "runs", progress_bar: bool = True) -> tuple[Path, dict[str, Any]]:
    """Train into a new folder out/<env>/<agent>/<time>-seed<k>; return it and the content of its result.json."""
    agent = experiment.make_agent()  # before the folder exists: bad input leaves nothing behind
    folder = runs.create_folder(out, experiment.env, experiment.agent, experiment.seed)
    with runs.locked(folder):
        runs.write_config(folder, {**asdict(experiment), "versions": _versions()})
        return folder, _learn(experiment, agent, agent, folder, progress_bar)


def resume(folder: str | Path, progress_bar: bool = True) -> tuple[Path, dict[str, Any]]:
    """Continue an interrupted run to its number of steps; bit-exact with the uninterrupted run on a CPU."""
    folder, experiment = Path(folder), read_experiment(Path(folder))
    first = experiment.make_agent()
    with runs.locked(folder):
        agent = GameAgent.load(folder, first.env, compile=experiment.compile)
        finished = runs.read_result(folder)
        if finished and (experiment.patience or agent.num_timesteps >= experiment.steps):  # patience may end it early
            return folder, finished
        return folder, _learn(experiment, first, agent, folder, progress_bar)


def evaluate(folder: str | Path) -> dict[str, Any]:
    """Recompute the certificates of a saved run, write evaluation.json, and return its content."""
    folder, experiment = Path(folder), read_experiment(Path(folder))
    agent = GameAgent.load(folder, experiment.make_agent().env)
    result = _result(experiment, agent, {}, {}) | {"verdicts": verdicts(agent.game, agent.best())}
    runs.write_result(folder, "evaluation.json", result)
    return result


def read_experiment(folder: Path) -> Experiment:
    """Return the experiment of a run folder."""
    config = runs.read_config(folder)
    known = {f.name: config[f.name] for f in fields(Experiment) if f.name in config}
    for name, kind in {"agent": str, "env": str, "settings": dict, "env_settings": dict}.items():
        if not isinstance(known.get(name, kind()), kind):
            raise GameError(
                f"{name} in {folder / 'config.yaml'} is {known[name]!r}: restore the file, or repeat the run"
            )
    return Experiment(**known)


def _learn(
    experiment: Experiment, first: GameAgent, agent: GameAgent, folder: Path, progress_bar: bool
) -> dict[str, Any]:
    start = summarize(final_certificates(first.game, first.best(), ATTACK_STEPS))
    logger = _logger(folder, agent.num_timesteps)
    agent.set_logger(logger)
    recorder, shots = Recorder(), _snapshots(experiment, agent, logger)
    watching = [recorder] if sum(agent.game.sizes) <= 4 else [shots] if isinstance(agent.game, GAN) else []
    began, busy = time.perf_counter(), time.process_time()
    try:
        agent.learn(
            max(0, experiment.steps - agent.num_timesteps),
            callback=[*_early(experiment), Checkpoint(folder, experiment.checkpoint), *watching],
            log_interval=max(1, experiment.steps // 50),
            reset_num_timesteps=False,
            progress_bar=progress_bar,
        )
        seconds = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - busy}
        if progress_bar:
            print("evaluating, drawing figures …", file=sys.stderr)
        result = _result(experiment, agent, start, seconds)
        runs.write_result(folder, "result.json", result)
        _draw(agent, recorder, shots, folder, logger)
    except KeyboardInterrupt:  # the checkpoint is written by now: say where
        raise KeyboardInterrupt(str(folder)) from None
    finally:
        logger.close()
    return result


def _early(experiment: Experiment) -> list[EarlyStopping]:
    return [EarlyStopping(max(1, experiment.steps // 50), experiment.patience)] if experiment.patience else []


def _logger(folder: Path, timesteps: int) -> Logger:
    # a resumed run writes its curve beside the first part, which Stable-Baselines3 would overwrite
    suffix = f"-{timesteps}" if (folder / "progress.csv").exists() else ""
    with runs.writing(folder):
        return Logger(str(folder), [make_output_format(kind, str(folder), suffix) for kind in ("csv", "tensorboard")])


def _result(
    experiment: Experiment, agent: GameAgent, start: dict[str, Any], seconds: dict[str, float]
) -> dict[str, Any]:
    values = final_certificates(agent.game, agent.best(), ATTACK_STEPS)
    collapsed = catastrophic_overfitting(values)
    return {
        "agent": experiment.agent,
        "env": experiment.env,
        "game": repr(agent.game),
        "timesteps": agent.num_timesteps,
        "steps": agent.steps,
        **{name: round(value, 2) for name, value in seconds.items()},
        "runs": experiment.runs,
        "diverged": agent.diverged,
        "start": start,
        "metrics": summarize(values),
        **({} if collapsed is None else {"catastrophic_overfitting": collapsed.reshape(-1).tolist()}),
    }


def _snapshots(experiment: Experiment, agent: GameAgent, logger: Logger) -> Snapshots:
    """Return the callback that shows a GAN's figures after 1/8, 1/4, 1/2 and all of the steps."""

    def show(timesteps: int, point: Tensor) -> None:
        if timesteps < experiment.steps:  # the last ones are drawn with all the others
            _show(figures.draw_all(agent.game.to("cpu"), point, snapshots={timesteps: point}), logger, timesteps)

    return Snapshots([max(1, experiment.steps // k) for k in (8, 4, 2, 1)], show)


def _draw(agent: GameAgent, recorder: Recorder, shots: Snapshots, folder: Path, logger: Logger) -> None:
    """Draw the figures that apply to the game: as PNG in the run folder, and for TensorBoard."""
    trajectory = recorder.trajectory.cpu() if recorder.points else None
    game = agent.game.to("cpu")
    dt = recorder.stride * _time_of_a_step(agent.solver)
    progress = sorted(folder.glob("progress*.csv"))
    drawn = figures.draw_all(game, agent.best().cpu(), trajectory, progress, dt, shots.points)
    for name, figure in drawn.items():
        with runs.writing(folder):
            figures.save(figure, folder / "figures" / f"{name}.png")
    drawn.pop("learning_curves", None)  # TensorBoard draws the curves itself
    _show(drawn, logger, agent.num_timesteps)


def _show(drawn: dict[str, MatplotlibFigure], logger: Logger, timesteps: int) -> None:
    """Write figures to TensorBoard."""
    images = {f"figures/{name}": Figure(figure, close=False) for name, figure in drawn.items()}
    for writer in logger.output_formats:
        if isinstance(writer, TensorBoardOutputFormat):
            writer.write(images, dict.fromkeys(images, ()), timesteps)


def _time_of_a_step(solver: Scheme) -> float:
    """Return lr, by which gradient steps follow the flow z' = V(z); 1 for other rules, which follow none."""
    solver = solver.scheme if isinstance(solver, Averaged) else solver
    rule = getattr(solver, "rule", None)
    return rule.lr if isinstance(rule, SGD) and isinstance(rule.lr, float) else 1.0


def _versions() -> dict[str, str]:
    names = ("robustgames", "torch", "gymnasium", "stable-baselines3")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
