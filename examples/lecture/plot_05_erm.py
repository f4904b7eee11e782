r"""
From empirical risk to three losses
===================================

*Slide: "From empirical risk minimization..." (5)*

Without an opponent, a classifier :math:`h_x` minimizes the empirical risk :math:`R_n(x) = \frac1n
\sum_i L(h_x(a_i), b_i)` over labels :math:`b_i = \pm 1`. Three losses are common; all depend on the
margin :math:`m = b\,h_x(a)` only: logistic :math:`\log(1 + e^{-m})`, squared :math:`(1 - m)^2`
(since :math:`b^2 = 1`) and hinge :math:`\max(0, 1 - m)`. In the package this is the game
:class:`robustgames.games.AdversarialClassification` with an attacker of radius 0.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import linprog, minimize
from torch.nn.functional import relu, softplus

import robustgames as rg

torch.manual_seed(0)
centers = [[0.25, 0.3]] * 60 + [[0.35, 0.5]] * 40 + [[0.85, 0.9]] * 20  # the third is far away
a = (torch.tensor(centers) + 0.08 * torch.randn(120, 2)).clamp(0, 1)
b = torch.tensor([0] * 60 + [1] * 60)  # classes 0 and 1 are b = -1 and +1

# %%
# One solver minimizes all three risks of the linear model. Nobody attacks: a step costs one call.
x, risk = {}, {}
solver = rg.make_solver("standard_training", lr=0.5, horizon=1500)
for loss in ("logistic", "squared", "hinge"):
    game = rg.games.AdversarialClassification(a, b, rg.MLP((2, 1)), 0.0, None, loss=loss)
    z = rg.trajectory(solver, game, torch.zeros(sum(game.sizes)), steps=1500)[-1]
    x[loss], risk[loss] = game.split(z)[0], float(game.metrics(z, game.everything(()))["loss"])

m = torch.linspace(-2.5, 5, 200)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for loss, curve in zip(x, (softplus(-m), (1 - m) ** 2, relu(1 - m)), strict=True):
    left.plot(m, curve, label=loss, lw=2)
left.plot(m, m < 0, "k:", label="error (0 or 1)")
left.set(xlabel="margin $m = b\\,h_x(a)$", ylabel="$L$", ylim=(0, 6), title="Three losses")
right.scatter(*a.T, c=["C3" if label else "C4" for label in b], s=16)
for i, (loss, (u, v, w)) in enumerate(x.items()):
    errors = int(((a @ x[loss][:2] + w > 0) != b).sum())
    right.plot(m, -(u * m + w) / v, f"C{i}", lw=2, label=f"{loss}: {errors} of 120 wrong")
right.set(xlim=(0, 1), ylim=(0, 1), xlabel="$a_1$", ylabel="$a_2$")
right.set_title("Adam, 1,500 steps: far points tilt the squared loss")
_ = left.legend(loc="upper center"), right.legend(loc="upper left")

# %%
# **Certificate.** Each risk is the least one, found by BFGS, a linear system and a linear program.
rows, sign = np.c_[a, np.ones(120)].astype(float), 2.0 * b.numpy() - 1
best = {"logistic": minimize(lambda x: np.logaddexp(0, -sign * (rows @ x)).mean(), np.zeros(3)).fun}
best["squared"] = np.linalg.lstsq(rows, sign)[1].item() / 120
t, bounds = np.c_[-sign[:, None] * rows, -np.eye(120)], [(None, None)] * 3 + [(0, None)] * 120
best["hinge"] = linprog([0] * 3 + [1 / 120] * 120, t, -np.ones(120), bounds=bounds).fun
for loss in x:
    print(f"{loss}: risk {risk[loss]:.5f}, least possible {best[loss]:.5f}")
    assert best[loss] - 1e-5 < risk[loss] < best[loss] + 1e-3
