"""Wasserstein distances and divergences of GAN theory, measured: a figure of rates, and a JSON file with all numbers.

    python scripts/wasserstein.py [--out figures]

Measures the rates at which W1 of two samples falls with their size, Kantorovich-Rubinstein duality, sliced distances,
a push-forward density and the optimal discriminator.

Writes wasserstein_rates.png and wasserstein.json to OUT. Takes about two minutes of one core.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from math import log, sqrt
from pathlib import Path
from typing import Any

import torch
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Generator, Tensor

from robustgames.errors import GameError, writing
from robustgames.evaluation.modes import (
    discriminator_value,
    jensen_shannon,
    kullback_leibler,
    optimal_discriminator,
    push_forward_density,
)
from robustgames.evaluation.rates import EmpiricalRate, rate
from robustgames.evaluation.transport import (
    dual_estimate,
    kantorovich_rubinstein,
    lipschitz_constant,
    sliced_wasserstein,
    wasserstein,
)
from robustgames.figures.style import INK, PALETTE, quiet, save

LEAST = 64  # below it every slope still bends
EXPECTED = {1: -1 / 2, 2: -1 / 2, 3: -1 / 3, 5: -1 / 5}
KIND = torch.float64


@dataclass(frozen=True)
class Options:
    """Measure rates, duality, push-forward and discriminator; write wasserstein_rates.png and wasserstein.json.

    Attributes:
        out: Folder of both files.
        largest: Points of the largest samples for p >= 2. Sizes double from 64.
        trials: Trials of the smallest size. Larger sizes have fewer, about as 1/n, down to 16.
        seed: Seed of all samples.
    """

    out: Path = Path("figures")
    largest: int = 2048
    trials: int = 600
    seed: int = 0


def main(options: Options) -> int:
    torch.set_num_threads(1)
    out, largest, trials = options.out, options.largest, options.trials
    generator = Generator().manual_seed(options.seed)
    try:
        if largest < 4 * LEAST or trials < 2:
            raise GameError(f"largest is {largest}, trials {trials}: at least {4 * LEAST} and 2, for three sizes")
        numbers = {
            "duality": duality(generator),
            "sliced": sliced(generator),
            "push_forward": push_forward(generator),
            "discriminator": discriminator(generator),
        }
        measured = rates(largest, trials, generator)
        numbers["rates"] = {name: table(found) for name, found in measured.items()}
        with writing(out):
            save(figure(measured), out / "wasserstein_rates.png")
            (out / "wasserstein.json").write_text(json.dumps(numbers, indent=1) + "\n")
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report(numbers)
    print(f"wasserstein_rates.png and wasserstein.json are in {out}")
    return 0


# -- rates ----------------------------------------------------------------------------------------------------
def rates(largest: int, trials: int, generator: Generator) -> dict[str, EmpiricalRate]:
    """Return {"p=3 cube": its rate, ...}: cubes of 1, 2, 3 and 5 dimensions, and tori of 2, 3 and 5."""
    sizes = [LEAST << k for k in range(20) if LEAST << k <= largest]
    counts = [max(min(16, trials), round(trials * (LEAST / n) ** 1.15)) for n in sizes]
    found = {}
    for p in EXPECTED:
        for place in ("cube", "torus") if p > 1 else ("cube",):
            print(f"rate of W1, p = {p}, {place} …", file=sys.stderr)
            if p == 1:  # against the law itself, for which more points cost little
                found[f"p={p} {place}"] = rate(1, [4 ** (k + 3) for k in range(5)], 3 * trials, generator)
            else:
                found[f"p={p} {place}"] = rate(p, sizes, counts, generator, torus=place == "torus")
    return found


def table(found: EmpiricalRate) -> dict[str, Any]:
    """Return the numbers of a rate, with its slopes and the local ones between neighboring sizes."""
    n = torch.tensor(found.sizes, dtype=KIND)
    row = {
        "expected": EXPECTED[found.p],
        "slope": found.slope()._asdict(),
        "sizes": list(found.sizes),
        "mean": found.mean.tolist(),
        "standard_error": found.error.tolist(),
        "local_slopes": (found.mean.log().diff() / n.log().diff()).tolist(),
    }
    if found.p == 2:
        row["slope_over_sqrt_log"] = found.slope(log_power=0.5)._asdict()
        row["logarithm"] = found.logarithm()._asdict()
    return row


def figure(measured: dict[str, EmpiricalRate]) -> Figure:
    """Draw mean W1 against n with the fitted lines, and the fitted slopes next to those of the theorems."""
    drawn = Figure(figsize=(10.5, 4.3), layout="constrained")
    left, right = drawn.subplots(1, 2, width_ratios=(1.15, 1))
    for name, found in measured.items():
        draw_rate(left, found, PALETTE[list(EXPECTED).index(found.p)], name.endswith("cube"))
    left.set(xscale="log", yscale="log", xlabel="points n")
    left.set_title("mean W₁ of samples of the uniform law, and fitted lines", fontsize=10, color=INK, loc="left")
    draw_slopes(right, measured)
    for axes in (left, right):
        quiet(axes)
        axes.minorticks_off()
    left.legend(frameon=False, fontsize=9, loc="lower left")
    return drawn


def draw_rate(axes: Axes, found: EmpiricalRate, color: str, cube: bool) -> None:
    n, mean = torch.tensor(found.sizes, dtype=KIND), found.mean
    slope = found.slope().value
    weight = (found.mean / found.error) ** 2
    offset = ((mean.log() - slope * n.log()) * weight).sum() / weight.sum()
    style: dict[str, Any] = {"color": color, "mfc": color if cube else "white", "ms": 4.5 if cube else 4, "lw": 0}
    axes.plot(n, mean, marker="o", label=f"p = {found.p}" if cube else None, **style)
    axes.plot(n, (offset + slope * n.log()).exp(), color=color, lw=1.3, ls="-" if cube else (0, (4, 3)), zorder=1)


def draw_slopes(axes: Axes, measured: dict[str, EmpiricalRate]) -> None:
    rows: list[tuple[str, int, float]] = [("p = 1", 1, 0.0), ("p = 2", 2, 0.0), ("p = 2,\nW₁ / √log n", 2, 0.5)]
    rows += [(f"p = {p}", p, 0.0) for p in (3, 5)]
    for y, (_, p, power) in enumerate(rows):
        color = PALETTE[list(EXPECTED).index(p)]
        lacks = p == 2 and not power
        name = "n^(−1/2) without logarithm" if lacks else "theorem" if y == 0 else None
        axes.plot([EXPECTED[p]] * 2, [y - 0.36, y + 0.36], color=INK, lw=1.5, ls=":" if lacks else "-", label=name)
        for place, shift in (("cube", -0.13), ("torus", 0.13)):
            if (found := measured.get(f"p={p} {place}")) is None:
                continue
            value, low, high = found.slope(power)
            face = color if place == "cube" else "white"
            bars = [[value - low], [high - value]]
            axes.errorbar([value], [y + shift], xerr=bars, fmt="o", color=color, mfc=face, ms=4, lw=1.5, capsize=3)
    axes.plot([], [], "o", color="#777777", ms=4, label="cube")
    axes.plot([], [], "o", color="#777777", mfc="white", ms=4, label="torus: no boundary")
    axes.set(yticks=range(len(rows)), yticklabels=[name for name, _, _ in rows], xlabel="slope in n")
    axes.invert_yaxis()
    axes.set_title("fitted slopes with 95 % intervals", fontsize=10, color=INK, loc="left")
    axes.legend(frameon=False, fontsize=9, loc="lower left")


# -- identities -----------------------------------------------------------------------------------------------
def duality(generator: Generator, n: int = 30) -> dict[str, float]:
    """Return both linear programs of one pair of samples in the plane, POT's W1, and the estimate of their critic."""
    a = torch.randn(n, 2, generator=generator, dtype=KIND)
    b = torch.randn(n, 2, generator=generator, dtype=KIND) + torch.tensor([1.0, 0.0], dtype=KIND)
    both = kantorovich_rubinstein(a, b)
    u = torch.rand(n, 1, generator=generator, dtype=KIND)
    slopes = lipschitz_constant(both.critic, u * a + (1 - u) * b)
    return {
        "primal": both.primal,
        "dual": both.dual,
        "exact": float(wasserstein(a, b)),
        "critic": float(dual_estimate(both.critic(a), both.critic(b))),
        **{name: float(value) for name, value in slopes.items()},
    }


def sliced(generator: Generator, n: int = 500) -> dict[str, dict[str, float]]:
    """Return exact and sliced distances of two normal samples at distance 1, by dimension."""
    found = {}
    for p in (1, 2, 5):
        a, b = torch.randn(2, n, p, generator=generator, dtype=KIND)
        b[:, 0] += 1
        found[f"p={p}"] = {
            f"{kind}_w{r}": float(f(a, b, order=r))
            for r in (1, 2)
            for kind, f in (("exact", wasserstein), ("sliced", sliced_wasserstein))
        }
    return found


def push_forward(generator: Generator, n: int = 100_000) -> dict[str, Any]:
    """Return the distance of w^2, w ~ N(0, 1), from chi-squared with 1 degree of freedom: by samples and by density."""
    from scipy.stats import chi2, kstest

    def normal(w: Tensor) -> Tensor:
        return torch.exp(-(w**2).sum(-1) / 2) / sqrt(2 * torch.pi)

    y = torch.linspace(0.01, 10, 1000, dtype=KIND).unsqueeze(-1)
    branches = [torch.sqrt, lambda v: -v.sqrt()]
    law: Any = chi2(1)
    truth = torch.from_numpy(law.pdf(y.squeeze(-1).numpy()))
    error = (push_forward_density(normal, branches, y) / truth - 1).abs().max()
    one = (push_forward_density(normal, branches[:1], y) / truth).mean()
    w = torch.randn(n, generator=generator, dtype=KIND)
    test: Any = kstest((w**2).numpy(), law.cdf)
    wrong: Any = kstest((w**2).numpy(), chi2(2).cdf)
    return {
        "samples": n,
        "ks_statistic": float(test.statistic),
        "ks_p_value": float(test.pvalue),
        "ks_statistic_against_2_degrees": float(wrong.statistic),
        "largest_relative_error_of_density": float(error),
        "share_of_density_from_one_branch": float(one),
    }


def discriminator(generator: Generator, points: int = 10) -> dict[str, Any]:
    """Return the value of the optimal discriminator of two random laws, three ways, and of two disjoint ones."""
    p, q = torch.rand(2, points, generator=generator, dtype=KIND)
    p, q = p / p.sum(), q / q.sum()
    logits = torch.zeros(points, dtype=KIND, requires_grad=True)
    ascent = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15)

    def loss() -> Tensor:
        ascent.zero_grad()
        value = -discriminator_value(p, q, logits.sigmoid())
        value.backward()
        return value

    ascent.step(loss)
    half = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]], dtype=KIND)
    best = optimal_discriminator(p, q)
    return {
        "numerical_maximum": -float(loss().detach()),
        "at_p_over_p_plus_q": float(discriminator_value(p, q, best)),
        "2_jsd_minus_log_4": float(2 * jensen_shannon(p, q) - log(4)),
        "largest_error_of_maximizer": float((logits.detach().sigmoid() - best).abs().max()),
        "jsd_disjoint_minus_log_2": float(jensen_shannon(*half) - log(2)),
        "symmetrized_kl_disjoint": str(float(kullback_leibler(*half) + kullback_leibler(*half.flip(0)))),
    }


def report(numbers: dict[str, Any]) -> None:
    """Print the slopes."""
    for name, row in numbers["rates"].items():
        for key in ("slope", "slope_over_sqrt_log"):
            if key in row:
                value, low, high = row[key].values()
                print(f"{name:9}  {key:20} {value:+.4f}  [{low:+.4f}, {high:+.4f}]  theorem {row['expected']:+.4f}")


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
