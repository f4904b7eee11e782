r"""
Policies that change little, and proofs of it
=============================================

:class:`~robustgames.SATD3` adds a third player, who shifts the state of each sample (SA-MDP, Zhang
et al. 2020): :math:`\Phi + \kappa\, \mathrm{mean}_s \max_{|\hat s - s| \le \epsilon} |\mu(\hat s) -
\mu(s)|^2`. What it achieved is proved by CROWN, which bounds the actions over the whole box around
a state. Attacks can only search it.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import robustgames as rg
from robustgames.evaluation.action_bounds import bound_actions

ENV, EPS = "robustgames/ActionRobustPendulum-v0", 0.1
COMMON = {"env_settings": {"alpha": 0.0}, "hidden": (32, 32), "learning_starts": 500, "seed": 0}
KAPPAS = (0.0, 10.0, 100.0)

rng = np.random.default_rng(0)
angle, speed = rng.uniform(-np.pi, np.pi, 500), rng.uniform(-4, 4, 500)
states = np.stack([np.cos(angle), np.sin(angle), speed], 1)
corners = EPS * rng.choice([-1.0, 1.0], (64, 1, 3))

# %%
# ``sa_ramp`` is the number of updates in which the radius grows. The bounds are of the policy as it
# is trained, and every action in a corner of a box lies between them.
changes = {}
for kappa in KAPPAS:
    agent = rg.SATD3(ENV, sa_kappa=kappa, sa_eps=EPS, sa_ramp=200, **COMMON).learn(2000)
    own = agent.differentiable(0)
    bounds = bound_actions(own, states, EPS)
    near = own.act(torch.tensor(states + corners, dtype=torch.float32).flatten(0, 1))
    near = near.reshape(64, 500, 1).detach().numpy()
    assert (bounds.low - 1e-5 <= near).all() and (near <= bounds.high + 1e-5).all()
    changes[kappa] = bounds.change.ravel()
    found = np.abs(near - bounds.actions).max(0).mean()
    print(f"kappa {kappa:5.1f}: change at most {changes[kappa].mean():.3f}, found {found:.3f}")
assert changes[100.0].mean() < 0.5 * changes[0.0].mean()

for kappa, change in changes.items():
    plt.plot(np.sort(change), np.linspace(0, 1, 500), label=f"κ = {kappa:g}")
plt.title(f"Pendulum-v1: change of the action within {EPS} of a state")
plt.xlabel("proved bound of |μ(ŝ) − μ(s)|")
plt.ylabel("share of the states")
plt.legend()
plt.show()
