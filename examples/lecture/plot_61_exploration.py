r"""
Exploration side by side: noise on the action, noise on the parameters
======================================================================
*Slide: "Exploration vs. Exploitation in RL" (55-57), "An optimization interpretation" (61)*

Exploitation ascends the estimated gradient of J. Exploration adds noise while collecting episodes:
:math:`a = \mu_\theta(s) + \epsilon` with a new ε in every step (white, or an Ornstein-Uhlenbeck
process), or :math:`\tilde\theta = \theta + \epsilon`, drawn *once per episode* (Plappert et al.
2018). All three have the same standard deviation of the action, 0.3. White noise cancels itself; a
disturbed policy pushes consistently, as a function of the state, and goes places. Agents take it
by name: :class:`robustgames.RobustTD3` with ``exploration="parameter", layer_norm=True``.
"""

import gymnasium as gym
import matplotlib.pyplot as plt
import torch

from robustgames.agents.control import exploration
from robustgames.games import MLP

N, T, std, generator = 256, 200, 0.3, torch.Generator().manual_seed(0)
env = gym.make_vec("robustgames:robustgames/RobustPendulum-v0", N, alpha=0.0, max_episode_steps=T)
actor = MLP((3, 32, 32, 1), last="tanh", norm=True)
theta = actor.initial((1,), generator, torch.float32).expand(N, -1)  # one policy, 256 episodes

# %%
# The scale of parameter noise is adapted until it moves actions by 0.3, in states of the box.
parameter = exploration.AdaptiveParameterNoise(std=0.1, delta=std, factor=1.05, interval=1)
probe, state = torch.rand(N, 64, 3, generator=generator) * 2 - 1, parameter.init(theta, generator)
for _ in range(60):
    state = parameter.adapt(state, actor, theta, probe, generator)
other = parameter.restart(state, theta, torch.ones(N, dtype=torch.bool), generator)["weights"]
white, ou = exploration.GaussianNoise(std), exploration.OrnsteinUhlenbeck(0.158, 0.15, dt=1.0)
moved = {"white noise": white, "Ornstein-Uhlenbeck noise": ou, "parameter noise": None}
figure, panels = plt.subplots(1, 3, figsize=(12, 4), layout="constrained", sharey=True)
covered, sizes = {}, {}
for color, axes, (name, noise) in zip(("C1", "C2", "C0"), panels, moved.items(), strict=True):
    s, seen = env.reset(seed=0, options={"state": (torch.pi, 0.0)})[0], []  # it hangs
    state = noise.init(torch.zeros(N, 1)) if noise else {}
    for _ in range(T):
        seen.append(torch.stack([torch.atan2(s[:, 1], s[:, 0]) % (2 * torch.pi), s[:, 2]], -1))
        a = actor(theta if noise else other, s.unsqueeze(1)).squeeze(1)
        if noise:
            e, state = noise.step(state, a, generator)
            a, sizes[name] = a + e, float(e.std())
        s = env.step({"protagonist": a, "adversary": torch.zeros(N, 1)})[0]
    path = torch.stack(seen)
    cells = (path / torch.tensor([2 * torch.pi, 16.0]) * 29.99).floor()  # a grid of 30 x 30
    covered[name] = len(cells.flatten(0, 1).unique(dim=0)) / 900
    axes.plot(*path.flatten(0, 1).T, ".", color=color, ms=1, alpha=0.4, rasterized=True)
    axes.set(xlabel="angle (π hangs)", ylabel="speed", xlim=(0, 2 * torch.pi), ylim=(-8, 8))
    axes.set_title(f"{name}: {covered[name]:.0%} of the cells")

# %%
# **Certificate.** The disturbances have the size 0.3: white noise and the stationary process, whose
# deviation is 0.158 / (2 · 0.15 - 0.15²)^½, over 256 episodes, parameter noise over the box.
sizes["parameter noise"] = float(parameter.distance(actor, theta, other, probe).mean())
print(f"sizes {sizes}, covered {covered}")
assert all(abs(size / std - 1) < 0.15 for size in sizes.values())
assert covered["parameter noise"] > 5 * max(list(covered.values())[:2])
