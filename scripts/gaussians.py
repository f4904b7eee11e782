"""Recovery of 25 Gaussians: every solver on `robustgames/GaussianMixture-v0`, one table and one figure.

    python scripts/gaussians.py [--methods adam extra_adam_r1 ...] [--runs 10] [--calls 12000] [--out gaussians]

Measures modes, quality, reverse KL and W1 on 2,500 samples of the exponential average of the weights. All methods have
the same networks, minibatches of 128, seeds and oracle calls, and their learning rates fall linearly to 0.

Writes a checkpoint of every method, results.jsonl, table.md and samples.png to OUT. The same command continues an
interrupted table. Takes 35 minutes of CPU with the defaults.
"""

from __future__ import annotations

import json
import sys
import textwrap
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import tyro
from results import Line, Log, Table, spread
from safetensors.torch import load_file, save_file

import robustgames as rg
from robustgames.errors import DivergedError, GameError, unknown
from robustgames.evaluation.generators import generator_metrics, samples
from robustgames.figures.gans import samples_figure
from robustgames.figures.style import save
from robustgames.games import GaussianMixtureGAN
from robustgames.games.densities import GaussianMixture


@dataclass(frozen=True)
class Options:
    """Train the methods that results.jsonl lacks, and write the table and the figure.

    Attributes:
        methods: Methods to train, by default all.
        runs: Seeds of a method, trained side by side.
        calls: Oracle calls of a run.
        seed: Seed of the first run.
        workers: Methods that are trained at a time, one core each.
        out: Folder of the results.
    """

    methods: tuple[str, ...] = ()
    runs: int = 10
    calls: int = 12_000
    seed: int = 0
    workers: int = 2
    out: Path = Path("gaussians")


Settings = dict[str, Any]
SHARES = (1 / 8, 1 / 4, 1 / 2, 1)  # shares of the calls after which samples are drawn
ADAM: Settings = {"lr": 4e-3, "betas": (0.0, 0.9)}
EXTRA: Settings = {"lr": 8e-3, "betas": (0.5, 0.9)}  # half as many steps, of twice the size
CHAINS: Settings = {"lr": 4e-3, "noise": 1e-4, "inner_steps": 1, "precondition": 0.99, "lr_decay": 0.0}
PLAIN: Settings = {"objective": "nonsaturating", "lipschitz": "none"}
R1: Settings = {"objective": "nonsaturating", "lipschitz": "r1", "penalty": 0.1}


@dataclass(frozen=True)
class Method:
    """A solver on the game with some of its settings."""

    label: str
    agent: str
    settings: Settings
    game: Settings
    average: float = 0.995


SOLVERS: dict[str, tuple[str, str, Settings]] = {
    "sgd": ("SGD", "gda", {"lr": 0.2}),
    "adam": ("Adam", "adam", ADAM),
    "rmsprop": ("RMSProp", "rmsprop", {"lr": 4e-3}),
    "extra_adam": ("ExtraAdam, simultaneous", "extra_adam", EXTRA),
    "alt_extra_adam": ("ExtraAdam, alternated", "alt_extra_adam", EXTRA),
    "mirror_gan": ("Mirror-GAN", "mirror_gan", CHAINS),
    "mirror_prox_gan": ("Mirror-Prox-GAN", "mirror_prox_gan", CHAINS),
}
CRITICS: dict[str, Settings] = {
    "clip": {"objective": "wasserstein", "lipschitz": "clip", "clip": 0.1},
    "gp": {"objective": "wasserstein", "lipschitz": "gp", "penalty": 0.1},
    "spectral": {"objective": "hinge", "lipschitz": "spectral"},
}
METHODS: dict[str, Method] = {
    **{name: Method(label, agent, own, PLAIN) for name, (label, agent, own) in SOLVERS.items()},
    "wgan_clip": Method("WGAN: RMSProp, 5 critic steps, clipped", "wgan", {"lr": 1e-3}, CRITICS["clip"]),
    "wgan_gp": Method("WGAN-GP: Adam, 5 critic steps", "wgan", {**ADAM, "rule": "adam"}, CRITICS["gp"]),
    "sn": Method("SN-GAN: Adam, hinge", "adam", ADAM, CRITICS["spectral"]),
    **{f"{name}_r1": Method(f"{label} + R1", agent, own, R1) for name, (label, agent, own) in SOLVERS.items()},
}
PUBLISHED = {  # grid of 25, mean of 10 runs, or of 5; other networks and budgets
    "PacGAN4 (Lin et al. 2018)": ("24.8 ± 0.2", "93.6"),
    "GAN (Lin et al. 2018)": ("17.3 ± 0.8", "94.8"),
    "VEEGAN (Srivastava et al. 2017)": ("24.6", "40"),
    "Unrolled GAN (Metz et al. 2017)": ("23.6", "16"),
}


def make_agent(method: Method, runs: int, calls: int, seed: int) -> rg.GameAgent:
    """Return the agent of a method at its start."""
    env = rg.GameVectorEnv(GaussianMixtureGAN(**method.game), num_envs=runs)
    return rg.GameAgent(env, rg.make_solver(method.agent, method.average, calls, **method.settings), seed=seed)


def run(method: str, runs: int, calls: int, seed: int, out: Path) -> Line:
    """Train one method, or resume it from its checkpoint, and return its results."""
    torch.set_num_threads(1)
    folder, diverged = out / f"{method}-{runs}-{calls}-{seed}", False
    agent, seconds = make_agent(METHODS[method], runs, calls, seed), 0.0
    if (folder / "seconds.json").exists():
        agent = rg.GameAgent.load(folder, agent.env)
        seconds = json.loads((folder / "seconds.json").read_text())
    agent.tensorboard_log, game = str(out), cast("GaussianMixtureGAN", agent.game)
    for target in (round(share * calls) for share in SHARES):
        if agent.num_timesteps >= target:
            continue
        began = time.process_time()
        try:
            agent.learn(target - agent.num_timesteps, None, max(1, calls // 20), method, reset_num_timesteps=False)
        except DivergedError:
            diverged = True
        seconds += time.process_time() - began
        agent.save(folder)
        save_file({"samples": samples(game, agent.best()[0]).contiguous()}, folder / f"samples-{target}.safetensors")
        (folder / "seconds.json").write_text(json.dumps(seconds))
        if diverged:
            break
    found = generator_metrics(game, agent.best())
    values = {key: [round(v, 5) for v in value.tolist()] for key, value in found.items()}
    return {"cpu_seconds": round(seconds, 1), "diverged": diverged or agent.diverged, **values}


def table(results: dict[str, Line]) -> Table:
    """Return mean ± std over the runs, a row for each method."""
    heads = ("method", "modes", "all 25", "high quality %", "reverse KL", "W1", "CPU s a run")
    rows = [(METHODS[name].label, *_cells(result)) for name, result in results.items()]
    rows += [(f"*{name}*", modes, "", quality, "", "", "") for name, (modes, quality) in PUBLISHED.items()]
    return Table(heads, rows)


def _cells(result: Line) -> tuple[str, ...]:
    full = f"{sum(m == 25 for m in result['modes'])} of {result['runs']}"
    rest = (
        spread(result["high_quality"], 1, 100),
        spread(result["reverse_kl"], 3),
        spread(result["wasserstein"], 3),
    )
    return spread(result["modes"], 1), full, *rest, f"{result['cpu_seconds'] / result['runs']:.0f}"


def figure(results: dict[str, Line], out: Path) -> None:
    """Draw samples of the first run of every method after an eighth, a quarter, half and all of its calls."""
    panels: dict[str, dict[int, torch.Tensor]] = {}
    for name, result in results.items():
        folder = out / "{method}-{runs}-{calls}-{seed}".format(**result)
        for share in SHARES:
            path = folder / f"samples-{round(share * result['calls'])}.safetensors"
            if path.exists():
                row = panels.setdefault(textwrap.fill(METHODS[name].label, 18), {})
                row[round(share * result["calls"])] = load_file(path)["samples"]
    grid = GaussianMixture.grid()
    save(samples_figure(panels, grid.means, grid.std, column="oracle calls"), out / "samples.png")


def main(options: Options) -> int:
    try:
        for name in options.methods:
            if name not in METHODS:
                raise unknown("method", name, METHODS)
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    budget = {"runs": options.runs, "calls": options.calls, "seed": options.seed}
    jobs = {name: {"method": name, **budget} for name in METHODS}
    log, wanted = Log(options.out), options.methods or tuple(METHODS)
    for line in log.complete(partial(run, out=options.out), [jobs[name] for name in wanted], options.workers):
        print(f"{METHODS[line['method']].label}: {' | '.join(_cells(line))}", flush=True)
    results = {name: line for name, job in jobs.items() if (line := log.find(job))}
    table(results).show(options.out / "table.md")
    figure(results, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
