"""The command `robustgames train`: the main job, a solver on a game, an agent of control, or an interrupted run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from robustgames.cli import flags
from robustgames.cli.experiment_words import parse
from robustgames.cli.memory import check_memory
from robustgames.cli.result_table import count, report
from robustgames.cli.screen import plain
from robustgames.cli.train_options import MainOptions, ResumeOptions
from robustgames.disk import typed
from robustgames.envs.defaults import STEPS, defaults_used, in_words
from robustgames.errors import GameError, shorten

if TYPE_CHECKING:
    from robustgames.experiment import Experiment

MAIN_ENV = "robustgames/DigitsAdversarial-v0"
SHARED = "train extra_adam robustgames/DigitsGAN-v0 --shards 4"


def train(words: list[str]) -> None:
    """Train an agent, or run the main job if no agent is given."""
    if any(word.partition("=")[0] == "--resume" for word in words) and not {"-h", "--help"} & set(words):
        return _resume(words)
    if not words or words[0].startswith("-"):
        return _main_job(flags.read(MainOptions, "robustgames train", words))
    experiment, out, _ = parse(words)
    return _run(experiment, out, flags.given(words))


def _run(experiment: Experiment, out: Path, given: set[str]) -> None:
    from robustgames.experiment import train

    check_memory(experiment)
    say_defaults(experiment, given)
    folder, result = train(experiment, out)
    report([result], [folder])


def say_defaults(experiment: Experiment, given: set[str]) -> None:
    """Print the settings of the table of defaults that are in use, see `robustgames.envs.defaults`."""
    from robustgames.experiment.naming import short_env

    used = defaults_used(experiment.agent, experiment.env, given)
    if used:
        shown = in_words({name: experiment.steps if value == STEPS else value for name, value in used.items()})
        env = plain(short_env(experiment.env))
        Console(highlight=False).print(f"defaults of {experiment.agent} on {env}: {shown}", soft_wrap=True)


def _resume(words: list[str]) -> None:
    from robustgames.experiment import resume

    for word in words:
        flag = word.partition("=")[0]
        if flag.startswith("--") and flag not in ("--resume", "--steps", "--trust", "--no-trust"):
            raise GameError(f"{flag} cannot change in a run that has begun: leave it out, or start a new run")
    if not words[0].startswith("-"):
        raise GameError(f"--resume needs no {shorten(words[0])}: robustgames train --resume RUN, with a run folder")
    options = flags.read(ResumeOptions, "robustgames train", words)
    folder, result = resume(options.resume, steps=options.steps, trust=options.trust)
    report([result], [folder])


def _main_job(options: MainOptions) -> None:
    from robustgames.experiment import GameExperiment, train
    from robustgames.experiment.naming import command
    from robustgames.processes import current

    if (world := current().world) > 1:
        raise GameError(f"{world} processes train one game: name an agent and an env, e.g. {SHARED}")
    common = {name: getattr(options, name) for name in ("runs", "seed", "device", "evaluations")}
    jobs = [
        GameExperiment("standard_training", MAIN_ENV, steps=max(1, options.steps // 4), **common),
        GameExperiment("adversarial_training", MAIN_ENV, steps=options.steps, **common),
    ]
    check_memory(jobs[0])
    console, finished = Console(highlight=False), []
    for job in jobs:
        console.print(f"[bold]{job.agent}[/] on {job.env}, {count(job.runs)} side by side")
        try:
            finished.append(train(job, options.out))
        except KeyboardInterrupt as stop:
            later = jobs[len(finished) + 1 :]
            then = [f"; then: {command(job)} --out {typed(options.out)}" for job in later]
            raise KeyboardInterrupt(f"{stop}{''.join(then)}") from None
    report([result for _, result in finished], [folder for folder, _ in finished])
    _compare([folder for folder, _ in finished], options)


def _compare(folders: list[Path], options: MainOptions) -> None:
    """Write the comparison of several runs next to their folders, see `robustgames compare`, and print its path."""
    from robustgames.cli.compare import write
    from robustgames.sweeps import comparison

    methods, out = comparison.methods_in(folders), folders[0].parent.parent / f"comparison-seed{options.seed}"
    write(methods, comparison.common_metrics(methods), out, "steps")
    Console(highlight=False).print(f"comparison   {out}", soft_wrap=True)
