r"""
Noise leaves a strict saddle, after a time that grows like log(1 / noise)
=========================================================================
*Slide: "Recall SGD results from Lecture 9" (45): SGD avoids strict saddles*

At a *strict saddle*, or trap, the Hessian has an eigenvalue :math:`-\lambda < 0`. Gradient descent
started on its stable manifold converges to it; noise, however small, leaves almost surely (Pemantle
1990; Mertikopoulos et al. 2020 for SGD). Near the saddle the unstable coordinate is linear,
:math:`u_{k+1} = (1 + \gamma \lambda) u_k + \gamma \sigma \zeta_k`, so its typical size is σ times a
power of :math:`1 + \gamma \lambda`, and a fixed distance is reached after

.. math:: T(\sigma) \approx \log(1 / \sigma) / \log(1 + \gamma \lambda) + \text{const}.

In games this is of less use: what attracts need not be a point (:doc:`/explain/dynamics`).
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import robustgames as rg


class TwoWells(rg.ZeroSumGame):
    """f(u, v) = (u² - 1)² / 4 + v² / 2: a trap at (0, 0) with Hessian diag(-1, 1)."""

    sizes = (2, 0)

    def payoff(self, x, y, sample=None):
        return (x[..., 0] ** 2 - 1) ** 2 / 4 + x[..., 1] ** 2 / 2


game, lr, sgd = TwoWells().to(dtype=torch.float64), 0.1, rg.make_solver("gda", lr=0.1)
start = torch.tensor([0.0, 1.5]).double().expand(500, 2)  # on the stable manifold u = 0
still, sigmas = rg.trajectory(sgd, game, start[0], 400), 10.0 ** -np.arange(1, 9)
paths = [rg.trajectory(sgd, rg.Noisy(game, s), start, 400, seed=i) for i, s in enumerate(sigmas)]

# %%
# Each decade of noise costs the same number of steps, log(10) / log(1 + γλ) = 24.2.
wait = [float((path[..., 0].abs() > 0.5).double().argmax(0).double().mean()) for path in paths]
slope, offset = np.polyfit(np.log(1 / sigmas), wait, 1)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for color, i in zip(("C5", "C0", "C2"), (0, 3, 7), strict=True):
    left.plot(paths[i][:, :12, 0], color=color, lw=0.9)
    left.plot([], [], color=color, label=f"σ = {sigmas[i]:g}")
left.plot(still[:, 0], color="black", lw=2, label="no noise: it stays")
left.set(xlabel="step k", ylabel="unstable coordinate u", title="SGD from (0, 1.5), γ = 0.1")
left.legend(frameon=False, loc="center right")
right.semilogx(sigmas, wait, "o", label="mean of 500 runs")
right.semilogx(sigmas, offset - slope * np.log(sigmas), label=f"slope {slope:.2f} (natural log)")
right.set(xlabel="noise σ", ylabel="steps until |u| > 0.5", title="Escape time of the trap")
right.legend(frameon=False)

# %%
# **Certificate.** Every noisy run leaves, to either side equally often; the slope is 1/log(1 + γλ).
right_side = float(torch.stack([path[-1, :, 0] > 0 for path in paths]).double().mean())
print(f"slope {slope:.3f}, theory {1 / np.log(1.1):.3f}; share to the right {right_side:.3f}")
assert all(bool((path[-1, :, 0].abs() > 0.5).all()) for path in paths)
assert abs(slope * np.log(1 + lr) - 1) < 0.02 and abs(right_side - 0.5) < 3 * 0.5 / 4000**0.5
assert bool((still[:, 0] == 0).all()) and float(still[-1].norm()) < 1e-15  # no noise: trapped
