r"""
Steps, noise, bias: which Robbins-Monro scheme ends where
=========================================================
*Slide: "Generalized Robbins-Monro schemes" (46)*

Every solver of the lecture is of the form

.. math:: z_{k+1} = z_k + \alpha_k (V(z_k) + b_k + \sigma \zeta_k),

with noise of mean 0 (:class:`robustgames.Noisy`) and an error :math:`b_k`; that of extragradient is
of the order of the step. It follows the flow :math:`\dot z = V(z)` if :math:`\sum \alpha_k =
\infty, \sum \alpha_k^2 < \infty`, :math:`b_k \to 0`. We drop one condition at a time, V(z) = M z.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.games import Quadratic
from robustgames.solvers import InversePower

game, sigma, b = Quadratic(1.0, 1.0, coupling=2.0).to(dtype=torch.float64), 0.5, [0.8, 0.8]
start, power, lr = torch.tensor([1.5, -1.0]).double().expand(500, 2), InversePower(0.3, 0.6), 0.1
settings = {
    "α = 0.3 / k^0.6: converges": (power, 0.0),
    "α = 0.1: a cloud of noise": (lr, 0.0),
    "α = 0.3 / k^0.6, bias b: another point": (power, b),
    "α = 0.3 / k²: stops on its way": (short := InversePower(0.3, power=2), 0.0),
}
paths = {}
for name, (rate, bias) in settings.items():
    solver, noisy = rg.make_solver("gda", lr=rate), rg.Noisy(game, std=sigma, bias=bias)
    paths[name] = rg.trajectory(solver, noisy, start, 3000)

# %%
# Left: where 500 runs are after 3,000 steps. Right: their mean squared distance from the saddle.
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.3), layout="constrained")
for name, path in paths.items():
    left.plot(*path[-1].T, ".", ms=3, alpha=0.6, zorder=3 if name.endswith("converges") else 2)
    right.loglog(range(1, 3001), path[1:].square().sum(-1).mean(1), label=name)
left.plot(*start[0], "o", color="black", mfc="white", label="start of all runs (saddle at 0)")
left.set(xlabel="x", ylabel="y", aspect="equal", title="End points of GDA, σ = 0.5")
left.legend(frameon=False)
right.set(xlabel="step k", ylabel="mean of |z|²", title="Φ = ½x² + 2xy - ½y²")
right.legend(frameon=False)

# %%
# **Certificate.** Predicted: E|z|² = α_k σ² in the first case, 2α²σ² / (1 - (1 - α)² - 4α²) in the
# cloud; the root of M z + b; and a start times all factors 1 + α_k λ, λ = -1 + 2i, in modulus.
converged, cloud, moved, stopped = (path[-1] for path in paths.values())
root = torch.linalg.solve(rg.diagnostics.jacobian(game, start[0]), -torch.tensor(b).double())
shrunk = torch.tensor([abs(1 + short(k) * complex(-1, 2)) for k in range(1, 3001)]).prod()
for name, measured, exact, tolerance in (
    ("error / α", converged.square().sum(-1).mean() / power(3000), sigma**2, 0.2),
    ("cloud", cloud.square().sum(-1).mean(), 2 * (lr * sigma) ** 2 / (0.19 - 0.04), 0.2),
    ("biased limit", moved.mean(0).norm(), root.norm(), 0.02),
    ("stopped at", stopped.mean(0).norm(), shrunk * start[0].norm(), 0.05),
):
    print(f"{name}: {float(measured):.4f}, predicted {float(exact):.4f}")
    assert abs(float(measured / exact) - 1) < tolerance, name
