"""The command `robustgames evaluate`: the metrics of a saved run and, of control, how robust its policies are."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from robustgames.cli import flags
from robustgames.cli.result_table import count, report
from robustgames.errors import GameError
from robustgames.experiment.folder import write_result


@dataclass(frozen=True)
class EvaluateOptions:
    """Recompute the metrics of a saved run. Of control: sweep its policies over a grid of perturbations as well."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run; or, with --env, the .zip of a model of Stable-Baselines3."""
    grid: tuple[str, ...] = ("tessler-mass-noise",)
    """Control: a named set, or axis=value,value ..., e.g. --grid mass:torso=0.5,1,2 friction=0.5,1."""
    episodes: int = 2
    """Control: episodes of every run at every point of the grid."""
    best_response: int = 0
    """Control: env steps for which a fresh adversary is trained against the first run, e.g. 10000; 0: none."""
    algorithm: Literal["A2C", "DDPG", "PPO", "SAC", "TD3"] = "TD3"
    """Control: of Stable-Baselines3, of that adversary and of a .zip."""
    video: Path | None = None
    """Control: film an episode of the first run, as .gif or .mp4."""
    perturbation: tuple[str, ...] = ()
    """Control: of that episode, axis=value ..., e.g. --perturbation mass=2."""
    env: str | None = None
    """Of a .zip: id of the env to play in, e.g. robustgames/ActionRobustHopper-v0."""
    set: tuple[str, ...] = ()
    """Of a .zip: settings of that env."""


def evaluate(words: list[str]) -> None:
    """Evaluate what the words say, print it, and write evaluation.json and figures beside it."""
    options = flags.read(EvaluateOptions, "robustgames evaluate", words)
    _check_video(options)
    if options.run.suffix == ".zip":
        _evaluate_model(options)
        return
    from stable_baselines3.common.logger import Logger, make_output_format

    from robustgames import experiment as experiments
    from robustgames.figures.video import log_video

    experiment = experiments.read(options.run)
    if not isinstance(experiment, experiments.ControlExperiment):
        names = [f.name for f in fields(EvaluateOptions)[1:]]
        _refuse(options, names, f"for runs of control, this is one of {experiment.agent}")
        report([experiments.evaluate(options.run)], [options.run])
        return
    _refuse(options, ["env", "set"], "for models of Stable-Baselines3: a run knows its env")
    what, progress = _examination(options), Progress(transient=True)
    with progress:
        result = experiments.evaluate(options.run, what, _shown(progress))
    report([result], [options.run])
    _report_robustness(result)
    if options.video is not None:
        agent = experiments.load(options.run)[1]
        video = _film(experiment.subject(agent), options)
        logger = Logger(None, [make_output_format("tensorboard", str(options.run))])
        log_video(logger, "figures/episode", video, agent.num_timesteps)
        logger.close()


def _examination(options: EvaluateOptions) -> Any:
    from robustgames.experiment.examination import Examination

    return Examination(options.grid, options.episodes, options.best_response, options.algorithm)


def _refuse(options: EvaluateOptions, names: list[str], why: str) -> None:
    for f in fields(EvaluateOptions):
        if f.name in names and getattr(options, f.name) != f.default:
            raise GameError(f"--{f.name.replace('_', '-')} is {why}; leave it out")


def _check_video(options: EvaluateOptions) -> None:
    """Check what is needed last before anything else is done."""
    from robustgames.experiment.examination import parse_point
    from robustgames.figures.video import writable

    if options.video is None:
        _refuse(options, ["perturbation"], "that of a video: --video episode.gif")
    else:
        writable(options.video)
        parse_point(options.perturbation)


def _evaluate_model(options: EvaluateOptions) -> None:
    """Evaluate a model of Stable-Baselines3, and write the results beside its file."""
    from robustgames.experiment.examination import Subject, examine, load_stable_baselines, of_stable_baselines
    from robustgames.figures.style import save

    if options.env is None:
        example = f"robustgames evaluate {options.run} --env robustgames/ActionRobustPendulum-v0"
        raise GameError(f"{options.run} does not name its env: {example}")
    settings = flags.pairs(options.set, example="alpha=0.1")
    policy = of_stable_baselines(load_stable_baselines(options.run, options.algorithm), options.env, settings)
    subject = Subject(options.run.stem, [policy], options.env, settings)
    progress = Progress(transient=True)
    with progress:
        found, figures = examine(subject, _examination(options), _shown(progress))
    folder = options.run.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    write_result(folder, "evaluation.json", {"model": str(options.run), "env": options.env, **found})
    for name, figure in figures.items():
        save(figure, folder / f"{name}.png")
    _report_robustness({"runs": 1, "agent": f"{options.algorithm} of Stable-Baselines3", **found})
    if options.video is not None:
        _film(subject, options)
    Console(highlight=False).print(f"results      {folder}", soft_wrap=True)


def _film(subject: Any, options: EvaluateOptions) -> Any:
    from robustgames.experiment.examination import film_of

    assert options.video is not None
    video = film_of(subject, options.perturbation)
    Console(highlight=False).print(f"video        {video.save(options.video)}", soft_wrap=True)
    return video


def _shown(progress: Progress) -> Any:
    tasks: dict[str, Any] = {}

    def tell(name: str, done: int, total: int) -> None:
        task = tasks.setdefault(name, None) or progress.add_task(name, total=total)
        tasks[name] = task
        progress.update(task, completed=done)

    return tell


def _report_robustness(result: dict[str, Any]) -> None:
    """Print what a sweep, random adversaries and a best response came to."""
    from robustgames.evaluation.reliability import Interval

    console, found = Console(highlight=False), result["robustness"]
    swept = found["sweep"]
    axes = " x ".join(f"{name} {values[0]:g}…{values[-1]:g}" for name, values in swept["axes"].items())
    console.print(f"\n[bold]returns under perturbation[/] of {swept['env']}, no adversary: {axes}", soft_wrap=True)
    table = Table()
    table.add_column("")
    table.add_column(f"mean of {count(result['runs'])} [95 % interval]", justify="right")
    labels = {"cvar": "worst 10 % of the grid (CVaR)", "worst": "worst point", "iqm": "interquartile mean"}
    for name, interval in found["summary"].items():
        table.add_row(labels.get(name, name), escape(str(Interval(*interval))))
    controls = result["random_adversary"]
    share = f"share {controls['alpha']:g}, 10 episodes"
    names = {"without": "no adversary, 10 episodes", "mixing": f"random mixing, {share}"}
    for name, label in {**names, "replacement": f"random replacement, {share}"}.items():
        table.add_row(label, escape(str(Interval(*controls[name]))))
    if best := result.get("best_response"):
        label = f"exploitability of run 0 ({best['algorithm']}, {best['steps']:,} steps)"
        table.add_row(label, escape(str(Interval(*best["exploitability"]))))
    console.print(table)
    for axis, reason in found["idle"].items():
        console.print(f"[yellow]{axis} left out:[/] {reason}", soft_wrap=True)
