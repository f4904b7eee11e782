"""Adversarial training on MNIST at equal CPU budgets: one row a method, one column block a budget.

    python scripts/adversarial_training.py --minutes 1 --seeds 3 --out table
    python scripts/adversarial_training.py --minutes 10 --methods pgd7 best --images 1000

Each method is timed for a few steps, then gets as many as fill the budget of one core. Judged on the held-out images:
clean accuracy, PGD-40, and AutoAttack on the first `--images`. Results are appended to OUT/results.jsonl as they come,
and a method that is in it already is skipped, so that an interrupted table is continued by the same command.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import robustgames as rg
from robustgames.attacks.ensemble import evaluate
from robustgames.evaluation import mean_and_std
from robustgames.evaluation.certificates import accuracies, catastrophic_overfitting
from robustgames.games import MnistAdversarial

Settings = dict[str, Any]
REMEMBERED: Settings = {"attacker": "remembered"}
PGD7: Settings = {"inner_steps": 7, "inner_lr": 0.1, "ema": 0.0}
BEST: Settings = {"inner_steps": 4, "inner_lr": 0.15, "lr": 4e-3, "ema": 0.999}

# name: (recipe, its settings, settings of the game)
METHODS: dict[str, tuple[str, Settings, Settings]] = {
    "standard": ("standard_training", {}, {}),
    "fast": ("fast_training", {"inner_lr": 0.375}, {}),
    "free": ("free_training", {"inner_lr": 0.3}, {}),
    "pgd7": ("adversarial_training", PGD7, {}),
    "trades": ("adversarial_training", {**PGD7, "inner_steps": 10, "inner_lr": 0.07}, {"trades": 6.0}),
    "extra_adam": ("adversarial_training", {**PGD7, "lookahead": "extra"}, {}),
    "past_extragradient": ("adversarial_training", {**PGD7, "lookahead": "past"}, {}),
    "gda_remembered": ("game_training", {"scheme": "simultaneous"}, REMEMBERED),
    "alternating_remembered": ("game_training", {"scheme": "alternating"}, REMEMBERED),
    "extragradient_remembered": ("game_training", {"scheme": "extragradient"}, REMEMBERED),
    "past_remembered": ("game_training", {"scheme": "past"}, REMEMBERED),
    "best": ("adversarial_training", BEST, {"augment": True}),
    "best_past": ("adversarial_training", {**BEST, "lookahead": "past"}, {"augment": True}),
}


def train(name: str, minutes: float, seed: int, precision: str) -> tuple[rg.GameAgent, float]:
    """Return the agent of a method after its budget, and the CPU seconds that it took."""
    recipe, settings, game_settings = METHODS[name]
    settings = {"lr": 2e-3, **settings}
    env = rg.GameVectorEnv(MnistAdversarial(precision=precision, **game_settings), num_envs=1)
    per_call = _seconds_per_call(env, recipe, settings)
    calls = int(60 * minutes / per_call)
    agent = rg.GameAgent(env, rg.make_solver(recipe, horizon=calls, **settings), seed=seed)
    began = time.process_time()
    agent.learn(calls, log_interval=calls)
    return agent, time.process_time() - began


def _seconds_per_call(env: rg.GameVectorEnv, recipe: str, settings: Settings, steps: int = 12) -> float:
    trial = rg.GameAgent(env, rg.make_solver(recipe, **settings), seed=0)
    with torch.no_grad():
        z, state = trial.z, trial.state
        for k in range(steps):
            if k == 3:  # the first steps fill caches
                before, began = trial.oracle.calls, time.process_time()
            z, state = trial.solver.step(trial.oracle, z, state)
    return (time.process_time() - began) / (trial.oracle.calls - before)


def judge(agent: rg.GameAgent, images: int) -> dict[str, Any]:
    """Return the accuracies of an agent's classifier on held-out images, and whether it overfits catastrophically."""
    game: Any = agent.game
    point = agent.best()[0]
    shares = accuracies(game.held_out, point, 40)
    flagged = catastrophic_overfitting(shares)
    x, y = game.held_out.images[:images], game.held_out.labels[:images]
    weights = point[: game.sizes[0]]

    def classifier(a: Tensor) -> Tensor:
        return game.held_out.logits(weights, a.flatten(1))

    began = time.process_time()
    lower = (
        torch.bfloat16 if game.precision == "bfloat16" else None
    )  # of the search; every success is judged in float32
    report = evaluate(classifier, x.view(-1, 1, 28, 28), y, game.eps, batch_size=100, precision=lower)
    values = {name: float(share) for name, share in shares.items()}
    seconds = time.process_time() - began
    return {**values, "autoattack": report.robust_accuracy, "judging": round(seconds, 1), "collapsed": bool(flagged)}


def table(results: list[dict[str, Any]]) -> Table:
    """Return mean ± std over the seeds, a row for each method and budget."""
    shown = ("clean_accuracy", "fgsm_accuracy", "pgd40_accuracy", "autoattack")
    out = Table(title="held-out MNIST, ℓ∞ eps 0.3, mean ± std over seeds, %")
    for head in ("method", "CPU min", "epochs", "clean", "FGSM", "PGD-40", "AutoAttack", ""):
        out.add_column(head, justify="left" if head == "method" else "right")
    for minutes, name in dict.fromkeys((r["minutes"], r["method"]) for r in results):
        rows = [r for r in results if (r["minutes"], r["method"]) == (minutes, name)]
        means = mean_and_std({key: torch.tensor([float(r[key]) for r in rows]) for key in shown})
        cells = [f"{100 * mean:.1f}" + (f" ± {100 * std:.1f}" if len(rows) > 1 else "") for mean, std in means.values()]
        flag = "[red]catastrophic overfitting[/]" if any(r["collapsed"] for r in rows) else ""
        epochs = sum(r["epochs"] for r in rows) / len(rows)
        out.add_row(name, f"{sum(r['cpu_seconds'] for r in rows) / len(rows) / 60:.1f}", f"{epochs:.0f}", *cells, flag)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0], help="CPU minutes of one core per method")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--images", type=int, default=200, help="held-out images for AutoAttack")
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--out", type=Path, default=Path("table"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "results.jsonl"
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for minutes in options.minutes:
        for name, seed in ((name, seed) for seed in options.seeds for name in options.methods):
            key = {"method": name, "minutes": minutes, "seed": seed}
            if any(all(r[k] == v for k, v in key.items()) for r in results):
                continue
            agent, seconds = train(name, minutes, seed, options.precision)
            agent.save(options.out / f"{name}-{minutes:g}-{seed}")
            batch, size = agent.game.batch_size, len(agent.game.images)  # type: ignore[attr-defined]
            result = {**key, "cpu_seconds": round(seconds, 1), "epochs": agent.steps * batch / size}
            result |= judge(agent, options.images)
            results.append(result)
            with log.open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(result, flush=True)
    Console().print(table(results))


if __name__ == "__main__":
    main()
