r"""
Earth movers: a transport map, and the plan behind it
=====================================================
*Slide: "A notion of distance between distributions" (25)*

Monge's problem: among all maps with :math:`T(X) \sim Y`, find one of least cost

.. math:: \mathrm{cost}(T) = \mathbf{E}_X \|X - T(X)\|. \tag{1}

A map sends every point to *one* place. Kantorovich's plan :math:`P \ge 0` may split a point: the
rows of P sum to :math:`1/N`, its columns to :math:`1/M`, and it minimizes :math:`\langle P, C
\rangle` with :math:`C_{ij} = \|a_i - b_j\|`. If both samples have N points, some optimal plan is a
permutation over N (Birkhoff, von Neumann): splitting gains nothing, and the plan *is* a map. If
the sizes do not divide each other, no map exists, but a plan always does.
"""

import matplotlib.pyplot as plt
import torch
from scipy.optimize import linear_sum_assignment

from robustgames.evaluation.transport import kantorovich_rubinstein, wasserstein
from robustgames.games.densities import GaussianMixture

generator = torch.Generator().manual_seed(0)
a = torch.randn(48, 2, generator=generator, dtype=torch.float64) / 2  # earth: a heap in the middle
b = GaussianMixture.ring(6, 2.0, 0.15).sample((48,), generator, torch.float64)  # 48 holes around it
holes = GaussianMixture.ring(5, 2.0).means.double()  # five large holes: 48 / 5 is not whole
one, many = kantorovich_rubinstein(a, b), kantorovich_rubinstein(a, holes)
target = torch.from_numpy(linear_sum_assignment(torch.cdist(a, b))[1])  # Monge: a permutation

# %%
# Left: the map, one arrow per point. Middle: its plan, one cell in every row and column. Right: a
# plan that no map can follow, as some points (orange) are divided between two holes.
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
for axes, to, plan in ((left, b, one.plan), (right, holes, many.plan)):
    for i, j in (plan > 1e-9).nonzero().tolist():
        color, width = ("C5", 2.0) if plan[i, j] < 0.999 / 48 else ("0.6", 0.9)
        arrow = {"arrowstyle": "->", "color": color, "lw": width, "shrinkA": 0, "shrinkB": 2}
        axes.annotate("", to[j].tolist(), a[i].tolist(), arrowprops=arrow)
    axes.plot(*a.T, "C0o", ms=6, label="earth, $a_i$")
    axes.plot(*to.T, "C1s", ms=6 if len(to) == 48 else 14, label="holes, $b_j$")
    axes.set(aspect="equal", xlim=(-2.8, 2.8), ylim=(-2.8, 2.8), xticks=[], yticks=[])
    axes.legend(loc="upper left", ncols=2, markerscale=0.6)
left.set_title(f"Monge's map, cost {one.primal:.3f}")
right.set_title(f"a plan without a map, cost {many.primal:.3f}")
middle.pcolormesh(48 * one.plan[:, target.sort().indices], cmap="Blues", edgecolors="none")
middle.set(aspect="equal", xlabel="hole j", ylabel="point i", title="48 P: a permutation")
middle.grid(False)

# %%
# **Certificate.** Kantorovich's plan costs what Monge's best permutation costs, and *is* it.
cost = (a - b[target]).norm(dim=-1).mean()
print(f"map {cost:.12f}, plan {one.primal:.12f}, network simplex {wasserstein(a, b):.12f}")
assert abs(cost - one.primal) < 1e-12 and abs(wasserstein(a, b) - cost) < 1e-12
assert torch.equal(one.plan.argmax(-1), target) and ((one.plan > 1e-9).sum(-1) == 1).all()
divided = int(((many.plan > 1e-9).sum(-1) > 1).sum())
print(f"{divided} of 48 points are divided among five holes")
assert 1 <= divided <= 4 and torch.allclose(many.plan.sum(0), torch.full((5,), 0.2).double())
