"""Samples of 25 Gaussians for the page of the lecture: five methods of scripts/gaussians.py, all seeds.

    python scripts/gaussians_page.py [--runs 4] [--calls 12000] [--stored FILE]

Trains the four methods of the lecture's slide, and Adam with the R1 penalty, as scripts/gaussians.py does, and writes
2,500 samples of every run to FILE as whole numbers of thousandths. The same command continues an interrupted run.
Takes eight minutes of CPU with the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gaussians
import numpy as np
import torch
import tyro
from results import Log

import robustgames as rg
from robustgames.evaluation.generators import SAMPLES, samples

NAMES = ("sgd", "adam", "mirror_gan", "mirror_prox_gan", "adam_r1")
LARGEST = 32_000  # thousandths beyond which a sample is cut off


@dataclass(frozen=True)
class Options:
    """Train the methods that are missing in OUT and store their samples.

    Attributes:
        runs: Seeds of a method, trained side by side.
        calls: Oracle calls of a run.
        seed: Seed of the first run.
        out: Folder of the checkpoints and results, as of scripts/gaussians.py.
        stored: File of the samples.
    """

    runs: int = 4
    calls: int = 12_000
    seed: int = 0
    out: Path = Path("gaussians")
    stored: Path = Path("examples/lecture/results/gaussians.npz")


def main(options: Options) -> None:
    budget = {"runs": options.runs, "calls": options.calls, "seed": options.seed}
    jobs = [{"method": name, **budget} for name in NAMES]
    for line in Log(options.out).complete(partial(gaussians.run, out=options.out), jobs):
        print(f"{line['method']}: modes {line['modes']}, high quality {line['high_quality']}", flush=True)
    points = []
    for name in NAMES:
        agent = gaussians.make_agent(gaussians.METHODS[name], **budget)
        agent = rg.GameAgent.load(options.out / "{}-{runs}-{calls}-{seed}".format(name, **budget), agent.env)
        drawn = samples(agent.game, agent.best(), SAMPLES).nan_to_num(nan=LARGEST / 1000)  # type: ignore[arg-type]
        points.append((1000 * drawn).round().clamp(-LARGEST, LARGEST).to(torch.int16))
    labels = [gaussians.METHODS[name].label for name in NAMES]
    options.stored.parent.mkdir(parents=True, exist_ok=True)
    calls = np.array(options.calls)
    np.savez_compressed(options.stored, samples=torch.stack(points).numpy(), methods=np.array(labels), calls=calls)
    print(f"{options.stored} holds samples of {len(NAMES)} methods and {options.runs} runs")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
