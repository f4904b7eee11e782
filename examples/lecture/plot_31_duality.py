r"""
Duality: the earth mover's bill, paid by a critic
=================================================
*Slide: "Duality of 1-Wasserstein" (31)*

To train on :math:`W_1(\hat\mu_n, h_x \# p_\Omega)` one needs its gradient in x. The
Kantorovich-Rubinstein theorem turns the minimum over plans into a maximum over functions,

.. math:: W_1(\mu, \nu) = \sup_d \big\{ \mathbf{E}_{a \sim \mu} [d(a)]
          - \mathbf{E}_{a \sim \nu} [d(a)] : d \text{ is 1-Lipschitz} \big\}. \tag{8}

The best d is a landscape of slope 1 with the mass of :math:`\mu` on its hills and that of
:math:`\nu` in its valleys: every unit of earth rolls straight down. By Danskin's theorem the
generator's gradient is that of d at its samples (:doc:`/explain/danskin`).
"""

import matplotlib.pyplot as plt
import torch

from robustgames.evaluation import transport
from robustgames.games.densities import GaussianMixture

generator = torch.Generator().manual_seed(0)
a = GaussianMixture.ring(3, 2.0, 0.3).sample((40,), generator, torch.float64)  # three real modes
b = torch.randn(50, 2, generator=generator, dtype=torch.float64) / 2  # a generator in the middle
both = transport.kantorovich_rubinstein(a, b)  # two linear programs

# %%
# Level sets of the optimal critic d, and the optimal plan on top: its lines run down the slope.
side = torch.linspace(-3, 3, 201, dtype=torch.float64)
plane = torch.cartesian_prod(side, side)
figure, axes = plt.subplots(figsize=(7.4, 5.4), layout="constrained")
filled = axes.contourf(side, side, both.critic(plane).view(201, 201).T, 24, cmap="Blues", alpha=0.8)
figure.colorbar(filled, label="critic d(a)")
for i, j in (both.plan > 1e-9).nonzero().tolist():
    axes.plot(*torch.stack([a[i], b[j]]).T, "0.35", lw=80 * float(both.plan[i, j]), alpha=0.7)
axes.plot(*a.T, "C5o", ms=6, label="real, $\\mu$")
axes.plot(*b.T, "C1s", ms=6, label="generated, $\\nu$")
axes.set(aspect="equal", title=f"$W_1$ = {both.primal:.4f} by the plan and by the critic")
axes.legend(loc="upper left")
axes.grid(False)

# %%
# **Certificate.** Primal = dual = the critic's estimate; the critic's slope is 1; no other
# 1-Lipschitz function does better, such as a linear one in any of 360 directions.
estimate = transport.dual_estimate(both.critic(a), both.critic(b))
slope = transport.lipschitz_constant(both.critic, plane)["lipschitz"]
print(f"primal {both.primal:.14f}\ndual   {both.dual:.14f}\ncritic {estimate:.14f}")
assert max(abs(both.primal - v) for v in (both.dual, estimate, transport.wasserstein(a, b))) < 1e-12
assert abs(slope - 1) < 1e-9
turn = torch.arange(360, dtype=torch.float64) * torch.pi / 180
linear = transport.dual_estimate(*(torch.stack([turn.cos(), turn.sin()], -1) @ u.T for u in (a, b)))
print(f"slope {slope:.9f}; best linear critic {linear.max():.4f}")
assert linear.max() < 0.5 * both.primal
drop = both.critic(a).unsqueeze(-1) - both.critic(b)  # by the full distance along every line
assert (drop - torch.cdist(a, b))[both.plan > 1e-9].abs().max() < 1e-9
