"""Adversarial training on MNIST at equal budgets of CPU time or of oracle calls: one row per method and budget.

    python scripts/adversarial_training.py --minutes 1 --seeds 0 1 2 --out table
    python scripts/adversarial_training.py --minutes 10 --methods pgd7 best --images 1000
    python scripts/adversarial_training.py --methods base descent --seeds 0 1 2 --attacks apgd-t --images 500
    python scripts/adversarial_training.py --calls 3000 --seeds 0 1 2 --methods base label_smoothing threshold

Measures clean accuracy, FGSM and PGD-40 on the held-out images, and AutoAttack, or the attacks that are named, on the
first `--images` of them; with a threshold together with an attack behind it (`behind.py`). Each method is timed for a
few steps, then gets as many steps as fill the budget of one core. On a machine with other jobs these are fewer, by an
amount that differs between methods: there `--calls` gives all of them as many oracle calls, one for each attack step
and each step of the weights.

Writes a run folder for every method, results.jsonl and table.md to OUT. The same command continues an interrupted
table, because it skips the methods in results.jsonl. Takes the budget plus about a minute of evaluation for every
method and seed, so about an hour for `--minutes 1`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from behind import withstand
from results import Line, Log, Table
from torch import Tensor

import robustgames as rg
from robustgames.attacks.ensemble import evaluate
from robustgames.attacks.problem import Model
from robustgames.errors import GameError, unknown
from robustgames.evaluation import mean_and_std
from robustgames.evaluation.certificates import accuracies, catastrophic_overfitting
from robustgames.games import AdversarialClassification, MnistAdversarial


@dataclass(frozen=True)
class Options:
    """Train and evaluate the methods that results.jsonl lacks, and write the table.

    Attributes:
        minutes: CPU minutes of one core per method, one or several budgets.
        calls: Oracle calls per method, in place of the minutes.
        methods: Methods to train, by default all.
        seeds: Seeds of every method.
        images: Number of held-out images for AutoAttack.
        attacks: Attacks in its place, e.g. apgd-t, which takes a fifth of the time.
        precision: Arithmetic of the network in training. bfloat16 is faster on processors that compute in it (AMX);
            on others it took 2.6 times as long.
        data: Images: "shipped", "openml" or the folder of MNIST's four IDX files.
        out: Folder of the results.
    """

    minutes: tuple[float, ...] = (1.0,)
    calls: tuple[int, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    images: int = 200
    attacks: tuple[str, ...] = ()
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    data: str = "shipped"
    out: Path = Path("table")


Settings = dict[str, Any]
REMEMBERED: Settings = {"attacker": "remembered"}
PGD7: Settings = {"inner_steps": 7, "inner_lr": 0.1, "ema": 0.0}
BEST: Settings = {"inner_steps": 4, "inner_lr": 0.15, "lr": 4e-3, "ema": 0.999}
BASE: Settings = {**BEST, "ema": 0.99}  # for the few steps of one minute
AUGMENTED: Settings = {"augment": True}
TWO: Settings = {**BASE, "inner_steps": 2, "inner_lr": 0.3}

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
    "best": ("adversarial_training", BEST, AUGMENTED),
    "best_past": ("adversarial_training", {**BEST, "lookahead": "past"}, AUGMENTED),
    # one change each of a short version of best
    "base": ("adversarial_training", BASE, AUGMENTED),
    "no_augmentation": ("adversarial_training", BASE, {}),
    "no_average": ("adversarial_training", {**BASE, "ema": 0.0}, AUGMENTED),
    "patches": ("adversarial_training", BASE, {**AUGMENTED, "starts": "patches"}),
    "perturbed_weights": ("adversarial_training", {**BASE, "perturbation": 0.005}, AUGMENTED),
    "label_smoothing": ("adversarial_training", BASE, {**AUGMENTED, "smoothing": 0.1}),
    "base_trades": ("adversarial_training", BASE, {**AUGMENTED, "trades": 6.0}),
    "larger_eps": ("adversarial_training", BASE, {**AUGMENTED, "eps": 0.33}),
    "two_steps": ("adversarial_training", TWO, AUGMENTED),
    "seven_steps": ("adversarial_training", {**BASE, "inner_steps": 7, "inner_lr": 0.1}, AUGMENTED),
    "threshold": (
        "adversarial_training",
        {**BASE, "inner_lr": 0.24},
        {**AUGMENTED, "starts": "patches", "threshold": 0.5},
    ),
    "descent": ("adversarial_training", {**BASE, "answers": 2}, AUGMENTED),
    "descent_two_steps": ("adversarial_training", {**TWO, "answers": 2}, AUGMENTED),
}


def train(name: str, minutes: float, calls: int, seed: int, precision: str, data: str) -> tuple[rg.GameAgent, float]:
    """Return the agent of a method after its budget, and its CPU seconds; the minutes count if there are no calls."""
    recipe, settings, game_settings = METHODS[name]
    settings = {"lr": 2e-3, **settings}
    env = rg.GameVectorEnv(MnistAdversarial(precision=precision, data=data, **game_settings), num_envs=1)
    calls = calls or int(60 * minutes / _seconds_per_call(env, recipe, settings))
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


def evaluated(agent: rg.GameAgent, images: int, attacks: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the accuracies of an agent's classifier on held-out images, and whether it overfits catastrophically."""
    game: Any = agent.game
    # against the radius of the evaluation, whatever that of the training was
    held_out = MnistAdversarial(threshold=game.threshold, data=game.data).held_out
    point = agent.best()[0]
    shares = accuracies(held_out, point, 40)
    flagged = catastrophic_overfitting(shares)
    x, y = held_out.images[:images], held_out.labels[:images]
    weights = point[: game.sizes[0]]

    def classifier(a: Tensor) -> Tensor:
        return held_out.logits(weights, a.flatten(1))

    began = time.process_time()
    # the precision of the search; every success is verified in float32
    lower = torch.bfloat16 if game.precision == "bfloat16" else None
    inputs, chosen = x.view(-1, 1, 28, 28), attacks or "standard"
    report = evaluate(classifier, inputs, y, held_out.eps, attacks=chosen, batch_size=100, precision=lower)
    robust = report.robust & _behind(classifier, held_out, x, y)
    values = {name: float(share) for name, share in shares.items()}
    seconds = time.process_time() - began
    return {
        **values,
        "autoattack": float(robust.double().mean()),
        "judging": round(seconds, 1),
        "collapsed": bool(flagged),
    }


def _behind(classifier: Model, game: AdversarialClassification, x: Tensor, y: Tensor, starts: int = 5) -> Tensor:
    """Return which images withstand five starts of the attack behind the threshold, if there is one."""
    if game.threshold is None:
        return torch.ones_like(y, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    found = [
        withstand(classifier, x, y, game.threat, game.threshold, generator, slope=game.slope) for _ in range(starts)
    ]
    return torch.stack(found).all(0)


def run(method: str, seed: int, options: Options, minutes: float = 0.0, calls: int = 0) -> Line:
    """Train and evaluate one method, and return its results."""
    agent, seconds = train(method, minutes, calls, seed, options.precision, options.data)
    agent.save(options.out / f"{method}-{calls or f'{minutes:g}'}-{seed}")
    size = len(agent.game.images)  # type: ignore[attr-defined]
    trained = {"cpu_seconds": round(seconds, 1), "epochs": agent.steps * (agent.game.batch_size or size) / size}
    return trained | evaluated(agent, options.images, options.attacks)


def table(results: list[Line], judge: str = "AutoAttack") -> Table:
    """Return mean ± std over the seeds, a row for each method and budget."""
    shown = ("clean_accuracy", "fgsm_accuracy", "pgd40_accuracy", "autoattack")
    heads, rows = ("method", "CPU min", "epochs", "clean", "FGSM", "PGD-40", judge, ""), []
    for budget, name in dict.fromkeys((_budget(r), r["method"]) for r in results):
        same = [r for r in results if (_budget(r), r["method"]) == (budget, name)]
        means = mean_and_std({key: torch.tensor([float(r[key]) for r in same]) for key in shown})
        cells = [f"{100 * mean:.1f}" + (f" ± {100 * std:.1f}" if len(same) > 1 else "") for mean, std in means.values()]
        flag = "**catastrophic overfitting**" if any(r["collapsed"] for r in same) else ""
        spent, epochs = (sum(r[key] for r in same) / len(same) for key in ("cpu_seconds", "epochs"))
        rows.append((name, f"{spent / 60:.1f}", f"{epochs:.0f}", *cells, flag))
    return Table(heads, rows, "held-out MNIST, ℓ∞ eps 0.3, mean ± std over seeds, %")


def _budget(result: Line) -> tuple[float, int]:
    return result.get("minutes", 0.0), result.get("calls", 0)


def main(options: Options) -> int:
    torch.set_num_threads(1)
    methods = options.methods or tuple(METHODS)
    try:
        for name in methods:
            if name not in METHODS:
                raise unknown("method", name, METHODS)
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    budgets = [{"calls": calls} for calls in options.calls] or [{"minutes": minutes} for minutes in options.minutes]
    jobs = [
        {"method": name, **budget, "seed": seed} for budget in budgets for seed in options.seeds for name in methods
    ]
    log = Log(options.out)
    for line in log.complete(partial(run, options=options), jobs):
        print(line, flush=True)
    table(log.lines(), ", ".join(options.attacks) or "AutoAttack").show(options.out / "table.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
