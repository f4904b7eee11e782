"""The command `robustgames sweep`: an agent with every combination of settings and seeds, or a search for the best."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml
from rich.console import Console
from tqdm import tqdm

from robustgames.cli import axes, flags
from robustgames.cli.experiment_words import check_env_settings, parse
from robustgames.cli.screen import plain
from robustgames.cli.sweep_report import report
from robustgames.cli.train import say_defaults
from robustgames.cli.words import Plain, gather
from robustgames.disk import read_plain, typed
from robustgames.envs.defaults import STEPS, defaults_used
from robustgames.errors import GameError, shorten

if TYPE_CHECKING:
    from robustgames.sweeps import Outcome, Sweep

MANY = 10_000
"""Trials from which on the user is asked."""
LOOKS = 20
"""Logs of a trial that may be pruned, unless --evaluations says otherwise."""
LARGEST = 2**18
PROGRAM = "robustgames sweep"
USAGE = """\
robustgames sweep AGENT ENV --grid lr=1e-3,3e-3 --seeds 0:5    every combination, with every seed
robustgames sweep AGENT ENV --grid lr=1e-4..1e-1 --search tpe --trials 50 --maximize METRIC    a search
robustgames sweep FILE.yaml                   the same words from a file
robustgames sweep --resume SWEEP              what is left of a sweep

flags         --grid --set --seeds --workers --ray --search --trials --maximize --minimize --prune --yes --out,
              and those of robustgames train AGENT
their help    robustgames sweep AGENT ENV --help"""


@dataclass(frozen=True)
class Workers:
    """Who runs the trials."""

    workers: int = 1
    """Processes, each with one thread."""
    ray: str | None = None
    """Address of a cluster of Ray instead; "auto" is the one that runs here, or else a new one."""


@dataclass(frozen=True)
class SweepOptions(Workers):
    """Every combination of values, with every seed; --set varies settings of the env alike: --set eps=0.1,0.2."""

    grid: tuple[str, ...] = ()
    """Settings that vary, key=value,value ... or, for a search, key=low..high: --grid lr=1e-3,3e-3 steps=500,2000."""
    seeds: str = "0"
    """Seeds of every combination: 0:5, or 3,7. A seed is a trial of its own; --runs 5 are runs of one trial."""
    search: Literal["tpe", "random"] | None = None
    """Search by Optuna over the values and ranges of --grid and --set."""
    trials: int = 50
    """Combinations that a search tries."""
    maximize: str | None = None
    """Metric by which the table is sorted, and which a search makes large."""
    minimize: str | None = None
    """The same for a metric that is to be small."""
    prune: bool = False
    """Let a search give up combinations that are worse than the median of the others at a log."""
    yes: bool = False
    """Begin a sweep of more than 10,000 trials."""


@dataclass(frozen=True)
class ResumeOptions(Workers):
    """Run what is left of a sweep, and print its table."""

    resume: Path = Path()
    """Folder of the sweep."""
    trust: bool = False
    """Import code that the sweep names, which can run anything."""


def sweep(words: list[str]) -> None:
    """Run a sweep, or what is left of one."""
    from robustgames import sweeps

    if not words:
        raise GameError(f"{PROGRAM} takes an agent and an env: see `{PROGRAM} --help`")
    if words[0] in ("-h", "--help"):
        print(USAGE)
        return
    if any(word.partition("=")[0] == "--resume" for word in words):
        options = _resume_options(words)
        return _perform(sweeps.load(options.resume, options.trust), options.resume, options)
    if words[0].endswith((".yaml", ".yml")):
        words = [*_from_file(Path(words[0])), *words[1:]]
    asked, folder, options = _parse(words)
    if len(asked) > MANY and not options.yes:
        raise GameError(f"the sweep has {len(asked):,} trials: vary less, or add --yes")
    asked.check()
    folder = sweeps.begin(asked, folder)
    _perform(asked, folder, options)


def _resume_options(words: list[str]) -> ResumeOptions:
    known = ("--resume", "--workers", "--ray", "--trust", "--no-trust", "-h", "--help")
    for word in words:
        flag = word.partition("=")[0]
        if flag.startswith("-") and flag not in known:
            raise GameError(f"{flag} cannot change in a sweep that has begun: leave it out, or begin a new sweep")
    if not words[0].startswith("-"):
        raise GameError(f"--resume needs no {shorten(words[0])}: {PROGRAM} --resume SWEEP, with a sweep's folder")
    return flags.read(ResumeOptions, PROGRAM, words)


def _from_file(path: Path) -> list[str]:
    try:
        content = yaml.load(read_plain(path, LARGEST), Plain)
    except OSError as error:
        raise GameError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, GameError):
            raise
        raise GameError(f"{path} is not valid YAML: see `{PROGRAM} --help`") from error
    return axes.words_of(content, str(path))


def _parse(words: list[str]) -> tuple[Sweep, Path, SweepOptions]:
    """Return the sweep of the words AGENT ENV [flags], the folder in which its folder is made, and the flags."""
    from robustgames import sweeps

    names = [word.partition("=")[0].replace("_", "-") for word in words]
    if "--seed" in names:
        raise GameError("--seed is one seed: a sweep takes --seeds, e.g. --seeds 0:5 for 0, 1, 2, 3, 4")
    settings, words = _settings(words)
    several = {key: axis for key, axis in axes.axes(settings, "--set").items() if _varies(axis)}
    check_env_settings(several)
    fixed = [word for word in settings if word.partition("=")[0] not in several]
    rest = [*words, *(["--set", *fixed] if fixed else [])]
    runs = [] if "--runs" in names else ["--runs", "1"]
    experiment, out, options = parse([*rest, *runs], "sweep", SweepOptions)
    if "data" in several and "data" in experiment.env_settings:
        raise GameError("--set varies data, and --data has one: leave out --data")
    if options.workers < 1:
        raise GameError(f"workers is {options.workers}: at least one process is needed, e.g. --workers 2")
    metric, maximize = _metric(options)
    search = None
    if options.search is not None:
        if not metric:
            raise GameError("--search needs a metric: add --maximize METRIC or --minimize METRIC")
        search = sweeps.Search(options.search, options.trials, metric, bool(maximize), options.prune)
    elif options.prune:
        raise GameError("--prune is of a search: add --search tpe, or leave it out")
    if options.prune and experiment.evaluations is None:  # the logs of all trials are compared at the same timesteps
        experiment = replace(experiment, evaluations=LOOKS)
    varied = axes.axes(options.grid, "--grid")
    if not varied and not several and search is not None:
        raise GameError("--search has nothing to vary: add --grid lr=1e-4..1e-1")
    given = flags.given(words) | varied.keys()
    if "steps" in varied and STEPS in defaults_used(experiment.agent, experiment.env, given).values():
        raise GameError("steps varies, and the horizon of this game follows --steps: give one, e.g. --horizon 1000")
    say_defaults(experiment, given)
    plan = sweeps.Plan(
        experiment,
        {**varied, **{sweeps.OF_ENV + name: axis for name, axis in several.items()}},
        axes.seeds(options.seeds),
    )
    if search is None:
        plan.choices()
    return sweeps.Sweep(plan, search, sweeps.Ranking(metric, maximize)), out, options


def _settings(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words of all --set, and the other words."""
    joined = gather(words, "--set")
    at = joined.index("--set") if "--set" in joined else len(joined)
    return joined[at + 1 :], joined[:at]


def _varies(axis: object) -> bool:
    return not isinstance(axis, tuple) or len(axis) > 1


def _metric(options: SweepOptions) -> tuple[str, bool | None]:
    if options.maximize and options.minimize:
        raise GameError("--maximize and --minimize exclude each other: give one metric")
    if options.maximize or options.minimize:
        return options.maximize or options.minimize or "", options.maximize is not None
    return "", None


def _perform(asked: Sweep, folder: Path, options: Workers) -> None:
    from robustgames import sweeps

    console = Console(highlight=False)
    console.print(f"[bold]{asked.plan.base.agent}[/] on {plain(asked.plan.base.env)}: {_size(asked)}", soft_wrap=True)
    console.print(f"sweep folder {plain(folder)}", soft_wrap=True)
    bar = tqdm(total=len(asked), unit="trial", dynamic_ncols=True, mininterval=0.2 if sys.stderr.isatty() else 10.0)

    def progress(done: int, total: int, outcome: Outcome | None) -> None:
        bar.update(done - bar.n)

    try:
        ranking, rows = sweeps.perform(asked, folder, sweeps.executor(options.workers, options.ray), progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{PROGRAM} --resume {typed(folder)}") from None
    finally:
        bar.close()
    report(ranking, rows, folder, console)


def _size(asked: Sweep) -> str:
    seeds = f", {len(asked.plan.seeds)} seeds each" if len(asked.plan.seeds) > 1 else ""
    if asked.search is not None:
        return f"a search of {asked.search.trials} trials{seeds}"
    return f"{len(asked):,} trial{'s' if len(asked) != 1 else ''}{seeds}"
