"""Five solvers on one set of real images, side by side: the pictures of the lecture's LSUN slides, on MNIST.

    python scripts/image_solvers.py [--data DIR] [--calls 5000] [--stored FILE]

Trains `robustgames/MnistGAN-v0` by RMSProp, Adam, Mirror-GAN and both forms of ExtraAdam. All have the same networks,
minibatches, seed and number of oracle calls; rates are constant, and the exponential average of the weights is
evaluated. The solvers advance in turns, and the Fréchet distance of 2,500 images is measured after every turn. The
slides show 4, 8 and 10 times 10⁴ iterations; images are kept at the same shares of the calls.

Writes a checkpoint of every solver, results.jsonl and images.npz to OUT. The same command continues an interrupted
run, and a larger number of calls continues a finished one. With the defaults it takes about twenty minutes of CPU, and
the digits are rough; --calls 100000 takes a night.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import tyro
from results import Line, Log
from safetensors.torch import load_file, save_file

import robustgames as rg
from robustgames.errors import DivergedError, GameError, unknown
from robustgames.evaluation.frechet import RealImages
from robustgames.evaluation.generators import SAMPLES, real_images_of, samples
from robustgames.games import MnistGAN


@dataclass(frozen=True)
class Options:
    """Train every solver for its calls and write images.npz.

    Attributes:
        data: Folder of the four IDX files of the full MNIST; by default $ROBUSTGAMES_DATA, or 4,000 shipped images.
        solvers: Solvers to train, by default all.
        calls: Oracle calls of a solver, a multiple of 5 turns.
        turn: Oracle calls after which the next solver continues.
        width: Feature maps of the networks.
        batch_size: Images of a minibatch.
        seed: Seed of every solver.
        out: Folder of the results.
        stored: File of the images and distances, e.g. that of the page of the lecture; by default OUT/images.npz.
    """

    data: str | None = None
    solvers: tuple[str, ...] = ()
    calls: int = 5000
    turn: int = 250
    width: int = 16
    batch_size: int = 32
    seed: int = 0
    out: Path = Path("image_solvers")
    stored: Path | None = None


Settings = dict[str, Any]
STOPS = (0.4, 0.8, 1.0)  # shares of the calls at which images are kept
SHOWN, LEVELS = 24, 15  # images of a grid; gray levels that are stored
ADAM: Settings = {"lr": 5e-4, "betas": (0.0, 0.99)}
EXTRA: Settings = {"lr": 1e-3, "betas": (0.0, 0.99)}  # half as many steps, of twice the size
CHAINS: Settings = {"lr": 5e-4, "noise": 1e-4, "inner_steps": 1, "precondition": 0.99, "lr_decay": 0.0}
SOLVERS: dict[str, tuple[str, str, Settings]] = {
    "rmsprop": ("RMSProp", "rmsprop", {"lr": 5e-4}),
    "adam": ("Adam", "adam", ADAM),
    "mirror_gan": ("Mirror-GAN", "mirror_gan", CHAINS),
    "extra_adam": ("ExtraAdam, simultaneous", "extra_adam", EXTRA),
    "alt_extra_adam": ("ExtraAdam, alternated", "alt_extra_adam", EXTRA),
}


def make_agent(name: str, game: MnistGAN, seed: int) -> rg.GameAgent:
    """Return the agent of a solver at its start."""
    _, recipe, settings = SOLVERS[name]
    env = rg.GameVectorEnv(game, num_envs=1)
    return rg.GameAgent(env, rg.make_solver(recipe, average=0.995, **settings), seed=seed)


def train(solver: str, calls: int, width: int, batch_size: int, seed: int, game: MnistGAN, out: Path) -> Line:
    """Train a solver from its last turn to a number of calls, and return the distance of its images."""
    torch.set_num_threads(1)
    job = {"solver": solver, "width": width, "batch_size": batch_size, "seed": seed}
    folder = _folder(out, job)
    agent = make_agent(solver, game, seed)
    if (folder / "checkpoint.safetensors").exists():
        agent = rg.GameAgent.load(folder, agent.env)
    began, diverged, missing = time.process_time(), False, calls - agent.num_timesteps
    try:
        agent.learn(max(0, missing), log_interval=10**9, reset_num_timesteps=False)
    except DivergedError:
        diverged = True
    seconds = time.process_time() - began
    images, real = samples(game, agent.best()[0], SAMPLES), cast("RealImages", real_images_of(game))
    agent.save(folder)
    save_file({"images": images[:SHOWN].contiguous()}, folder / f"images-{calls}.safetensors")
    floor, ceiling = real.bounds(SAMPLES)
    found = {"frechet": float(real.frechet(images)), "floor": floor, "ceiling": ceiling}
    return {"cpu_seconds": round(seconds, 1), "diverged": diverged, "trained_on": len(real.train), **found}


def pictures(log: Log, jobs: list[Line], stops: list[int]) -> dict[str, Any]:
    """Return the arrays of the stored file, images in 16 levels of gray: (solvers, stops, images, pixels)."""
    rows: dict[str, list[Line]] = {}
    for job in jobs:
        rows.setdefault(job["solver"], []).append(cast("Line", log.find(job)))
    shown = [
        load_file(_folder(log.folder, line) / f"images-{line['calls']}.safetensors")["images"]
        for lines in rows.values()
        for line in lines
        if line["calls"] in stops
    ]
    gray = ((torch.stack(shown) + 1) / 2 * LEVELS).round().to(torch.uint8)
    first = next(iter(rows.values()))
    return {
        "images": gray.view(len(rows), len(stops), *gray.shape[-2:]).numpy(),
        "solvers": np.array([SOLVERS[name][0] for name in rows]),
        "stops": np.array(stops),
        "turns": np.array([line["calls"] for line in first]),
        "frechet": np.array([[line["frechet"] for line in lines] for lines in rows.values()]),
        "cpu_seconds": np.array([sum(line["cpu_seconds"] for line in lines) for lines in rows.values()]),
        "floor": np.array(first[0]["floor"]),
        "ceiling": np.array(first[0]["ceiling"]),
        "trained_on": np.array(first[0]["trained_on"]),
    }


def main(options: Options) -> int:
    try:
        path = run(options)
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{path} holds the images and the distances")
    return 0


def run(options: Options) -> Path:
    """Train what is missing, and return the path of the stored file."""
    names = options.solvers or tuple(SOLVERS)
    for name in names:
        if name not in SOLVERS:
            raise unknown("solver", name, SOLVERS)
    if options.turn < 1 or options.calls < 1 or options.calls % (5 * options.turn):
        problem = f"calls is {options.calls}, turn {options.turn}"
        raise GameError(f"{problem}: calls must be a multiple of 5 turns, e.g. --calls 5000 --turn 250")
    game = MnistGAN(width=options.width, data=options.data, batch_size=options.batch_size)
    common = {"width": options.width, "batch_size": options.batch_size, "seed": options.seed}
    turns = range(options.turn, options.calls + 1, options.turn)
    jobs = [{"solver": name, "calls": calls, **common} for calls in turns for name in names]
    log = Log(options.out)
    for line in log.complete(partial(train, game=game, out=options.out), jobs):
        near = f"Fréchet distance {line['frechet']:.4f}, {line['cpu_seconds']:.0f} s of CPU"
        print(f"{SOLVERS[line['solver']][0]}, {line['calls']:,} calls: {near}", flush=True)
    path = options.stored or options.out / "images.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **pictures(log, jobs, [round(share * options.calls) for share in STOPS]))
    return path


def _folder(out: Path, job: Line) -> Path:
    return out / "{solver}-{width}-{batch_size}-{seed}".format(**job)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
