r"""
SGD on a nonconvex function: where it ends, and how fast
========================================================
*Slide: "Recall SGD results from Lecture 9" (43)*

Minimization is a game whose second player has nothing to play. Let f be smooth and
:math:`x_{k+1} = x_k - \alpha_k (\nabla f(x_k) + \sigma \zeta_k)`, with steps of infinite sum and
finite sum of squares. Iterates that stay bounded converge to critical points almost surely. At a
*Hurwicz* minimizer (Hessian eigenvalues :math:`\lambda > 0`) they stay, and their error is normal
in the limit. For :math:`\alpha_k = a / k^p, 1/2 < p < 1` (Chung 1954; Fabian 1968):

.. math:: \operatorname{Var}(x_k) / \alpha_k \to \sigma^2 / (2 \lambda).
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.solvers import InversePower


class TwoWells(rg.ZeroSumGame):
    """f(u, v) = (u² - 1)² / 4 + v² / 2: minimizers (±1, 0), a strict saddle at (0, 0)."""

    sizes = (2, 0)

    def payoff(self, x, y, sample=None):
        return (x[..., 0] ** 2 - 1) ** 2 / 4 + x[..., 1] ** 2 / 2


game, rate, sigma = TwoWells().to(dtype=torch.float64), InversePower(0.5, power=0.6), 0.5
start = torch.tensor([0.3, 1.5]).double().expand(1000, 2)
sgd = rg.make_solver("gda", lr=rate)
path = rg.trajectory(sgd, rg.Noisy(game, std=sigma), start, 4000)  # (4001, 1000 runs, 2)

# %%
# The Hessian at (±1, 0) has the eigenvalues 2 and 1.
well = torch.stack([path[-1, :, 0].sign(), torch.zeros(1000)], -1)
steps, error = range(1, 4001), path[1:] - well
mean_square, alpha = error.square().mean(1), torch.tensor([rate(k) for k in steps])
predicted = sigma**2 / (2 * torch.tensor([2.0, 1.0]))

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
grid = torch.meshgrid(torch.linspace(-1.9, 1.9, 81), torch.linspace(-1.5, 1.9, 81), indexing="xy")
left.contour(*grid, game.payoff(torch.stack(grid, -1), None), 25, cmap="Greys", alpha=0.6)
left.plot(*path[:, :6].movedim(-1, 0), lw=0.9)
left.plot([-1, 1], [0, 0], "k*", ms=12, ls="")
left.set(xlabel="u", ylabel="v", title="6 runs of SGD, steps 0.5 / k^0.6, σ = 0.5")
for i, name in enumerate("uv"):
    right.loglog(steps, mean_square[:, i], f"C{i}", label=f"mean of ({name} - {name}*)²")
    right.loglog(steps, predicted[i] * alpha, "k--", lw=1, label="σ² α / 2λ" if i else None)
right.set(xlabel="step k", ylabel="mean squared error of 1000 runs", title="Near a Hurwicz point")
right.legend(frameon=False)

# %%
# **Certificate.** All runs end at a minimizer, with the variance that the Hessian predicts.
measured = mean_square[-1] / alpha[-1]
print(f"Var / α: {measured.tolist()}, predicted {predicted.tolist()}")
assert float(error[-1].abs().max()) < 0.2 and set(well[:, 0].tolist()) == {-1.0, 1.0}
assert ((measured / predicted - 1).abs() < 3 * (2 / 1000) ** 0.5).all()
