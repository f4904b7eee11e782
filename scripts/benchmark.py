"""Speed of robustgames against NumPy, plain torch and the two-call ExtraAdam in circulation.

    python scripts/benchmark.py {games,attacks,gans,control} [--rounds 9] [--device cpu] [--out FILE] [--strict]
        [--quick]

Measures time. All contestants of a row run in one process and one thread, in turn. A round gives every contestant three
blocks of steps and keeps the median block; the table shows the median over rounds. Time is CPU time of the process (on
a GPU: wall clock between two synchronizations), without compilation and warm-up; `learn` includes its setup and last
log.

Prints the table, and writes its rows to a JSON file if --out is given. Takes two minutes (games) to a quarter of an
hour (attacks) of one core.

(a) Many runs of Forsaken by extragradient, in run-steps per second: `agent.learn` and its compiled step, against NumPy
    (float64, as one writes it, and in Horner form) and against two calls of a compiled hand-written field, which update
    nothing.
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
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from benchmarks.attacks import attacks
from benchmarks.control import control
from benchmarks.games import games
from benchmarks.gans import gans
from benchmarks.harness import Row
from rich.console import Console
from rich.table import Table

SUITES: dict[str, Callable[[int, str, bool], Iterator[Row]]] = {
    "games": lambda rounds, device, quick: games(1 if quick else rounds, device),
    "attacks": attacks,
    "gans": gans,
    "control": control,
}


@dataclass(frozen=True)
class Options:
    """Measure one suite and print its table.

    Attributes:
        suite: Suite to measure.
        rounds: Rounds of every row. The table shows medians.
        device: Device of our contestants and of the torch peers.
        out: JSON file that the rows are also written to.
        strict: Whether to exit with 1 if a target is missed.
        quick: Whether to use few images (attacks) or one round (games, gans, control), to test the suite, not to quote.
    """

    suite: tyro.conf.Positional[Literal["games", "attacks", "gans", "control"]]
    rounds: int = 9
    device: Literal["cpu", "cuda"] = "cpu"
    out: Path | None = None
    strict: bool = False
    quick: bool = False


def main(options: Options) -> int:
    torch.set_num_threads(1)
    suite, device = options.suite, options.device
    table = Table("row (ours : peer)", "unit", title=f"{suite} on {device}")
    for column in ("ours", "peer", "ratio", "target", ""):
        table.add_column(column, justify="right", no_wrap=True)
    rows = []
    console = Console()
    console.width = max(console.width, 120)
    with console.status(f"measuring {suite}"):
        for row in SUITES[suite](options.rounds, device, options.quick):
            rows.append(row)
            table.add_row(*row.cells())
    console.print(table)
    if device == "cpu" and suite == "games":
        console.print("1,000,000 runs and all GPU rows were skipped: --device cuda")
    if options.out is not None:
        lines = [asdict(row) | {"ratio": row.ratio, "passed": row.passed} for row in rows]
        options.out.write_text(json.dumps(lines, indent=1))
    return int(options.strict and not all(row.passed for row in rows))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
