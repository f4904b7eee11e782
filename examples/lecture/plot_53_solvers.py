r"""
Five solvers on six toy games, at equal cost
============================================
*Slide: "Wrap up!" (53): the solvers of the lecture in one picture*

All start at distance 1 from the critical point, with the learning rate 0.1, and may call the oracle
1,000 times: extragradient takes two calls per step, as alternating play does (one per player).
Every solver is one line of :func:`robustgames.make_solver`. None of them wins everywhere:

* GDA leaves what rotates (bilinear), alternating play circles it, looking ahead spirals in; a
  penalty (DiracGAN) helps everyone but Adam. At a constant rate Adam and ExtraAdam stay away.
* Both Forsaken games end all solvers on the cycle. In the almost bilinear game γ = ε = 0.1, where
  extragradient has nearly lost the cycle (:ref:`sphx_glr_lecture_plot_47_lost_cycle.py`).
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import robustgames as rg
from robustgames.games import AlmostBilinear, Bilinear, DiracGAN, Forsaken, Quadratic

names = ("gda", "alt_gda", "extragradient", "adam", "extra_adam")
solvers = [rg.make_solver(name, lr=0.1) for name in names]
games = {"x² - y²": Quadratic(), "bilinear": Bilinear()}
games |= {"DiracGAN, r1 = 0.3": DiracGAN(r1=0.3), "almost bilinear": AlmostBilinear(0.1)}
games |= {"Forsaken, c = 0.1": Forsaken(0.1), "Forsaken, c = 0.45": Forsaken(0.45)}
distance, cycling = np.zeros((5, 6)), np.zeros((5, 6), bool)
for j, game in enumerate(games.values()):
    star = game.to(dtype=torch.float64).solution()
    for i, solver in enumerate(solvers):
        steps = 1000 // solver.tally().calls
        path = rg.trajectory(solver, game, star + torch.tensor([0.8, 0.6], dtype=star.dtype), steps)
        distance[i, j] = (path[-1] - star).norm()
        cycling[i, j] = rg.diagnostics.limit_cycle(path, 0.1, star, tol=0.05) is not None

figure, axes = plt.subplots(figsize=(10, 4.4), layout="constrained")
logs = np.log10(distance.clip(1e-6))
shown = axes.imshow(logs, cmap="RdBu_r", vmin=-4, vmax=4, aspect="auto")
for (i, j), value in np.ndenumerate(distance):
    text = (f"{value:.2g}" if value > 1e-6 else "< 1e-6") + "\ncycles" * int(cycling[i, j])
    color = "white" if abs(logs[i, j]) > 2 else "black"
    axes.text(j, i, text, ha="center", va="center", color=color)
axes.set_xticks(range(6), [name.replace(", ", "\n") for name in games])
axes.set_yticks(range(5), names)
axes.set_title("Last distance from the critical point, lr = 0.1, 1,000 oracle calls")
figure.colorbar(shown, label="log10 of the distance")

# %%
# **Certificate.** The bilinear column in closed form: factors (1 + γ²)^½ and (1 - γ² + γ⁴)^½ of GDA
# and extragradient, and x² + y² - γxy, which alternating play preserves: here 1 - 0.1 · 0.48.
gda, alternating, extragradient, *_ = distance[:, 1]
print(f"bilinear: {gda:.6f}, {alternating:.6f}, {extragradient:.8f}")
assert abs(gda / 1.01**500 - 1) < 1e-9 and abs(extragradient / 0.9901**250 - 1) < 1e-9
assert 0.952 / 1.05 <= alternating**2 <= 0.952 / 0.95
assert (distance[:, 4:] > 0.9).all() and cycling[:, 4:].all()  # both Forsaken games, all solvers
