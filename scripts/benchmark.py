"""Speed of robustgames against NumPy, plain torch and the two-call ExtraAdam in circulation.

    python scripts/benchmark.py {games,attacks,gans,control,envs,all} [--rounds 9] [--device cpu] [--out FILE]
        [--strict] [--quick] [--minutes M]
    python scripts/benchmark.py compare OLD.json NEW.json [--strict]

Measures time. All contestants of a row run in one process and one thread, in turn. A round gives every contestant three
blocks of steps and keeps the median block. The table shows medians over rounds, and the least and the largest of the
ratios of the rounds, which a load on the machine changes less than the times. Time is CPU time of the process (on
a GPU: wall clock between two synchronizations), without compilation and warm-up; `learn` includes its setup.

Prints the table, and writes its rows to a JSON file if --out is given, with the machine and the versions. Takes two
minutes (games) to a quarter of an hour (attacks) of one core. `compare` lists the rows of two such files, and flags
those whose ranges of ratios do not overlap.

(a) Many runs of Forsaken by extragradient, in run-steps per second: `agent.learn` and its compiled step, against NumPy
    (float64, as one writes it, and in Horner form), against a loop in C if there is a compiler, and against two calls
    of a compiled hand-written field, which update nothing; and `agent.learn` with its default logs.
(b) One run in eager mode, in microseconds a step, against the same steps as a bare loop around `torch.autograd.grad`.
(c) A generator and a critic of 3 x 128 hidden units by ExtraAdam, in milliseconds a step, as a `GAN` and as a payoff of
    a user, against one *simultaneous* step of two fused torch Adams (half the field evaluations) and against ExtraAdam
    as `extrapolation()` and `step()` with loops over parameters (as in the code of Gidel et al. 2019), which must first
    agree with ours to 1e-5.

The suite `attacks`, in images per second on MNIST's held-out images, on a standard and a robust network that are
trained first (about a minute): robustgames against a bare loop, torchattacks, foolbox, ART and pyautoattack, which are
skipped if they are not installed. Under each row: accuracy left, and passes forward + back per image, ours : peer.

The suite `gans`: ExtraAdam on the 25 Gaussians (generator and discriminator of 3 x 128, minibatch 256) against the
usual loop of modules and two torch Adams with as many gradients; one run, and ten seeds as one batch.

The suite `control`, in steps of the env per CPU second: plain DDPG and TD3 (alpha = 0), acting and learning in Pendulum
and Hopper, against Stable-Baselines3 with the same networks and hyper-parameters; the cost of an adversary, of eight
seeds as one batch and of extragradient.

The suite `envs`, in steps of the env per CPU second: the batches of Pendulum, CartPole and Acrobot in torch, with an
adversary, against `SyncVectorEnv` of the same env with and without one, and against Gymnasium's own batch of CartPole.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from benchmarks.attacks import attacks
from benchmarks.compare import changes, read_rows
from benchmarks.control import control
from benchmarks.envs import envs
from benchmarks.games import games
from benchmarks.gans import gans
from benchmarks.harness import Row, machine
from rich.console import Console
from rich.table import Table

SUITES: dict[str, Callable[[int, str, bool], Iterator[Row]]] = {
    "games": lambda rounds, device, quick: games(1 if quick else rounds, device),
    "attacks": attacks,
    "gans": gans,
    "control": control,
    "envs": envs,
}


FEWEST = 3
"""Rounds from which on a range of ratios shows the noise."""
GPU_MINUTES = 7.0
"""Time after which no row is begun on a GPU, whose machines are lent for less than ten minutes."""


@dataclass(frozen=True)
class Options:
    """Measure a suite, or all of them, and print its table.

    Attributes:
        suite: Suite to measure.
        rounds: Rounds of every row, at least 3; by default 9, and 3 on a GPU.
        device: Device of our contestants and of the torch peers.
        out: JSON file that the rows are also written to.
        strict: Whether to exit with 1 if a target is missed.
        quick: Whether to use few images (attacks) or one round (the others), to test the suite, not to quote.
        minutes: Time after which no other row is begun, shared equally by the suites; by default 7 on a GPU.
    """

    suite: tyro.conf.Positional[Literal["games", "attacks", "gans", "control", "envs", "all"]]
    rounds: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    out: Path | None = None
    strict: bool = False
    quick: bool = False
    minutes: float | None = None


@dataclass(frozen=True)
class Comparison:
    """List the rows of two files, and flag those that moved by more than their noise.

    Attributes:
        old: File that --out wrote.
        new: File to compare with it.
        strict: Whether to exit with 1 if a row is flagged.
    """

    old: tyro.conf.Positional[Path]
    new: tyro.conf.Positional[Path]
    strict: bool = False


def main(options: Options) -> int:
    torch.set_num_threads(1)
    gpu = options.device == "cuda"
    rounds = options.rounds or (FEWEST if gpu else 9)
    if rounds < FEWEST and not options.quick:
        raise SystemExit(f"--rounds is {rounds}: at least {FEWEST} rounds show the noise, or add --quick")
    minutes = options.minutes or (GPU_MINUTES if gpu else float("inf"))
    suites = list(SUITES) if options.suite == "all" else [options.suite]
    console, rows = Console(), []
    console.width = max(console.width, 120)
    for k, suite in enumerate(suites):
        share = minutes / (len(suites) - k)  # what a suite leaves is for the next ones
        began = time.monotonic()
        found = _measure(console, suite, options, rounds, share)
        minutes -= (time.monotonic() - began) / 60
        rows += [(suite, row) for row in found]
        if options.out is not None:  # after every suite, since a machine may be taken back
            content = {"machine": machine(options.device), "device": options.device, "quick": options.quick}
            content["rows"] = [row.entry(name) for name, row in rows]
            options.out.write_text(json.dumps(content, indent=1))
    return int(options.strict and not all(row.passed for _, row in rows))


def _measure(console: Console, suite: str, options: Options, rounds: int, minutes: float) -> list[Row]:
    """Measure one suite, print its table and return its rows."""
    began, found, complete = time.monotonic(), [], True
    with console.status(f"measuring {suite}"):
        for row in SUITES[suite](rounds, options.device, options.quick):
            found.append(row)
            if time.monotonic() - began > 60 * minutes:
                complete = False
                break
    table = Table("row (ours : peer)", "unit", title=f"{suite} on {options.device}")
    for column in ("ours", "peer", "ratio", "in the rounds", "target", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for row in found:
        table.add_row(*row.cells())
    console.print(table)
    if not complete:
        console.print(f"{suite} was stopped after {minutes:.1f} minutes: --minutes gives it more")
    if options.device == "cpu" and suite == "games":
        console.print("1,000,000 runs and all GPU rows were skipped: --device cuda")
    return found


def compare(options: Comparison) -> int:
    (before, old), (after, new) = read_rows(options.old), read_rows(options.new)
    console = Console()
    console.width = max(console.width, 140)
    for name in [name for name in before | after if before.get(name) != after.get(name)]:
        console.print(f"{name}: {before.get(name)} : {after.get(name)}")
    table = Table("suite", "row (ours : peer)", "old ratio", "new ratio", "new : old", "")
    listed = list(changes(old, new))
    for change in listed:
        table.add_row(*change.cells())
    console.print(table)
    return int(options.strict and any(change.flagged for change in listed))


if __name__ == "__main__":
    if sys.argv[1:2] == ["compare"]:
        sys.exit(compare(tyro.cli(Comparison, args=sys.argv[2:], prog="benchmark.py compare")))
    sys.exit(main(tyro.cli(Options, description=__doc__)))
