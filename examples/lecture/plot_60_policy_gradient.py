r"""
The deterministic policy gradient, and the bias of its off-policy form
======================================================================
*Slide: "Deterministic Policy Gradient" (60)*

For a deterministic policy the derivative of J goes through the critic (Silver et al. 2014),

.. math:: \nabla_\theta J = \sum\nolimits_t \gamma^t \, E[ \nabla_\theta \mu_\theta(S_t)
   \nabla_a Q^{\mu_\theta}(S_t, a) |_{a = \mu_\theta(S_t)} ],

an equality on the states :math:`S_t` that :math:`\mu_\theta` visits. DDPG takes those of a replay,
visited by other policies: a biased estimate, here of the wrong size. Linear-quadratic control has
a closed form: for :math:`s' = s + a/2, r = -s^2 - a^2/2, \mu_\theta(s) = -\theta s` it is V(s) =
-p(θ) s². The gradient is that of the package's actors, the field of ``PolicyGame``.
"""

import matplotlib.pyplot as plt
import torch
from scipy.linalg import solve_discrete_are

from robustgames.agents.control.policies import Policies
from robustgames.agents.control.policy_game import Fixed, PolicyGame, PolicySample
from robustgames.games import MLP

gamma, start, t = 0.9, torch.tensor([1.0, -0.5, 2.0]).double(), torch.arange(200).unsqueeze(-1)
P = solve_discrete_are(gamma**0.5, gamma**0.5 / 2, 1, 0.5)[0, 0]  # Riccati's equation
best = gamma * P / (1 + gamma * P / 2)
thetas = best * torch.linspace(0.3, 2.9, 27, dtype=torch.float64)  # thetas[7] is optimal
near = thetas + torch.tensor([[-1e-5], [0.0], [1e-5]]).double()
before, p, after = (1 + near**2 / 2) / (1 - gamma * (1 - near / 2) ** 2)  # V(s) = -p s²


def exact(weights, inputs):
    """Return Q(s, a), the critic, whose only weight is p."""
    s, a = inputs.split(1, -1)
    return -(s**2) - a**2 / 2 - gamma * weights.unsqueeze(-1) * (s + a / 2) ** 2


game = PolicyGame(Policies(MLP((1, 1)), alpha=0.0), exact, Fixed(start), fast=False)
on, off = torch.zeros(2, 27, dtype=torch.float64)
for i, theta in enumerate(thetas):
    states = start * (1 - theta / 2) ** t  # visited, (200, 3)
    sample = PolicySample(states.unsqueeze(-1), p[i].expand(200, 1))
    weights = torch.stack([-theta, 0 * theta]).expand(200, 2)  # μ(s) = w s + b, w = -θ
    each = -game.field(weights, sample)[:, 0]  # ∇μ ∇Q, mean over the starts
    on[i], off[i] = (gamma ** t[:, 0] * each).sum(), each[0]  # off: D holds the starts only
slope = -(after - before) / 2e-5 * start.square().mean()
figure, axes = plt.subplots(figsize=(7.5, 4.4), layout="constrained")
axes.plot(thetas, slope, label="dJ/dθ by finite differences")
axes.plot(thetas, on, "o", label="policy gradient, states that μ visits")
axes.plot(thetas, off, "--", color="C5", label="off-policy: D = the starts")
axes.axvline(thetas[7], color="black", ls=":", label=f"optimal θ = {thetas[7]:.4f} (Riccati)")
axes.set(xlabel="θ", ylabel="gradient", title="s' = s + a/2, γ = 0.9, μ(s) = -θ s")
axes.legend(frameon=False)

# %%
# **Certificate.** On-policy it is the derivative of J, which is 0 at Riccati's θ; off-policy not.
error, bias = float((on - slope).abs().max()), float((off - slope).abs().max())
print(f"largest error: on-policy {error:.1e}, off-policy {bias:.2f}")
assert error < 1e-6 and bias > 5 and abs(on[7]) < 1e-9 and abs(p[7] - P) < 1e-9
