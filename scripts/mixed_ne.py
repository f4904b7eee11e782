"""The figure of 25 Gaussians of Hsieh, Liu and Cevher 2019 in its setting: Mirror-GAN, Mirror-Prox-GAN, SGD and Adam.

    python scripts/mixed_ne.py [--methods sgd adam ...] [--runs 3] [--iterations 3000] [--out mixed_ne]

The game is that of the code of Gulrajani et al. 2017: three hidden layers of 512 ReLU in both networks with He's first
weights, noise of 2 dimensions, minibatches of 256, a gradient penalty of weight 0.1, and points divided by 2.828. An
iteration is a step of the generator; the figure has 100,000. All methods advance from one milestone to the next
together (300, 1,000, 3,000, 10,000, 20,000, 50,000 and 100,000 iterations), so a table of equal iterations exists at
any time. Last iterates are measured, on 2,500 samples.

Writes checkpoints, results.jsonl, table.md and samples.png to OUT. The same command continues an interrupted run, and
with more iterations a finished one. `--iterations 0` writes the table and the figure of what is there. An iteration of
all methods takes two seconds of CPU with three runs, on some processors half of it with --products bfloat16.
"""

from __future__ import annotations

import json
import sys
import textwrap
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from results import Line, Log, Table, spread
from safetensors.torch import load_file, save_file

import robustgames as rg
from robustgames.errors import DivergedError, GameError, unknown
from robustgames.evaluation.generators import SAMPLES, generator_metrics, samples
from robustgames.figures.gans import samples_figure
from robustgames.figures.style import save
from robustgames.games import GaussianMixtureGAN
from robustgames.games.densities import GaussianMixture


@dataclass(frozen=True)
class Options:
    """Train the methods to every milestone that results.jsonl lacks, and write the tables and the figure.

    Attributes:
        methods: Methods to train, by default all.
        runs: Seeds of a method, trained side by side.
        iterations: Largest milestone.
        seed: Seed of the first run.
        products: Arithmetic inside matrix products; all else is float32. On a processor with AMX an iteration of SGD
            took 71 ms with bfloat16 instead of 117, and the field of a minibatch changed by 1 to 2 %, of which another
            minibatch changes more. Results of the two are kept apart.
        out: Folder of the results.
    """

    methods: tuple[str, ...] = ()
    runs: int = 3
    iterations: int = 3000
    seed: int = 0
    products: Literal["float32", "bfloat16"] = "float32"
    out: Path = Path("mixed_ne")


Settings = dict[str, Any]
MILESTONES = (300, 1_000, 3_000, 10_000, 20_000, 50_000, 100_000)
KEPT_EVERY = 250  # iterations between two checkpoints
SCALE = 2.828
PRODUCTS = {"float32": "highest", "bfloat16": "medium"}  # names of torch
SETTING: Settings = {
    "scale": SCALE,
    "hidden": (512, 512, 512),
    "batch_size": 256,
    "initialization": "he",
    "objective": "wasserstein",
    "lipschitz": "gp",
    "penalty": 0.1,
}
RATE: Settings = {"lr": 2e-3, "lr_decay": 1e-5}  # 5e-3 diverges at once; 1e-3 and 3e-4 are behind at iteration 300
FAST: Settings = {**RATE, "lr": 1e-2}
ADAM: Settings = {"lr": 1e-4, "betas": (0.5, 0.9)}
# K_t = min(15, floor(1.00001^t)): chains of one step up to iteration 69,315, then of two
CHAINS: Settings = {**RATE, "noise": 1e-2, "noise_decay": 5e-5, "inner_steps": 15, "growth": 1e-5, "damping": 0.9}


@dataclass(frozen=True)
class Method:
    """A solver with its settings, and the oracle calls of its first iterations."""

    label: str
    agent: str
    settings: Settings
    calls: int = 1


METHODS: dict[str, Method] = {
    "sgd": Method("SGD", "langevin", {**RATE, "noise": 0.0}),
    "adam": Method("Adam", "adam", ADAM),
    "mirror_gan": Method("Mirror-GAN, noise 0.01", "mirror_gan", CHAINS),
    "mirror_gan_cold": Method("Mirror-GAN, noise 0.001", "mirror_gan", {**CHAINS, "noise": 1e-3}),
    "mirror_gan_off": Method("Mirror-GAN, no noise", "mirror_gan", {**CHAINS, "noise": 0.0}),
    "mirror_prox_gan": Method("Mirror-Prox-GAN, noise 0.01", "mirror_prox_gan", CHAINS, calls=3),
    "mirror_prox_gan_off": Method("Mirror-Prox-GAN, no noise", "mirror_prox_gan", {**CHAINS, "noise": 0.0}, calls=3),
    "sgd_fast": Method("SGD, rate 0.01", "langevin", {**FAST, "noise": 0.0}),
    "mirror_gan_fast": Method("Mirror-GAN, rate 0.01, noise 0.01", "mirror_gan", {**CHAINS, **FAST}),
    "adam_5": Method("Adam, 5 critic steps", "wgan", {**ADAM, "rule": "adam"}, calls=6),
}


def make_game(**changes: Any) -> GaussianMixtureGAN:
    """Return the game of the figure, with some settings changed."""
    return GaussianMixtureGAN(**{**SETTING, **changes})


def make_agent(method: Method, game: GaussianMixtureGAN, runs: int, seed: int) -> rg.GameAgent:
    """Return the agent of a method at its start."""
    return rg.GameAgent(rg.GameVectorEnv(game, num_envs=runs), rg.make_solver(method.agent, **method.settings), seed)


def advance(agent: rg.GameAgent, iterations: int, calls: int) -> None:
    """Train until the agent has taken so many steps; `calls` is a lower bound of the oracle calls of a step."""
    while agent.steps < iterations:
        agent.learn((iterations - agent.steps) * calls, reset_num_timesteps=False)


def reach(
    method: str,
    runs: int,
    seed: int,
    iterations: int,
    out: Path,
    game: GaussianMixtureGAN | None = None,
    products: str = "float32",
) -> Line:
    """Train a method from its checkpoint to a milestone, and return what the last iterates are worth there."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision(PRODUCTS[products])
    game, folder = game or make_game(), out / folder_of(method, runs, seed, products)
    agent, done = make_agent(METHODS[method], game, runs, seed), {"cpu_seconds": 0.0, "diverged": False}
    progress = folder / "progress.json"
    if progress.exists():
        agent, done = rg.GameAgent.load(folder, agent.env), json.loads(progress.read_text())
    if agent.steps > iterations:
        raise GameError(f"{folder} is at iteration {agent.steps}, beyond {iterations}: start again with another --out")
    while agent.steps < iterations and not done["diverged"]:
        began = time.process_time()
        try:
            advance(agent, min(iterations, agent.steps + KEPT_EVERY), METHODS[method].calls)
        except DivergedError:  # of all runs; the agent is back at its last finite point
            done["diverged"] = True
        done["cpu_seconds"] += time.process_time() - began
        agent.save(folder)
        progress.write_text(json.dumps(done))
    save_file({"samples": samples(game, agent.z).contiguous()}, folder / f"samples-{iterations}.safetensors")
    found = generator_metrics(game, agent.z)
    values = {key: [round(v, 5) for v in value.tolist()] for key, value in found.items()}
    solver = {"agent": METHODS[method].agent, **METHODS[method].settings}
    return {"steps": agent.steps, **done, "cpu_seconds": round(done["cpu_seconds"], 1), "solver": solver, **values}


def folder_of(method: str, runs: int, seed: int, products: str = "float32", **rest: Any) -> str:
    """Return the name of the folder of a method's checkpoints, of its job or its line."""
    return f"{method}-{runs}-{seed}" + ("" if products == "float32" else f"-{products}")


def jobs_of(options: Options) -> list[Line]:
    """Return the jobs: all methods at a milestone before any at the next."""
    names, milestones = options.methods or tuple(METHODS), [m for m in MILESTONES if m <= options.iterations]
    return [{"method": name, **budget_of(options), "iterations": m} for m in milestones for name in names]


def budget_of(options: Options) -> Line:
    """Return what the jobs of a table share."""
    return {"runs": options.runs, "seed": options.seed, "products": options.products}


def reached(options: Options) -> dict[int, dict[str, Line]]:
    """Return {milestone: {method: its line}} of all lines with these runs."""
    budget = budget_of(options)
    lines = [line for line in Log(options.out).lines() if {key: line[key] for key in budget} == budget]
    found = {m: {line["method"]: line for line in lines if line["iterations"] == m} for m in MILESTONES}
    return {m: {name: part[name] for name in METHODS if name in part} for m, part in found.items() if part}


def table(found: dict[int, dict[str, Line]]) -> Table:
    """Return mean ± std over the runs, a row for each milestone and method."""
    heads = ("iterations", "method", "modes", "high quality %", "reverse KL", "W1", "CPU s")
    rows = [(f"{m:,}", METHODS[name].label, *_cells(line)) for m, part in found.items() for name, line in part.items()]
    return Table(heads, rows)


def _cells(line: Line) -> tuple[str, ...]:
    if line["diverged"]:
        return "", "", "", "", f"diverged after {line['steps']:,}"
    return (
        spread(line["modes"], 1),
        spread(line["high_quality"], 1, 100),
        spread(line["reverse_kl"], 3),
        spread(line["wasserstein"], 3, SCALE),
        f"{line['cpu_seconds']:.0f}",
    )


def figure(found: dict[int, dict[str, Line]], out: Path) -> None:
    """Draw samples of the first run of every method at the last milestone that all of them have reached."""
    complete = [m for m, part in found.items() if len(part) == max(map(len, found.values()))]
    milestone, grid = complete[-1], GaussianMixture.grid(scale=SCALE)
    real = grid.sample((SAMPLES,), torch.Generator().manual_seed(1), torch.float32)
    panels, captions = {"data": real}, {"data": ""}
    for name, line in found[milestone].items():
        path = out / folder_of(**line) / f"samples-{milestone}.safetensors"
        if path.exists() and not line["diverged"]:
            label = textwrap.fill(METHODS[name].label, 20)
            panels[label] = load_file(path)["samples"][0]
            captions[label] = f"{line['modes'][0]:.0f} modes, {100 * line['high_quality'][0]:.0f} % high quality"
    shown = samples_figure(panels, grid.means, grid.std, captions=captions, title=f"{milestone:,} iterations")
    save(shown, out / "samples.png")


def run(options: Options) -> None:
    """Train what is missing, and write the table and the figure of what is there."""
    for name in options.methods:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    for line in Log(options.out).complete(partial(reach, out=options.out), jobs_of(options)):
        print(f"{line['iterations']:,} {METHODS[line['method']].label}: {' | '.join(_cells(line))}", flush=True)
    if found := reached(options):
        table(found).show(options.out / "table.md")
        figure(found, options.out)


def main(options: Options) -> int:
    try:
        run(options)
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
