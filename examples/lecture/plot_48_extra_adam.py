r"""
ExtraAdam: look ahead, then step
================================
*Slide: "ExtraAdam for GANs" (48)*

ExtraAdam (Gidel et al. 2019) is extragradient whose half steps are Adam steps with *shared*
moments. From :math:`g = V(z_t)` Adam looks ahead to :math:`z_{t+1/2}`; from
:math:`g' = V(z_{t+1/2})` the same moments step from :math:`z_t`, not from the look-ahead:

.. math:: z_{t+1} = z_t + \gamma \, \hat m / (\sqrt{\hat v} + \epsilon).

Two corrections of the slide (:doc:`/explain/corrections`): with the ascent field V the sign is
plus, and the moments are updated twice in iteration t, so the bias corrections have the exponents
2t - 1 and 2t. In the package it is :class:`robustgames.solvers.Extragradient` of one rule, Adam.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.games import Bilinear, DiracGAN

names = ("gda", "adam", "extragradient", "extra_adam")
solvers = {name: rg.make_solver(name, lr=0.05) for name in names}
solvers["extra_adam, annealed"] = rg.make_solver("extra_adam", lr=0.05, anneal=1200)
print(solvers["extra_adam"])

# %%
# Equal oracle calls: the extragradient methods pay two per step and get half of the steps.
games = {"bilinear, Φ = xy": Bilinear(), "DiracGAN without penalty": DiracGAN()}
figure, panels = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
start, calls, end = torch.tensor([1.0, 1.0]).double(), 1200, {}
for (plane, distance), (title, game) in zip(panels, games.items(), strict=True):
    for color, (name, solver) in zip(("C1", "C3", "C2", "C0", "C5"), solvers.items(), strict=True):
        price = 2 if name.startswith("extra") else 1
        path = rg.trajectory(solver, game, start, calls // price)
        plane.plot(*path.T, color=color, lw=0.9)
        distance.semilogy(range(0, calls + 1, price), path.norm(dim=-1), color=color, label=name)
        end[title, name] = float(path[-1].norm())
    plane.plot(0, 0, "k*", ms=11)
    plane.set(xlabel="x", ylabel="y", aspect="equal", xlim=(-3, 3), ylim=(-3, 3), title=title)
    distance.set(xlabel="oracle calls", ylabel="distance from the saddle", ylim=(5e-3, 20))
    distance.set_title("learning rate 0.05, 1,200 oracle calls")
panels[0, 1].legend(frameon=False, loc="lower left")

# %%
# **Certificate.** The first two iterates at γ = 0.1; exponents (k, k) would give other ones. With a
# constant rate ExtraAdam settles at about 4 γ, not at the saddle; with a falling one it converges.
path = rg.trajectory(rg.make_solver("extra_adam", lr=0.1), Bilinear(), start, 2)
print(path.tolist(), {name: round(value, 4) for (_, name), value in end.items()})
golden = torch.tensor([[0.89878048, 1.09838197], [0.79555297, 1.19365343]]).double()
assert (path[1:] - golden).abs().max() < 1e-7 and (path[1, 0] - 0.88985146).abs() > 8e-3
for title in games:
    assert end[title, "gda"] > 2**0.5 > end[title, "extragradient"] and end[title, "adam"] > 5
    assert 0.19 < end[title, "extra_adam"] < 0.21 and end[title, "extra_adam, annealed"] < 0.02
