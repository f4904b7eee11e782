"""Who recovers 25 Gaussians: every solver on `robustgames/GaussianMixture-v0`, one table and one figure.

    python scripts/gaussians.py [--methods adam extra_adam_r1 ...] [--runs 10] [--calls 12000] [--out gaussians]

All methods have the same networks, minibatches of 128, seeds and oracle calls; learning rates fall linearly to 0, and
the exponential average of the weights is judged on 2,500 samples. OUT holds a checkpoint of every method,
results.jsonl, table.md and samples.png; the same command continues an interrupted table where it stood.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file

import robustgames as rg
from robustgames.errors import DivergedError
from robustgames.evaluation.generators import generator_metrics, samples
from robustgames.figures.gans import samples_figure
from robustgames.figures.style import save
from robustgames.games import GaussianMixtureGAN
from robustgames.games.densities import GaussianMixture

Settings = dict[str, Any]
SHARES = (1 / 8, 1 / 4, 1 / 2, 1)  # of the calls, at which samples are drawn
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


def run(name: str, runs: int, calls: int, seed: int, out: Path) -> dict[str, Any]:
    """Train one method, or go on where its checkpoint stands; return its line of results.jsonl."""
    torch.set_num_threads(1)
    method, folder = METHODS[name], out / f"{name}-{runs}-{calls}-{seed}"
    agent, seconds, diverged = make_agent(method, runs, calls, seed), 0.0, False
    if (folder / "seconds.json").exists():
        agent = rg.GameAgent.load(folder, agent.env)
        seconds = json.loads((folder / "seconds.json").read_text())
    agent.tensorboard_log, game = str(out), cast("GaussianMixtureGAN", agent.game)
    for target in (round(share * calls) for share in SHARES):
        if agent.num_timesteps >= target:
            continue
        began = time.process_time()
        try:
            agent.learn(target - agent.num_timesteps, None, max(1, calls // 20), name, reset_num_timesteps=False)
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
    key = {"method": name, "runs": runs, "calls": calls, "seed": seed}
    return {**key, "cpu_seconds": round(seconds, 1), "diverged": diverged or agent.diverged, **values}


def table(results: dict[str, dict[str, Any]]) -> tuple[Table, str]:
    """Return mean ± std over the runs, a row for each method: for the terminal, and in Markdown."""
    heads = ("method", "modes", "all 25", "high quality %", "reverse KL", "W1", "CPU s a run")
    shown, lines = Table(*heads), ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, method in METHODS.items():
        if name in results:
            cells = (method.label, *_cells(results[name]))
            shown.add_row(*cells)
            lines.append("| " + " | ".join(cells) + " |")
    for name, (modes, quality) in PUBLISHED.items():
        shown.add_row(f"[dim]{name}", modes, "", quality, "", "", "")
        lines.append(f"| *{name}* | {modes} | | {quality} | | | |")
    return shown, "\n".join(lines)


def _cells(result: dict[str, Any]) -> tuple[str, ...]:
    def spread(key: str, digits: int, scale: float = 1.0) -> str:
        values = scale * torch.tensor(result[key], dtype=torch.float64)
        if not bool(torch.isfinite(values).all()):  # a KL is infinite where no sample is near a mode
            return f"not finite in {int((~torch.isfinite(values)).sum())}"
        return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"

    full = f"{sum(m == 25 for m in result['modes'])} of {result['runs']}"
    rest = (spread("high_quality", 1, 100), spread("reverse_kl", 3), spread("wasserstein", 3))
    return spread("modes", 1), full, *rest, f"{result['cpu_seconds'] / result['runs']:.0f}"


def figure(results: dict[str, dict[str, Any]], out: Path) -> None:
    """Draw samples of the first run of every method at an eighth, a quarter, half and all of its calls."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--runs", type=int, default=10, help="seeds of a method, side by side")
    parser.add_argument("--calls", type=int, default=12_000, help="oracle calls of a run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="methods trained at a time, one core each")
    parser.add_argument("--out", type=Path, default=Path("gaussians"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    wanted, log = (options.runs, options.calls, options.seed), options.out / "results.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    results = {line["method"]: line for line in lines if (line["runs"], line["calls"], line["seed"]) == wanted}
    left = [name for name in options.methods if name not in results]
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(run, name, *wanted, options.out) for name in left]
        for job in as_completed(jobs):
            result = job.result()
            results[result["method"]] = result
            with log.open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(f"{METHODS[result['method']].label}: {' | '.join(_cells(result))}", flush=True)
    shown, text = table(results)
    Console(width=140).print(shown)
    (options.out / "table.md").write_text(text + "\n")
    figure({name: results[name] for name in METHODS if name in results}, options.out)


if __name__ == "__main__":
    main()
