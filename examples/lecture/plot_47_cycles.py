r"""
Extragradient cycles: almost bilinear and Forsaken
==================================================
*Slide: "A deterministic, simple example beyond convex-concave" (47)*

Extragradient, :math:`z_{k+1} = z_k + \gamma V(z_k + \gamma V(z_k))`, solves every convex-concave
game. Two games of one number per player, without noise, show what it does beyond them:

.. math:: xy + \varepsilon (y^2/2 - y^4/4) \qquad \text{and} \qquad x (y - c) + \varphi(x) -
   \varphi(y), \quad \varphi(u) = u^2/4 - u^4/2 + u^6/6.

The first is the Van der Pol oscillator (:math:`u = \sqrt 3 y`): one critical point, repelling, and
a stable cycle. *Forsaken* has a critical point that attracts, shielded by an unstable cycle
(dashed). Outside it, all runs end on the outer cycle. The lecture prints c = 0.1, where the point
is a local Nash point; later papers use 0.45, where it is not (:doc:`/explain/corrections`).
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import robustgames as rg
from robustgames.games import AlmostBilinear, Forsaken

games = {"almost bilinear, ε = 0.1": AlmostBilinear(0.1)}
games |= {f"Forsaken, c = {c}": Forsaken(c) for c in (0.1, 0.45)}
solver, starts = rg.make_solver("extragradient", lr=0.02), [[0.1, 0.0], [1.0, 1.2], [0.8, 0.7]]
figure, panels = plt.subplots(1, 3, figsize=(12, 4.3), layout="constrained", sharey=True)
grid, cycles, found = np.meshgrid(*[np.linspace(-1.75, 1.75, 41)] * 2), {}, {}
for axes, (name, game) in zip(panels, games.items(), strict=True):
    game = game.to(dtype=torch.float64)
    star, field = game.solution(), game.field(torch.tensor(np.stack(grid, -1))).movedim(-1, 0)
    axes.streamplot(*grid, *field.numpy(), color="#C3C9D2", linewidth=0.6, density=0.9)
    for style, r, dt in (("-", 1.1, 0.08), ("--", 0.15, -0.08)):  # backwards, unstable ones attract
        flow = rg.diagnostics.flow(game, star + torch.tensor([r, 0.0]), 90, dt)
        if (cycle := rg.diagnostics.limit_cycle(flow, 0.08, star)) is not None:
            axes.plot(*cycle.points.T, "k", ls=style, lw=1.5)
            cycles[name, dt > 0] = cycle.period
    path = rg.trajectory(solver, game, star + torch.tensor(starts), 4000)
    for i in range(3):
        axes.plot(*path[:, i].T, f"C{(5, 2, 0)[i]}", lw=0.7)
        axes.plot(*path[0, i], f"C{(5, 2, 0)[i]}o", mfc="white")
    found[name] = rg.diagnostics.limit_cycle(path[:, -1], 0.02, star)
    axes.plot(*star, "k*", ms=11)
    axes.set(xlabel="x (minimizer)", title=name, aspect="equal", xlim=(-1.75, 1.75))
panels[0].set_ylabel("y (maximizer)")
figure.suptitle("Extragradient, γ = 0.02, over the flow; black: cycles of the flow")

# %%
# **Certificate.** Periods of the stable cycles against those of an independent integrator of order
# 8 (SciPy's DOP853 at tolerance 1e-12), and the periods of extragradient at γ = 0.02.
for name, exact in zip(games, (6.287111, 6.990372, 7.548004), strict=True):
    print(f"{name}: flow {cycles[name, True]:.6f}, exact {exact}; {found[name]}")
    assert abs(cycles[name, True] - exact) < 2e-3 and abs(found[name].period - exact) < 0.05
assert len(cycles) == 5  # both Forsaken games have an unstable cycle, almost bilinear has none
