r"""
The proximal operator of a ball is its projection
=================================================

*Slide: "Adversarial examples and proximal gradient descent" (12)*

The attacker's constraint can be written into the objective, as the indicator :math:`\delta_N` of
the set :math:`N` of allowed perturbations: 0 inside, infinite outside. Its proximal operator

.. math:: \mathrm{prox}_{\lambda \delta_N}(p) = \arg\min_u \; \delta_N(u) + \frac{1}{2\lambda}
          \|u - p\|_2^2 = \arg\min_{u \in N} \|u - p\|_2

is the projection on :math:`N`, whatever :math:`\lambda`. In :math:`\ell_\infty` it clips. The
projections of the package, ``project`` of every :class:`robustgames.games.Set`, are exact.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg

double, generator = {"dtype": torch.float64}, torch.Generator().manual_seed(0)
low, high = torch.tensor([[-0.3, -1.0], [0.6, 0.45]], **double)
sets = {
    "$\\ell_\\infty$ ball": rg.linf_ball(1.0),
    "$\\ell_2$ ball": rg.L2Ball(1.0),
    "$\\ell_1$ ball": rg.L1Ball(1.0),
    "simplex": rg.Simplex(),
    "$\\ell_1$ ball and box": rg.games.L1BallInBox(1.0, low, high),
}
outside = 1.7 * rg.L2Ball(1.0).maximize(torch.randn(24, 2, generator=generator, **double))
edge = torch.linspace(-1.05, 1.05, 300, **double)
grid = torch.stack(torch.meshgrid(edge, edge, indexing="xy"), -1)
figure, axes = plt.subplots(1, 5, figsize=(13, 3.1), layout="constrained")
for panel, (name, s) in zip(axes, sets.items(), strict=True):
    nearest = s.project(outside)
    inside = (s.project(grid) - grid).norm(dim=-1) < 0.01
    panel.contourf(edge, edge, inside, levels=[0.5, 1.5], colors=["C4"], alpha=0.5)
    panel.plot(*torch.stack([outside, nearest]).unbind(-1), "C0-", lw=0.8)
    panel.plot(*outside.T, "C0o", ms=3)
    panel.plot(*nearest.T, "C1o", ms=4)
    panel.set(aspect="equal", title=name, xticks=[-1, 0, 1], yticks=[-1, 0, 1])

# %%
# **Certificate.** In 50 dimensions: a point :math:`\pi` of a convex set is the projection of
# :math:`p` if and only if :math:`\langle p - \pi, u - \pi \rangle \le 0` for all :math:`u` in the
# set. The largest value over the set is known from its linear maximizer, so this is a proof.
p = 3 * torch.randn(200, 50, generator=generator, **double)
low, high = -torch.rand(2, 50, generator=generator, **double) * torch.tensor([[1.0], [-1.0]])
sets["$\\ell_1$ ball and box"] = rg.games.L1BallInBox(1.0, low, high)
for name, s in sets.items():
    nearest = s.project(p)
    gap = ((p - nearest) * (s.maximize(p - nearest) - nearest)).sum(-1)
    print(f"{name.replace('$', '')}: largest <p - pi, u - pi> is {gap.max():.1e}")
    assert gap.max() < 1e-12 and torch.allclose(s.project(nearest), nearest)
both = (rg.L1Ball(1.0).project(p)).clamp(low, high)  # in turn: allowed, but farther away
excess = (both - p).norm(dim=-1) - (nearest - p).norm(dim=-1)
print(f"projecting on ball and box in turn ends up to {excess.max():.3f} farther away")
assert excess.min() > -1e-12 and excess.max() > 0.01
