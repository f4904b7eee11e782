r"""
The deterministic policy gradient, and the bias of its off-policy form
======================================================================
*Slide: "Deterministic Policy Gradient" (60)*

For a deterministic policy the derivative of J goes through the critic (Silver et al. 2014),

.. math:: \nabla_\theta J(\theta) = \sum_t \gamma^t \, E\left[ \nabla_\theta \mu_\theta(S_t)
   \nabla_a Q^{\mu_\theta}(S_t, a) |_{a = \mu_\theta(S_t)} \right],

an equality on the states :math:`S_t` that :math:`\mu_\theta` visits. DDPG takes states of a replay,
which other policies visited: a biased estimate. Linear-quadratic control has a closed form:
:math:`s' = s + a/2, r = -s^2 - a^2/2, \mu_\theta(s) = -\theta s`, V(s) = -p s². The gradients
below are those of the package's actors: fields of ``PolicyGame``.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.linalg import solve_discrete_are

from robustgames.agents.control.policies import Policies
from robustgames.agents.control.policy_game import Fixed, PolicyGame, PolicySample
from robustgames.games import MLP
from robustgames.tensors import Movable

gamma, start = 0.9, torch.tensor([1.0, -0.5, 2.0]).double()


def p(theta):
    """Return the coefficient of V(s) = -p s²."""
    return (1 + theta**2 / 2) / (1 - gamma * (1 - theta / 2) ** 2)


class Exact(Movable):
    """Q(s, a) = -s² - a²/2 - γ p (s + a/2)², a critic whose single weight is p."""

    size = 1

    def __call__(self, weights, inputs):
        s, a = inputs.unbind(-1)
        return (-(s**2) - a**2 / 2 - gamma * weights * (s + a / 2) ** 2).unsqueeze(-1)


game = PolicyGame(Policies(MLP((1, 1)), alpha=0.0), Exact(), Fixed(torch.ones(1, 1)), fast=False)


def gradient(theta, states):
    """Return mean over states of ∇μ ∇Q: minus the field in the weight w = -θ."""
    sample = PolicySample(states.unsqueeze(-1), p(theta).reshape(1))
    return -game.field(torch.stack([-theta, 0 * theta]), sample)[0]


thetas, on, off = torch.linspace(0.3, 2.7, 25).double(), [], []
for theta in thetas:
    visited = [start * (1 - theta / 2) ** t for t in range(200)]  # S_1, S_2, ... of all starts
    on.append(float(sum(gamma**t * gradient(theta, s) for t, s in enumerate(visited))))
    off.append(float(gradient(theta, start)))
J = [-p(thetas + h) * start.square().mean() for h in (-1e-6, 0, 1e-6)]
slope = (J[2] - J[0]) / 2e-6
P = float(solve_discrete_are(gamma**0.5, gamma**0.5 / 2, 1, 0.5)[0, 0])  # the Riccati equation
best = gamma * P / 2 / (0.5 + gamma * P / 4)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
left.plot(thetas, J[1])
left.axvline(best, color="black", ls="--", label=f"Riccati: θ* = {best:.4f}")
left.set(xlabel="θ", ylabel="J(θ)", title="s' = s + a/2, γ = 0.9, μ(s) = -θ s")
right.plot(thetas, slope, color="C0", label="dJ/dθ by finite differences")
right.plot(thetas, on, "o", color="C1", label="policy gradient, visited states")
right.plot(thetas, off, "--", color="C5", label="off-policy: states of D = the starts")
right.axhline(0, color="black", lw=0.6)
right.set(xlabel="θ", title="Three gradients")
for axes in (left, right):
    axes.legend(frameon=False)

# %%
# **Certificate.** On-policy it is the derivative of J, and 0 at Riccati's θ*; off-policy it is not.
error, bias = np.abs(np.array(on) - slope.numpy()), np.abs(np.array(off) - slope.numpy())
print(f"largest error on-policy {error.max():.1e}, off-policy {bias.max():.2f}")
assert error.max() < 1e-6 and bias.max() > 5 and abs(float(gradient(thetas[:1] * 0 + best, start))) < 1e-6
