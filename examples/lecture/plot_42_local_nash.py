r"""
A local Nash point, and two critical points that only look like one
===================================================================
*Slide: "Solution concept" (42)*

:math:`(x^*, y^*)` is a **local Nash point** if neither player gains by a small move of its own:

.. math:: \Phi(x^*, y) \le \Phi(x^*, y^*) \le \Phi(x, y^*) \quad \text{near } (x^*, y^*).

Necessary are :math:`V = (-\nabla_x \Phi, \nabla_y \Phi) = 0` and :math:`\Phi_{xx} \succeq 0 \succeq
\Phi_{yy}`; with strict inequalities they suffice. Two slices decide: a valley along x, a ridge
along y. :func:`robustgames.diagnostics.local_nash` gives the verdict (None: it is undecided).
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.games import Quadratic


class Cubic(rg.ZeroSumGame):
    """Φ(x, y) = x³ - y²: the necessary conditions hold at 0, but x gains by going left."""

    sizes = (1, 1)

    def payoff(self, x, y, sample=None):
        return (x**3 - y**2).squeeze(-1)


y_gains = Quadratic(convex=2.0, concave=-1.0, coupling=2.0)
games = {"x² - y²": Quadratic(), "x² + 2xy + ½y²": y_gains, "x³ - y²": Cubic()}
verdicts = {name: rg.diagnostics.local_nash(game, torch.zeros(2)) for name, game in games.items()}
for name, verdict in verdicts.items():
    print(f"Φ = {name}: {verdict}")

# %%
# The slices Φ(x, 0) of the minimizer (blue) and Φ(0, y) of the maximizer (orange) on the surfaces.
figure, panels = plt.subplots(1, 3, figsize=(11, 4), subplot_kw={"projection": "3d"})
line = torch.linspace(-1, 1, 41).unsqueeze(-1)
zero, plane = torch.zeros_like(line), torch.meshgrid(line[:, 0], line[:, 0], indexing="ij")
for axes, (name, game) in zip(panels, games.items(), strict=True):
    height = game.payoff(*(u.unsqueeze(-1) for u in plane), None)
    axes.plot_surface(*plane, height, cmap="Greys", alpha=0.45, lw=0)
    axes.plot(line[:, 0], zero[:, 0], game.payoff(line, zero, None), "C0", lw=3, zorder=5)
    axes.plot(zero[:, 0], line[:, 0], game.payoff(zero, line, None), "C1", lw=3, zorder=5)
    axes.set(xlabel="x (min)", ylabel="y (max)", zticks=[])
    axes.set_title(f"Φ = {name}\nlocal Nash point at 0: {verdicts[name].is_nash}")

# %%
# **Certificate.** The definition itself, on a fine neighborhood, agrees with the verdicts.
near = torch.linspace(-1e-2, 1e-2, 201, dtype=torch.float64).unsqueeze(-1)
for (name, game), expected in zip(games.items(), (True, False, None), strict=True):
    zero = torch.zeros_like(near)
    valley = bool((game.payoff(near, zero, None) >= 0).all())
    ridge = bool((game.payoff(zero, near, None) <= 0).all())
    print(f"Φ = {name}: valley in x {valley}, ridge in y {ridge}")
    assert verdicts[name].is_critical and verdicts[name].is_nash is expected
    assert (valley and ridge) == (name == "x² - y²")
assert verdicts["x² + 2xy + ½y²"].is_stable  # the flow stops at a point that y wants to leave
