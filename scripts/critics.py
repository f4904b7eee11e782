"""Slopes of WGAN critics and their estimates of W1 under clipping, gradient penalties and spectral norms.

    python scripts/critics.py [--steps 3000] [--runs 5]

Measures the slope of each critic at 2,000 points between real and generated ones, and compares its estimate of W1,
divided by the largest slope, with the exact distance. The generator is held: it turns N(0, I) into N(0, I/4), and the
data are eight Gaussians around it. Only the critic plays, by Adam on the Wasserstein objective, with new minibatches of
256.

Prints a table and writes no file. Takes about three minutes of one core.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import tyro
from results import Table
from torch import Generator, Tensor

from robustgames.evaluation.transport import dual_estimate, lipschitz_constant, wasserstein
from robustgames.games import GAN, MLP, Oracle
from robustgames.games.densities import GaussianMixture
from robustgames.solvers import Adam, Linear, respond


@dataclass(frozen=True)
class Options:
    """Train every critic against the held generator and print the table.

    Attributes:
        steps: Steps of a critic.
        runs: Critics of each kind, side by side.
    """

    steps: int = 3000
    runs: int = 5


CRITICS: dict[str, dict[str, float | str]] = {
    "no control": {"lipschitz": "none"},
    "clip 0.01": {"lipschitz": "clip", "clip": 0.01},
    "clip 0.1": {"lipschitz": "clip", "clip": 0.1},
    "clip 0.3": {"lipschitz": "clip", "clip": 0.3},
    "gradient penalty 0.1": {"lipschitz": "gp", "penalty": 0.1},
    "gradient penalty 10": {"lipschitz": "gp", "penalty": 10.0},
    "one-sided penalty 10": {"lipschitz": "gp_one_sided", "penalty": 10.0},
    "spectral normalization": {"lipschitz": "spectral"},
}


@torch.no_grad()
def play(control: dict[str, Any], steps: int, runs: int, points: int = 2000) -> dict[str, Tensor]:
    """Return the estimates and slopes of critics under some control after training, each of shape (runs,)."""
    critic = MLP((2, 64, 64, 64, 1))
    game = GAN(MLP((2, 2)), critic, GaussianMixture.ring(), objective="wasserstein", batch_size=256, **control)
    oracle = Oracle(game, (runs,), Generator().manual_seed(0))
    held = torch.tensor([0.5, 0.0, 0.0, 0.5, 0.0, 0.0]).expand(runs, -1)
    z = torch.cat([held, game.start(1, (runs,), oracle.generator)], -1)
    rule = Adam(Linear(2e-3, steps), (0.5, 0.9))
    z, _ = respond(rule, oracle, z, 1, steps, rule.init(game.split(z)[1]), hold=False)
    x, y = game.split(z)
    noise = torch.randn(runs, points, 2, generator=oracle.generator)
    real, fake = game.source.sample((runs, points), oracle.generator, torch.float32), game.generate(x, noise)
    u = torch.rand(runs, points, 1, generator=oracle.generator)
    slopes = lipschitz_constant(lambda a: game.score(y, a), u * real + (1 - u) * fake)
    estimate = dual_estimate(game.score(y, real), game.score(y, fake))
    found = {"estimate": estimate, "estimate / slope": estimate / slopes["lipschitz"], **slopes}
    return {**found, "exact": wasserstein(real[:, :1000], fake[:, :1000])}


def main(options: Options) -> None:
    torch.set_num_threads(1)
    heads = ("critic", "E f(real) - E f(fake)", "/ largest slope", "largest slope", "mean | |∇f| - 1 |", "exact W1")
    rows = []
    for name, control in CRITICS.items():
        found = play(control, options.steps, options.runs).values()
        rows.append((name, *(f"{float(v.mean()):.3g} ± {float(v.std()):.1g}" for v in found)))
    Table(heads, rows, f"mean ± std of {options.runs} critics after {options.steps:,} steps").show()


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
