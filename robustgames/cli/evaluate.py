"""The command `robustgames evaluate`: a run of a game, a run of control, or a model of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import tyro
from rich.console import Console
from rich.progress import Progress, TaskID

from robustgames.cli import flags
from robustgames.cli.screen import plain
from robustgames.cli.words import pairs, path
from robustgames.errors import GameError, check_writable

if TYPE_CHECKING:
    from robustgames.envs.control.perturbations import Perturbation
    from robustgames.experiment import ControlExperiment, Examination
    from robustgames.experiment.examination import Subject
    from robustgames.figures.video import Film

USAGE = """\
robustgames evaluate RUN              a run of a game: recompute its metrics, with local-Nash verdicts; draw its figures
robustgames evaluate RUN [flags]      a run of control: recompute its returns, and sweep it over perturbations
robustgames evaluate MODEL.zip --env ENV --trust [flags]   the same sweep of a model of Stable-Baselines3

flags         --grid --episodes --worst-case --budget --observation-attack --eps --certify --smoothing
              --certify-episodes --workers --best-response --algorithm --video --perturbation; of a model also
              --env --set; of a game --animate
their help    robustgames evaluate RUN --help"""

Folder = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
Model = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL.zip")]
Algorithm = Literal["A2C", "DDPG", "PPO", "SAC", "TD3"]
Options = TypeVar("Options")


@dataclass(frozen=True)
class GameOptions:
    """Recompute the metrics of a saved run of a game, draw its figures, and write evaluation.json into its folder."""

    run: Folder
    """Folder of the run."""
    animate: Path | None = None
    """File for an animation, .gif or .mp4: the paths of the runs of a small game, or what a GAN generates."""
    trust: bool = False
    """Import code that the config of the run names, or load a .zip of Stable-Baselines3, which can run any code."""


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Options of a sweep over perturbations."""

    grid: tuple[str, ...] = ("tessler-mass-noise",)
    """Named set, or axis=value,value ..., e.g. --grid mass:torso=0.5,1,2 friction=0.5,1."""
    episodes: int = 10
    """Episodes of every run at every point of the grid, from the same starts."""
    best_response: int = 0
    """Env steps for which an adversary is trained against the first run, e.g. 10000; 0 trains none."""
    algorithm: Algorithm = "TD3"
    """Algorithm of Stable-Baselines3 that trains this adversary; of a .zip, also the algorithm of the model."""
    worst_case: tuple[str, ...] = ()
    """Set in which the worst point of every run is searched for: axes, e.g. mass,friction,damping (each from half to
    twice its nominal value), bounds, e.g. mass=0.5,3 friction=0.2,1, or a named set."""
    budget: int = 200
    """Points that this search evaluates for every run."""
    observation_attack: tuple[str, ...] = ()
    """Attacks on what every run observes: all, or some of random, mad (maximal action difference), critic and sarsa
    (robust Sarsa)."""
    eps: float | None = None
    """Radius of these attacks, in standard deviations of each component of the observation; by default the published
    one of Hopper, Walker2d, HalfCheetah and Ant."""
    certify: tuple[str, ...] = ()
    """Certificates of every run: all, or some of actions (bounds of the actions when every component of the observation
    moves by eps) and returns (of the policy with noise on its observations, under every attack)."""
    smoothing: float = 0.1
    """Standard deviation of that noise, in standard deviations of each component of the observation."""
    certify_episodes: int = 1000
    """Episodes from which the returns of a run are certified."""
    workers: int = 1
    """Processes that play the grid and the points of the search; the numbers do not depend on it."""
    video: Path | None = None
    """File for the film of an episode of the first run, .gif or .mp4."""
    perturbation: tuple[str, ...] = ()
    """Perturbation of the film, axis=value ..., e.g. --perturbation mass=2."""
    trust: bool = False
    """Import code that the config of the run names, or load a .zip of Stable-Baselines3, which can run any code."""


@dataclass(frozen=True, kw_only=True)
class ControlOptions(SweepOptions):
    """Recompute the metrics of a saved run of control, and sweep its policies over a grid of perturbations."""

    run: Folder
    """Folder of the run."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions(SweepOptions):
    """Sweep a model of Stable-Baselines3 over a grid of perturbations, and write the results next to its file."""

    run: Model
    """File that model.save wrote. It lacks the statistics of a VecNormalize: a model trained with one needs them."""
    env: str | None = None
    """Id of the env to play in, e.g. robustgames/ActionRobustHopper-v0."""
    set: tuple[str, ...] = ()
    """Settings of that env, key=value ..., e.g. --set alpha=0.1."""


PARTS = {
    "budget": (("--worst-case",), "--worst-case mass,friction"),
    "eps": (("--observation-attack", "--certify actions"), "--observation-attack all"),
    "smoothing": (("--certify returns",), "--certify returns"),
    "certify_episodes": (("--certify returns",), "--certify returns"),
    "algorithm": (("--best-response",), "--best-response 10000"),
}
"""{option: (parts of an examination of which one must be asked for as well, example)}."""


def evaluate(words: list[str]) -> None:
    """Evaluate the run or the model that the words name; print the result and write evaluation.json and figures."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return
    run = next((word for word in words if _is_subject(word)), words[0])
    if run.startswith("-"):
        raise GameError(f"{run} is not a run: name the run first, robustgames evaluate RUN {' '.join(words)}")
    if run.endswith(".zip"):
        _evaluate_model(_parse(ModelOptions, words), flags.given(words))
        return
    from robustgames.experiment import ControlExperiment, read

    experiment = read(path(run), trust="--trust" in words)
    if isinstance(experiment, ControlExperiment):
        _refuse(words, ControlOptions, "the env of a run is in its config")
        _evaluate_control(experiment, _parse(ControlOptions, words), flags.given(words))
    else:
        _refuse(words, GameOptions, f"this is a run of {experiment.agent} on a game")
        _evaluate_game(_parse(GameOptions, words))


def _is_subject(word: str) -> bool:
    with suppress(OSError, ValueError):  # a word that cannot be a path
        return word.endswith(".zip") or Path(word, "config.yaml").is_file()
    return False


def _parse(kind: type[Options], words: list[str]) -> Options:
    help = [word for word in words if word in ("-h", "--help")]  # alone: tyro hides a positional that is given
    return flags.read(kind, "robustgames evaluate", help or words)


def _refuse(words: list[str], accepted: type, why: str) -> None:
    """Refuse flags that other commands have; name what they are for."""
    purposes = {"runs of control": ControlOptions, "models of Stable-Baselines3": ModelOptions}
    allowed = {f.name for f in fields(accepted)}
    for word in words:
        flag = word.partition("=")[0]
        name = flag.removeprefix("--").replace("-", "_")
        for purpose, kind in purposes.items():
            if flag.startswith("--") and name not in allowed and name in {f.name for f in fields(kind)}:
                raise GameError(f"{flag} is for {purpose}, {why}: leave it out")


# -- the three commands ----------------------------------------------------------------------------------
def _evaluate_game(options: GameOptions) -> None:
    from robustgames.cli.result_table import report, report_figures
    from robustgames.experiment import evaluate

    if options.animate is not None:
        _check_film(options.animate, "--animate")
    report([evaluate(options.run, trust=options.trust)], [options.run])
    report_figures(options.run / "figures")
    if options.animate is not None:
        _animate(options.run, options.animate, options.trust)


def _animate(run: Path, file: Path, trust: bool) -> None:
    """Write the animation of a run to a file and to TensorBoard, and print its path."""
    from robustgames.agents import GameAgent
    from robustgames.experiment import GameExperiment, load
    from robustgames.figures.video import log_to

    experiment, agent = load(run, trust)
    assert isinstance(experiment, GameExperiment) and isinstance(agent, GameAgent)
    film = experiment.animate(agent)
    Console(highlight=False).print(f"animation    {plain(film.save(file))}", soft_wrap=True)
    log_to(run, "figures/animation", film, agent.num_timesteps)


def _evaluate_control(experiment: ControlExperiment, options: ControlOptions, given: set[str]) -> None:
    from robustgames.checkpoints import restoring
    from robustgames.cli.result_table import report, report_robustness
    from robustgames.envs.control.grid_words import parse_point
    from robustgames.experiment import evaluate
    from robustgames.figures.video import log_to

    what, video, point = _examination(options, given), None, parse_point(options.perturbation)
    with restoring(options.run / "config.yaml"):
        experiment.check(what, point)
    if options.video is not None:
        with restoring(options.run):
            agent = experiment.load_agent(options.run, experiment.make_agent())
        video = _film(experiment.subject(agent), point)
    with Progress(transient=True) as progress:
        result = evaluate(options.run, what, _shown(progress), options.trust)
    report([result], [options.run])
    report_robustness(result, options.run / "figures" / "robustness.png")
    if options.video is not None and video is not None:
        _save(video, options.video)
        log_to(options.run, "figures/episode", video, result["timesteps"])


def _evaluate_model(options: ModelOptions, given: set[str]) -> None:
    from robustgames.cli.result_table import report_robustness
    from robustgames.envs.control.grid_words import parse_point
    from robustgames.experiment.examination import Subject, check, examine
    from robustgames.experiment.folder import write_result
    from robustgames.experiment.stable_baselines import differentiable, load_model, policy_of
    from robustgames.figures.style import save

    what = _examination(options, given)
    if options.env is None:
        example = f"robustgames evaluate {options.run} --env robustgames/ActionRobustPendulum-v0"
        raise GameError(f"{options.run} does not name its env: {example}")
    folder = options.run.with_suffix("")
    check_writable(folder)  # before the work, not after it
    settings, point = pairs(options.set, example="alpha=0.1"), parse_point(options.perturbation)
    check(options.env, settings, what, point)
    model = load_model(options.run, options.algorithm, options.trust)
    policy = policy_of(model, options.env, settings)
    subject = Subject(options.run.stem, [policy], options.env, settings, [differentiable(model)])
    video = None if options.video is None else _film(subject, point)
    with Progress(transient=True) as progress:
        found, figures = examine(subject, what, _shown(progress), folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_result(folder, "evaluation.json", {"model": str(options.run), "env": options.env, **found})
    for name, figure in figures.items():
        save(figure, folder / f"{name}.png")
    report_robustness({"runs": 1, **found}, folder / "robustness.png")
    if options.video is not None and video is not None:
        _save(video, options.video)
    Console(highlight=False).print(f"results      {plain(folder)}", soft_wrap=True)


# -- their parts -----------------------------------------------------------------------------------------
def _examination(options: SweepOptions, given: set[str]) -> Examination:
    """Return the examination that the options describe; the video, which is made last, is checked first.

    Args:
        options: Options of a sweep.
        given: Names of those that were typed, which must have a use.
    """
    from robustgames.experiment import Examination

    if options.video is not None:
        _check_film(options.video, "--video")
    elif options.perturbation:
        raise GameError("--perturbation is that of a video: --video episode.gif; leave it out")
    for name, (parts, example) in PARTS.items():
        if name == "algorithm" and isinstance(options, ModelOptions):
            continue  # it is also the model's
        if name in given and not _asked(options).intersection(parts):
            raise GameError(f"{_flag(name)} is that of {' and '.join(parts)}: add {example}, or leave it out")
    return Examination(
        options.grid,
        options.episodes,
        options.best_response,
        options.algorithm,
        options.worst_case,
        options.budget,
        options.observation_attack,
        options.eps,
        options.certify,
        options.smoothing,
        options.certify_episodes,
        options.workers,
    )


def _asked(options: SweepOptions) -> set[str]:
    """Return the parts of an examination that are asked for, as words of `PARTS`."""
    found = {_flag(name) for name in ("worst_case", "observation_attack", "best_response") if getattr(options, name)}
    return found | {f"--certify {name}" for name in ("actions", "returns") if {name, "all"} & {*options.certify}}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check_film(file: Path, flag: str) -> None:
    """Check that a film can be written, before the work."""
    from robustgames.figures.video import writable

    writable(file)
    if not file.absolute().parent.is_dir():
        raise GameError(f"{file} is in a folder that does not exist: make it, or {flag} episode.gif")
    check_writable(file.parent)


def _film(subject: Subject, point: Perturbation) -> Film:
    """Film an episode of the first run under a perturbation, before the sweep: an env may not be rendered."""
    from robustgames.figures.video import film

    return film(subject.env, subject.policies[0], perturbation=point, env_settings=subject.env_settings)


def _save(video: Film, path: Path) -> None:
    """Write a film and print its path."""
    Console(highlight=False).print(f"video        {plain(video.save(path))}", soft_wrap=True)


def _shown(progress: Progress) -> Callable[[str, int, int], None]:
    """Return the function that shows the measurements as bars."""
    tasks: dict[str, TaskID] = {}

    def show(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = progress.add_task(name, total=total)
        progress.update(tasks[name], completed=done)

    return show
