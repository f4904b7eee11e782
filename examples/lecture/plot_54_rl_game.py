r"""
Reinforcement learning as a game, and a value function made by playing it
=========================================================================
*Slide: "Reinforcement Learning Game" (54), "Standard Reinforcement Learning" (58-59)*

In a Markov decision process an agent observes :math:`S_t`, plays :math:`A_t = \mu(S_t)`, receives a
reward and finds a new state. Values are expected discounted returns; by the Markov property

.. math:: Q^\mu(s, a) = E[R + \gamma V^\mu(S') \mid s, a], \qquad V^\mu(s) = Q^\mu(s, \mu(s)).

``robustgames/RobustPendulum-v0`` has a second player who disturbs the action (slide 62), without a
share on this page. It is a batch: 3,721 pendulums, one for every start.
"""

import gymnasium as gym
import matplotlib.pyplot as plt
import torch

N, gamma, settings = 61 * 61, 0.97, {"alpha": 0.0, "max_episode_steps": 1000, "dtype": "float64"}
env = gym.make_vec("robustgames:robustgames/RobustPendulum-v0", N, **settings)


def mu(s):
    """Pump energy when low, balance when high; s = (cos θ, sin θ, θ')."""
    pump, balance = s[:, 2].sign(), -(8 * s[:, 1] + 2 * s[:, 2])
    return torch.where(s[:, 0] > 0.9, balance, pump).clamp(-1, 1).unsqueeze(-1)


def play(state, a=None):
    """Return (returns from all states, first rewards, next states): first a, then mu."""
    s, none = env.reset(seed=0, options={"state": state})[0], torch.zeros(N, 1)
    rewards, states = [], []
    for t in range(400):
        a = mu(s) if t or a is None else a
        s, reward, *_ = env.step({"protagonist": a, "adversary": none})
        rewards.append(gamma**t * reward)
        states.append(torch.stack([torch.atan2(s[:, 1], s[:, 0]), s[:, 2]], -1))
    return sum(rewards), rewards[0], states[0]


start = torch.cartesian_prod(torch.linspace(-3.14, 3.14, 61), torch.linspace(-8, 8, 61)).double()
V = play(start)[0].view(61, 61).T.numpy()
figure, (loop, value) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
for text, x, y in (("agent  μ(s)", 0.5, 0.8), ("environment", 0.5, 0.2)):
    loop.text(x, y, text, ha="center", size=14, bbox={"boxstyle": "round,pad=0.7", "fc": "none"})
for text, x, y in (("action a", 0.72, 0.3), ("state s, reward r", 0.28, 0.73)):
    loop.annotate("", (x, y), (x, 1.03 - y), arrowprops={"arrowstyle": "-|>", "lw": 2})
    loop.text(x, 0.5, text, ha="center", size=12, bbox={"fc": "white", "ec": "none"})
loop.axis("off")
image = value.imshow(V, origin="lower", extent=(-3.14, 3.14, -8, 8), aspect="auto")
value.set(xlabel="angle θ (0 is up)", ylabel="speed θ'", title="V of a hand-written μ, γ = 0.97")
figure.colorbar(image)

# %%
# **Certificate.** Bellman's equation in all states, after a = μ(s) and a = 0 (400 steps: γ⁴⁰⁰ ≈ 0).
for a in (None, torch.zeros(N, 1)):
    Q, reward, after = play(start, a)
    error = (Q - reward - gamma * play(after)[0]).abs().max()
    print(f"largest error of Q(s, a) = r + γ V(s'): {error:.1e}, |V| is up to {-V.min():.0f}")
    assert error < 1e-3
