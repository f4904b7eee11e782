r"""
The cycle is a matter of the step: above γ = 1.03 ε extragradient loses it
==========================================================================
*Slide: "A deterministic, simple example beyond convex-concave" (47), an addition*

"Extragradient cycles on the almost bilinear game" holds for small steps only. The flow has a cycle
with :math:`\max |y| = 2 / \sqrt 3`. To first order in γ, GDA adds :math:`\gamma |\lambda|^2 / 2` to
the growth rate :math:`\varepsilon / 2` at the critical point and extragradient subtracts it, so

.. math:: \max |y| \approx \tfrac{2}{\sqrt 3} \sqrt{1 + \gamma / \varepsilon} \ \text{(GDA)}, \qquad
   \tfrac{2}{\sqrt 3} \sqrt{1 - \gamma / \varepsilon} \ \text{(extragradient)}.

At :math:`|1 + \gamma\lambda + \gamma^2\lambda^2| = 1` extragradient's cycle is gone. Above it
converges to the critical point: not a local Nash point, since :math:`\Phi_{yy} = \varepsilon > 0`,
and one that the flow leaves. Convergence proves nothing about the point; ask for its verdict.
"""

import matplotlib.pyplot as plt
import torch
from scipy.optimize import brentq

import robustgames as rg
from robustgames.games import AlmostBilinear

eps, game = 0.1, AlmostBilinear(0.1).to(dtype=torch.float64)
value = complex(rg.diagnostics.spectrum(game, game.solution())[0])  # ε/2 ± i sqrt(1 - ε²/4)
lost = brentq(lambda lr: abs(1 + lr * value + (lr * value) ** 2) - 1, 0.05, 0.2)

# %%
# One batch of runs, one learning rate each, from the predicted amplitude.
lr = torch.tensor([[0.005], [0.02], [0.04], [0.06], [0.08], [0.095], [0.11], [0.13]]).double()
amplitude, radius = {}, 2 / 3**0.5
for name, sign in (("gda", 1), ("alt_gda", 0), ("extragradient", -1)):
    predicted = radius * (1 + sign * lr / eps).clamp(min=0.05) ** 0.5
    start = torch.cat([predicted, torch.zeros(8, 1).double()], -1)
    path = rg.trajectory(rg.make_solver(name, lr=lr), game, start, 4000)
    amplitude[name] = path[-1300:, :, 1].abs().amax(0)

figure, axes = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
dense = torch.linspace(0, 0.14, 200)
for color, name, sign in zip(("C1", "C2", "C0"), amplitude, (1, 0, -1), strict=True):
    line = radius * (1 + sign * dense / eps).clamp(min=0) ** 0.5
    axes.plot(dense / eps, line, color=color, lw=1)
    axes.plot(lr / eps, amplitude[name], "o", color=color, label=name)
axes.axvline(lost / eps, color="black", ls="--", label=f"γ = {lost / eps:.3f} ε")
axes.set(xlabel="step γ / ε", ylabel="max |y| of the last iterates", ylim=(-0.05, 2))
axes.set_title("Almost bilinear, ε = 0.1: where the runs end (lines: first order in γ)")
axes.legend(frameon=False, ncols=2)

# %%
# **Certificate.** Amplitudes to first order at small steps; beyond the threshold extragradient ends
# at 0, which is not a local Nash point and repels the flow.
for name, sign in (("gda", 1), ("alt_gda", 0), ("extragradient", -1)):
    predicted = radius * (1 + sign * lr[:4, 0] / eps) ** 0.5
    assert (amplitude[name][:4] - predicted).abs().max() < 4e-3, name
verdict = rg.diagnostics.local_nash(game, game.solution())
print(f"threshold γ = {lost:.6f}; the critical point: {verdict}")
assert abs(lost - 0.1031959) < 1e-6 and path[-1, -1].norm() < 4e-3 < amplitude["extragradient"][5]
assert verdict.is_nash is False and verdict.is_stable is False
