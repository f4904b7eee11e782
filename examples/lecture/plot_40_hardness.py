r"""
What is not guaranteed: games without a local Nash point
========================================================
*Slide: "Abstract minmax formulation" and "A buffet of negative results" (40-41)*

Let :math:`\Phi` be nonconvex in x and nonconcave in y in :math:`\min_x \max_y \Phi(x, y)`.
Does an algorithm converge, and to what? A smooth function that grows at infinity has a minimizer; a
smooth game may have no local Nash point. For constraints that couple the players, Daskalakis,
Skoulakis and Zampetakis (2021) show that deciding whether an approximate min-max point exists is
NP-hard. Where the tolerance is so large that one must exist, finding it is PPAD-complete. What
remains is a verdict on the point that a solver returns: :func:`robustgames.diagnostics.local_nash`.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import robustgames as rg
from robustgames.games import Forsaken

# %%
# Forsaken, Φ = x (y - c) + φ(x) - φ(y). Its critical points have x = φ'(y) and y - c + φ'(x) = 0:
# y is a real root of one polynomial of degree 25.
game, slope = Forsaken(0.45).to(dtype=torch.float64), np.poly1d([1, 0, -2, 0, 0.5, 0])  # φ'
roots = (slope(slope) + np.poly1d([1, -0.45])).roots
real = roots[abs(roots.imag) < 1e-8].real
verdict = rg.diagnostics.local_nash(game, game.solution())
print(f"{len(real)} critical point: {verdict}")
# %%
# A critical point of a *random* game: Hessian blocks P and -Q from the Gaussian orthogonal ensemble
# and a Gaussian coupling A, 20,000 games for each dimension n of the players.
generator, shares = torch.Generator().manual_seed(0), []
for n in (1, 2, 3):
    P, Q, A = torch.randn(3, 20_000, n, n, generator=generator)
    P, Q = P + P.mT, Q + Q.mT
    DV = torch.cat([torch.cat([-P, -A], -1), torch.cat([A.mT, -Q], -1)], -2)
    nash = torch.minimum(torch.linalg.eigvalsh(P)[:, 0], torch.linalg.eigvalsh(Q)[:, 0]) > 0
    stable = torch.linalg.eigvals(DV).real.amax(-1) < 0
    shares.append([float(kind.double().mean()) for kind in (nash, stable)])
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
x, y = np.meshgrid(np.linspace(-1.5, 1.5, 301), np.linspace(-1.5, 1.5, 301))
allowed = (slope.deriv()(x) >= 0) & (slope.deriv()(y) >= 0)  # Φ_xx = φ''(x), Φ_yy = -φ''(y)
left.contourf(x, y, allowed, levels=[0.5, 1], colors=["C2"], alpha=0.35)
left.contour(x, y, y - 0.45 + slope(x), [0], colors="C0")
left.contour(x, y, x - slope(y), [0], colors="C1")
left.plot(*game.solution(), "*", color="black", ms=14)
left.set(xlabel="x (minimizer)", ylabel="y (maximizer)", aspect="equal")
left.set_title("Forsaken, c = 0.45: green = Φ_xx ≥ 0 ≥ Φ_yy\nblue: ∂Φ/∂x = 0, orange: ∂Φ/∂y = 0")
right.semilogy((1, 2, 3), shares, "o-", label=["local Nash point", "stable point of the flow"])
right.set(xlabel="dimension n of each player", ylabel="share of games", xticks=(1, 2, 3))
right.legend(frameon=False, title="the critical point of a random quadratic game is a")

# %%
# **Certificate.** One critical point, where y can do better: the plane holds no local Nash point.
# P is positive definite with probability 1/2 for n = 1 and (2 - √2)/4 for n = 2; so must Q be.
assert len(real) == 1 and abs(float(game.solution()[1]) - real[0]) < 1e-9
assert verdict.is_nash is False and verdict.is_stable and verdict.concavity > 0.37
for (share, _), exact in zip(shares[:2], (1 / 4, (1 / 2 - 2**0.5 / 4) ** 2), strict=True):
    print(f"local Nash: {share:.4f}, exact {exact:.4f}")
    assert abs(share - exact) < 3 * (exact / 20_000) ** 0.5
