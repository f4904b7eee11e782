"""Single changes of adversarial training on the 8x8 digits at equal oracle calls: mean ± std over seeds side by side.

    python scripts/digits_training.py --calls 6000 --runs 3 --out digits

Each method is trained for the same oracle calls, in one tensor for all seeds, and its averaged weights are attacked on
all 360 held-out images by APGD-T and Square. Methods in results.jsonl of OUT are skipped. About a CPU minute a method.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from results import Line, Log, Table

import robustgames as rg
from robustgames.attacks.ensemble import evaluate
from robustgames.evaluation import mean_and_std
from robustgames.games import DigitsAdversarial

EPS = 0.1  # of the evaluation, whatever the training was against
# name: (settings of adversarial_training, settings of the game)
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "base": ({}, {}),
    "descent, 2 answers": ({"answers": 2}, {}),
    "descent, 4 answers": ({"answers": 4}, {}),
    "twice the steps": ({"inner_steps": 6, "inner_lr": 0.25 / 6}, {}),
    "one step": ({"inner_steps": 1, "inner_lr": 0.125}, {}),
    "perturbed weights": ({"perturbation": 0.005}, {}),
    "label smoothing 0.1": ({}, {"smoothing": 0.1}),
    "TRADES, β = 6": ({}, {"trades": 6.0}),
    "eps 0.12": ({"inner_lr": 0.1}, {"eps": 0.12}),
    "starts at patches": ({}, {"starts": "patches"}),
    "augmentation": ({}, {"augment": True}),
    "no average": ({"ema": 0.0}, {}),
}


@dataclass(frozen=True)
class Options:
    """Train and attack the methods that results.jsonl lacks, and write the table.

    Attributes:
        calls: Oracle calls of a run.
        runs: Seeds, side by side.
        methods: Methods, by default all.
        out: Folder of the results.
    """

    calls: int = 6000
    runs: int = 3
    methods: tuple[str, ...] = ()
    out: Path = Path("digits")


def run(method: str, calls: int, runs: int) -> Line:
    """Train and attack one method, and return its results."""
    settings, of_game = METHODS[method]
    env = rg.GameVectorEnv(DigitsAdversarial(**of_game), num_envs=runs)
    agent = rg.GameAgent(env, rg.make_solver("adversarial_training", horizon=calls, **settings), seed=0)
    began = time.process_time()
    agent.learn(calls, log_interval=calls)
    spent = time.process_time() - began
    game: Any = agent.game
    x, y = game.held_out.images, game.held_out.labels
    networks = [game.network.as_module(weights) for weights in agent.best()[:, : game.sizes[0]]]
    reports = [evaluate(net, x, y, EPS, attacks=("apgd-t", "square"), batch_size=360) for net in networks]
    return {
        "cpu_seconds": round(spent, 1),
        "clean": [report.clean_accuracy for report in reports],
        "robust": [report.robust_accuracy for report in reports],
    }


def main(options: Options) -> int:
    torch.set_num_threads(1)
    log = Log(options.out)
    jobs = [{"method": name, "calls": options.calls, "runs": options.runs} for name in options.methods or METHODS]
    for line in log.complete(partial(run), jobs):
        print(line, flush=True)
    rows = []
    for line in log.lines():
        means = mean_and_std({key: torch.tensor(line[key]) for key in ("clean", "robust")})
        rows.append(
            (line["method"], f"{line['cpu_seconds']}", *(f"{100 * m:.1f} ± {100 * s:.1f}" for m, s in means.values()))
        )
    heads = ("method", "CPU s, all seeds", "clean", "APGD-T and Square")
    Table(
        heads, rows, f"digits, ℓ∞ eps {EPS}, {options.calls} oracle calls, mean ± std over {options.runs} seeds, %"
    ).show(options.out / "table.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
