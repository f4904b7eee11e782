r"""
Which starts end where
======================

A solver on a nonconvex game has several possible ends: good points, bad points, cycles.
:func:`robustgames.solvers.diagnostics.basins` runs it from many starts at once and groups the runs
by where they are over the last steps. The figure colors each start by its end.

On *Forsaken* with c = 0.1 extragradient reaches the critical point only from the region inside the
unstable cycle of the flow; all other runs end on the stable cycle. The step decides as well: at
γ = 0.4, with projections on a square, the cycle is gone. On *RidgeBox* the critical point 0 is a
local minimax point, but not a local Nash point: the flow leaves it, and runs end in two corners.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.figures import draw_basins
from robustgames.games import Forsaken, RidgeBox
from robustgames.solvers.diagnostics import basins, closed_orbit, flow, limit_cycle, local_minimax

game = Forsaken(0.1).to(dtype=torch.float64)
game.sets = (rg.Box(-1.5, 1.5), rg.Box(-1.5, 1.5))
line = torch.linspace(-1.4, 1.4, 41, dtype=torch.float64)
starts = torch.cartesian_prod(line, line)

# %%
# Three panels: two learning rates on Forsaken, one on RidgeBox.
figure, panels = plt.subplots(1, 3, figsize=(12, 4.8), layout="constrained")
found = {}
for axes, lr in zip(panels, (0.05, 0.4), strict=False):
    found[lr] = basins(game, rg.make_solver("extragradient", lr=lr), starts, 1500, window=300)
    draw_basins(axes, found[lr], f"Forsaken, c = 0.1, γ = {lr}")
ridge = RidgeBox()
corners = basins(ridge, rg.make_solver("extragradient", lr=0.05), starts / 1.4, 800, window=200)
draw_basins(panels[2], corners, "RidgeBox, γ = 0.05")
plt.show()
print(found[0.05], found[0.4], corners, sep="\n")

# %%
# **Certificate.** The border on the left is the unstable cycle of the flow, which Floquet
# multipliers classify: they are the growth of a small distance from the cycle over one turn.
star = game.solution()
for r, dt, stable in ((1.2, 0.05, True), (0.5, -0.05, False)):
    path = flow(game, star + torch.tensor([r, 0.0]), 60, dt)
    orbit = closed_orbit(game, limit_cycle(path, 0.05, star), steps=200)
    print(orbit)
    assert orbit.is_isolated and orbit.is_stable is stable
distance = (orbit.start - star).norm()
inside = (starts - star).norm(dim=-1) < 0.53  # the least distance of that cycle
assert (found[0.05].ends[inside] - star).norm(dim=-1).max() < 1e-3
assert abs(found[0.05].share(0) - 0.85) < 0.02 and found[0.4].share(0) == 1

# %%
# The verdict at 0 on RidgeBox: y's best answer turns x's loss into a bowl.
verdict = local_minimax(ridge, torch.zeros(2))
print(verdict)
assert verdict.is_minimax and len(corners.names) == 2
