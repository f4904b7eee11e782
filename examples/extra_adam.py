"""ExtraAdam against gradient descent ascent on Φ(x, y) = x y: a look-ahead tames the spiral.

`python examples/extra_adam.py` prints a table and writes extra_adam.png.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.figures.style import PALETTE, quiet, save
from robustgames.games import Bilinear

CALLS = 1_000
solvers = {
    "GDA": rg.make_solver("gda", lr=0.05),
    "Adam": rg.make_solver("adam", None, CALLS, lr=0.05, betas=(0.0, 0.9)),  # annealed
    "extragradient": rg.make_solver("extragradient", lr=0.1),
    "ExtraAdam": rg.make_solver("extra_adam", None, CALLS, lr=0.1, betas=(0.0, 0.9)),
}
figure, (plane, rate) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
distance = {}
for color, (name, solver) in zip(PALETTE, solvers.items(), strict=False):
    cost = solver.tally().calls  # oracle calls of a step: a look-ahead pays two
    path = rg.trajectory(solver, Bilinear(), torch.ones(2).double(), CALLS // cost)
    norm = path.norm(dim=-1)
    distance[name] = norm[-1].item()
    plane.plot(*path.T, color=color, lw=1)
    rate.semilogy(cost * torch.arange(len(path)), norm, color=color, label=name)
    print(f"{name:20} |z| = {distance[name]:.1e} after {CALLS:,} oracle calls")
plane.plot(0, 0, "k*", ms=10)
plane.set(
    xlim=(-3, 3),
    ylim=(-3, 3),
    aspect="equal",
    xlabel="x",
    ylabel="y",
    title="Φ(x, y) = x y, from (1, 1)",
)
rate.set(
    xlabel="oracle calls",
    ylabel="distance to the saddle |z|",
    title="one call = one gradient of both players",
)
rate.legend(frameon=False)
quiet(plane), quiet(rate)
save(figure, "extra_adam.png")

assert distance["GDA"] > 1.4 > 0.2 > distance["extragradient"]
assert distance["ExtraAdam"] < 1e-3
