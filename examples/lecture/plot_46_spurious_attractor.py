r"""
Chain-transitive sets: noisy solvers end on a cycle without a critical point
============================================================================
*Slide: "Generalized Robbins-Monro schemes" (46), the two negative results*

Let :math:`\tau_k = \alpha_1 + \dots + \alpha_k`. Under the conditions of
:ref:`sphx_glr_lecture_plot_46_robbins_monro.py` the iterates, placed at the times :math:`\tau_k`,
are an *asymptotic pseudo-trajectory* of :math:`\dot z = V(z)`: over windows of a fixed length T
they deviate from the flow by an error that vanishes. So bounded iterates converge to an *internally
chain-transitive* set (Benaïm 1999; Hsieh, Mertikopoulos and Cevher 2020), which need not be a
critical point. In Forsaken it may be the outer cycle. The start decides, and chance.
"""

import matplotlib.pyplot as plt
import torch

import robustgames as rg
from robustgames.games import Forsaken
from robustgames.solvers import InversePower

game, rate, steps = Forsaken(0.45).to(dtype=torch.float64), InversePower(0.3, power=0.55), 8000
star = game.solution()
near, far = star + torch.tensor([0.05, 0.0]), star + torch.tensor([0.9, 0.6])
start, noisy = torch.stack([near] * 100 + [far] * 100), rg.Noisy(game, std=0.1)
names = ("gda", "alt_gda", "extragradient")
paths = {n: rg.trajectory(rg.make_solver(n, lr=rate), noisy, start, steps) for n in names}
cycle = rg.diagnostics.flow(game, far, 60, 0.01)[-755:]  # one period, 7.548

# %%
# The flow from an iterate :math:`z_k` and the next iterates of GDA, over T = 1: their distance.
tau = torch.tensor([rate(k) for k in range(1, steps + 1)]).double().cumsum(0)
begins, deviations = torch.logspace(1, 3.8, 15).int().tolist(), []
for k in begins:
    window = paths["gda"][k : k + int((tau < tau[k - 1] + 1).sum()) - k + 1]
    flow = rg.diagnostics.flow(game, window[0], 1.0, 0.002)
    at = (500 * (tau[k - 1 : k - 1 + len(window)] - tau[k - 1])).round().long().clamp(max=500)
    deviations.append(float((window - flow[at]).norm(dim=-1).amax(0).mean()))
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
left.plot(*cycle.T, color="black", lw=1, label="stable cycle of the flow")
left.plot(*paths["gda"][::3, 150].T, color="C4", lw=0.6, label="one run of GDA")
for color, (name, path) in zip(("C1", "C2", "C0"), paths.items(), strict=True):
    left.plot(*path[-1].T, ".", color=color, ms=5, label=f"{name}: 200 end points")
left.plot(*star, "*", color="black", ms=12, label="critical point")
left.set(xlabel="x (minimizer)", ylabel="y (maximizer)", aspect="equal")
left.set_title("Forsaken, c = 0.45, σ = 0.1, steps 0.3 / k^0.55")
left.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 0.1), frameon=False)
right.loglog(begins, deviations, "o-", label="largest distance, mean of 200 runs")
right.loglog(begins, [0.1 * rate(k) ** 0.5 for k in begins], "k--", label="σ √α at step k")
right.set(xlabel="k", title="GDA against the flow from its k-th iterate, T = 1")
right.legend(frameon=False)

# %%
# **Certificate.** All runs from outside end at the cycle, most from inside at the critical point.
for name, path in paths.items():
    on_cycle = (torch.cdist(path[-1], cycle).amin(-1) < 0.1).view(2, 100).double().mean(1)
    print(f"{name} on the cycle: {on_cycle[1]:.2f} from outside, {on_cycle[0]:.2f} from inside")
    assert on_cycle[1] == 1 and 0 < on_cycle[0] < 0.2
ratios = [d / (0.1 * rate(k) ** 0.5) for d, k in zip(deviations, begins, strict=True)]
print(f"distance from the flow: {min(ratios):.2f} to {max(ratios):.2f} times σ √α")
assert min(ratios) > 1 and max(ratios) < 2.5 and rg.diagnostics.residual(game, cycle).min() > 0.4
