"""The command line: robustgames list | train | evaluate | attack (in `robustgames.attack_command`)."""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import gymnasium as gym
import torch
import tyro
import yaml
from docstring_parser import parse as parse_docstring
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robustgames.envs.registration import ONE_PLAYER, control_ids, describe, game_ids
from robustgames.errors import GameError, unknown
from robustgames.solvers import RECIPES

MAIN_ENV = "robustgames/DigitsAdversarial-v0"
USAGE = """\
robustgames list                      games and agents, one line each
robustgames train                     the main job: standard and adversarial training on digits, 5 seeds, a minute
robustgames train AGENT ENV [flags]   e.g. robustgames train extra_adam robustgames/Forsaken-v0 --lr 0.01
robustgames train AGENT --help        that agent's hyper-parameters, their defaults and sources
robustgames train --resume RUN        continue an interrupted run
robustgames evaluate RUN              certificates of a saved run
robustgames attack RUN [flags]        AutoAttack or named attacks on a run's classifier: robust accuracy, examples
robustgames attack --model my:load    the same on a torch.nn.Module of yours, which load() in my.py returns
robustgames attack --help             attacks, ball, images, device"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2 for wrong input, 130 when interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, Callable[[list[str]], int | None]] = {
        "list": list_, "train": train, "evaluate": evaluate, "attack": attack,
    }  # fmt: skip
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    torch.set_num_threads(1)  # two threads beside any other load were measured up to 30 times slower on small networks
    sys.path.insert(0, os.getcwd())  # a user's module:id is found from where the command is typed
    try:
        if not words or words[0] in ("-h", "--help"):
            print(USAGE)
            return 0
        if words[0] not in commands:
            raise unknown("command", words[0], commands)
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: console.print(f"[yellow]warning:[/] {escape(str(message))}")
            return commands[words[0]](words[1:]) or 0
    except (GameError, gym.error.Error) as error:
        console.print(f"[red]robustgames:[/] {escape(str(error))}")
        return 2
    except KeyboardInterrupt as stop:
        folder = escape(str(stop)) or "RUN"
        console.print(f"[red]robustgames:[/] interrupted; continue with: robustgames train --resume {folder}")
        return 130


# -- list -----------------------------------------------------------------------------------------------
def list_(words: list[str]) -> None:
    """Print the games, envs and agents."""
    tyro.cli(_nothing, prog="robustgames list", args=words)
    agents = {name: (recipe.__doc__ or "").splitlines()[0] for name, recipe in RECIPES.items()}
    console = Console(highlight=False, soft_wrap=True)
    games, control, alone = ({id: describe(id) for id in ids} for ids in (game_ids(), control_ids(), ONE_PLAYER))
    titles = {"games": games, "control with an adversary, with gym.make": control, "envs for one player": alone}
    for title, lines in {**titles, "agents": agents}.items():
        console.print(f"[bold]{title}[/]")
        for name, line in lines.items():
            console.print(f"  [cyan]{name:<45}[/]{escape(line)}")


def _nothing() -> None:
    """List the registered games and the agents."""


# -- train ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class RunOptions:
    """What every run takes."""

    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")]
    """Id of a game; "module:namespace/Name-v0" imports a module of yours first."""
    steps: int = 10_000
    """Oracle calls of one run: extragradient pays two a step."""
    runs: int = 5
    """Independent runs, side by side in one tensor."""
    seed: int = 0
    """Seed of the generator that draws starts, samples and noise."""
    device: str = "auto"
    """auto, cpu or cuda."""
    out: Path = Path("runs")
    """Where the run folder goes."""
    set: tuple[str, ...] = ()
    """Settings of the game, key=value ..., e.g. --set eps=0.05 noise=0.1."""
    data: str | None = None
    """Folder of the data, where the game reads some (as --set data=): images; MNIST's IDX files, or openml."""
    average: str | None = None
    """Also average the iterates: "uniform", or the decay of an exponential average such as 0.999."""
    anneal: bool = False
    """Let all learning rates fall linearly to 0 over the run."""
    compile: bool = False
    """Compile each step; pays for cheap games with very many runs."""
    checkpoint: int = 1_000
    """Oracle calls between two checkpoints."""
    patience: int = 0
    """Stop after so many of 50 looks without a rise of the attacked accuracy; keep the best: --set validation=500."""


@dataclass(frozen=True)
class MainOptions:
    """The main job: standard and adversarial training on digits, accuracy with and without attack."""

    steps: int = 4_000
    """Oracle calls of one adversarial run; standard training takes a quarter."""
    runs: int = 5
    """Seeds, trained side by side in one tensor."""
    seed: int = 0
    """Seed of the generator."""
    device: str = "auto"
    """auto, cpu or cuda."""
    out: Path = Path("runs")
    """Where the run folders go."""
    resume: Path | None = None
    """Continue the interrupted run in this folder instead."""


def train(words: list[str]) -> None:
    """Train an agent, or run the main job without further words."""
    if not words or words[0].startswith("-"):
        options = tyro.cli(MainOptions, prog="robustgames train", args=words)
        return _resume(options.resume) if options.resume is not None else _main_job(options)
    name = words[0]
    if name not in RECIPES:
        raise unknown("agent", name, RECIPES)
    from robustgames.experiment import Experiment

    parsed = tyro.cli(
        _flags(name),
        prog=f"robustgames train {name}",
        args=_gather_sets(words[1:]),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    run: RunOptions = parsed.run
    settings = {key: value for key, value in asdict(parsed.solver).items() if value is not None}
    game = _pairs(run.set if run.data is None else [*run.set, f"data={run.data}"])
    experiment = Experiment(
        name, run.env, settings, game, run.steps, run.runs, run.seed, run.device,
        _average(run.average), run.anneal, run.compile, run.checkpoint, run.patience,
    )  # fmt: skip
    return _run(experiment, run.out)


def _flags(name: str) -> type:
    """Return a dataclass of an agent's hyper-parameters and the options of every run, for tyro."""
    recipe = RECIPES[name]
    text = parse_docstring(recipe.__doc__ or "")
    helps = {parameter.arg_name: parameter.description or "" for parameter in text.params}
    hints = get_type_hints(recipe)
    flags = [
        (key, Annotated[hints[key], tyro.conf.arg(help=helps.get(key, ""))], field(default=parameter.default))
        for key, parameter in inspect.signature(recipe).parameters.items()
    ]
    solver = make_dataclass(name, flags, frozen=True)
    command = make_dataclass("Command", [("solver", solver), ("run", RunOptions)], frozen=True)
    command.__doc__ = "\n".join(filter(None, (text.short_description, text.long_description)))
    return command


def _gather_sets(words: list[str]) -> list[str]:
    """Join the words of every --set behind one, of which tyro would keep the last alone."""
    rest, settings, taking = [], [], False
    for word in words:
        taking = word == "--set" or (taking and not word.startswith("--"))
        (settings if taking else rest).append(word)
    settings = [word for word in settings if word != "--set"]
    return [*rest, "--set", *settings] if settings else rest


def _pairs(words: Sequence[str]) -> dict[str, Any]:
    """Return {key: value} of words key=value; values are numbers, lists or words in YAML."""
    pairs: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise GameError(f"--set takes key=value, got {word!r}: e.g. --set eps=0.05")
        if key in pairs:
            raise GameError(f"--set has {key} twice: give it once")
        if key in ("game", "num_envs", "runs", "device"):
            raise GameError(f"--set cannot change {key}: it is no setting of the game; see --runs and --device")
        pairs[key] = _value(value)
    return pairs


def _value(word: str) -> Any:
    try:
        return _numbers(yaml.safe_load(word))
    except yaml.YAMLError:
        return word


def _numbers(value: Any) -> Any:
    """Return the value with words that are numbers as such: YAML 1.1 takes 1e-3 for a word."""
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _average(word: str | None) -> str | float | None:
    try:
        return word if word is None or word == "uniform" else float(word)
    except ValueError:
        raise GameError(f"--average is {word!r}: uniform, or a decay such as 0.999") from None


def _run(experiment: Any, out: Path) -> None:
    from robustgames import experiment as experiments

    folder, result = experiments.train(experiment, out)
    _report([result], [folder])


def _resume(folder: Path) -> None:
    from robustgames import experiment as experiments

    folder, result = experiments.resume(folder)
    _report([result], [folder])


def _main_job(options: MainOptions) -> None:
    from robustgames import experiment as experiments

    common = {"runs": options.runs, "seed": options.seed, "device": options.device}
    jobs = [
        experiments.Experiment("standard_training", MAIN_ENV, steps=max(1, options.steps // 4), **common),
        experiments.Experiment("adversarial_training", MAIN_ENV, steps=options.steps, **common),
    ]
    console, finished = Console(highlight=False), []
    for job in jobs:
        console.print(f"[bold]{job.agent}[/] on {job.env}, {_count(job.runs)} side by side")
        try:
            finished.append(experiments.train(job, options.out))
        except KeyboardInterrupt as stop:
            later = jobs[len(finished) + 1 :]
            then = [f"; then: robustgames train {j.agent} {j.env} --steps {j.steps} --runs {j.runs}" for j in later]
            raise KeyboardInterrupt(f"{stop}{''.join(then)}") from None
    _report([result for _, result in finished], [folder for folder, _ in finished])


# -- evaluate -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class EvaluateOptions:
    """Recompute the certificates of a saved run."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""


def evaluate(words: list[str]) -> None:
    """Print the certificates of a saved run."""
    options = tyro.cli(EvaluateOptions, prog="robustgames evaluate", args=words)
    from robustgames import experiment as experiments

    result = experiments.evaluate(options.run)
    _report([result], [options.run])


# -- attack ---------------------------------------------------------------------------------------------
def attack(words: list[str]) -> int:
    """Attack a classifier; see `robustgames.attack_command`."""
    from robustgames import attack_command

    return attack_command.attack(words)


# -- the result table -----------------------------------------------------------------------------------
def _report(results: list[dict[str, Any]], folders: list[Path]) -> None:
    """Print one table of mean ± std over the runs, and what to type next."""
    console = Console(highlight=False)
    first = results[0]
    spread = f", mean ± std over {first['runs']} runs" if first["runs"] > 1 else ""
    settings = first["game"].partition("(")[2].removesuffix(")")
    console.print(f"[bold]{first['env'].rpartition(':')[2]}[/]{f' ({escape(settings)})' if settings else ''}{spread}")
    table = Table()
    table.add_column("")
    starts = first["start"] if len(results) == 1 else {}
    for heading in (["start"] if starts else []) + [r["agent"] for r in results]:
        table.add_column(heading, justify="right")
    for name in first["metrics"]:
        cells = ([starts] if starts else []) + [r["metrics"] for r in results]
        table.add_row(_label(name), *(_cell(name, c[name], first["runs"]) for c in cells))
    blank = [""] if starts else []
    table.add_row("oracle calls", *blank, *(f"{r['timesteps']:,}" for r in results))
    if all("seconds" in r for r in results):
        table.add_row("seconds", *blank, *(f"{r['seconds']:.1f}" for r in results))
    if any(r["diverged"] for r in results):
        table.add_row("[red]diverged runs[/]", *blank, *(f"{r['diverged']} of {r['runs']}" for r in results))
    console.print(table)
    for r in results:
        if any(collapsed := r.get("catastrophic_overfitting", [])):
            whose = f"{sum(collapsed)} of {_count(r['runs'])} of {r['agent']}"
            console.print(
                f"[yellow]warning:[/] catastrophic overfitting in {whose}: FGSM is resisted, PGD is not; "
                "take more attack steps (adversarial_training --inner-steps 7), or stop early (--patience 5)"
            )
    for verdict, count in first.get("verdicts", {}).items():
        console.print(f"{count} of {_count(first['runs'])}: {escape(verdict)}")
    for folder in folders:
        console.print(f"run folder   {folder}", soft_wrap=True)
    common = Path(os.path.commonpath(folders)) if len(folders) > 1 else folders[0]
    console.print(f"curves       tensorboard --logdir {common}", soft_wrap=True)


def _count(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"


def _label(name: str) -> str:
    return re.sub(r"^pgd(\d+)", r"PGD-\1", name).replace("fgsm", "FGSM").replace("_", " ")


def _cell(name: str, row: dict[str, Any], runs: int) -> str:
    mean, std = row["mean"], row["std"]
    if name.endswith(("accuracy", "high_quality")):
        return f"{100 * mean:.1f} ± {100 * std:.1f} %" if runs > 1 else f"{100 * mean:.1f} %"
    return f"{mean:.4g} ± {std:.2g}" if runs > 1 else f"{mean:.4g}"


if __name__ == "__main__":
    sys.exit(main())
