r"""
Certified returns of a smoothed policy
======================================

A policy that adds noise :math:`\eta_t \sim N(0, \sigma^2 I)` to what it observes has returns that
no attack on the observations can lower without limit. If all shifts of an episode together have
norm at most B, then for every r (Kumar, Levine and Feizi 2021)

.. math:: P_\text{attacked}(R \ge r) \ge \Phi(\Phi^{-1}(P(R \ge r)) - B / \sigma).

P is bounded from episodes *without* an attack, with an error of probability 0.001.
"""

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np

from robustgames.evaluation.smoothed_episodes import certify_returns, play_smoothed

ENV = gym.make("CartPole-v1", max_episode_steps=100, disable_env_checker=True)
NOISE, EPISODES = 0.2, 500
GAIN = np.array([0.05, 0.1, 1.0, 0.4])  # position, velocity, angle, angular velocity


def balance(observation):
    """Push toward where the pole falls."""
    return int(GAIN @ observation > 0)


found = certify_returns(balance, ENV, NOISE, EPISODES, least=0.0)
print(f"without an attack {found.returns.mean():.1f}, certified with B = 0 {found.mean(0.0):.1f}")


# %%
# An attack that hides where the pole falls, from the first step until its budget is spent. Each
# episode has the whole budget. The certificate holds for every attack, also for one that knows
# the policy and all that has happened; this one only shows the other side.
def hide(observation, step):
    """Return a shift against the sign of what the policy measures."""
    return -0.3 * np.sign(GAIN @ observation) * GAIN / np.linalg.norm(GAIN)


budgets = np.array([0.1, 0.3, 0.6, 1.2])
attacked = [
    play_smoothed(balance, ENV, NOISE, 200, EPISODES, attack=hide, budget=b).mean() for b in budgets
]
for b, bound, mean in zip(budgets, found.mean(budgets), attacked, strict=True):
    print(f"B = {b:.1f}: certified {bound:5.1f}, under the attack {mean:5.1f}")
assert (found.mean(budgets) <= attacked).all()
assert found.mean(0.1) > 0.5 * found.returns.mean()

line = np.linspace(0, 1.2, 50)
plt.plot(line, found.mean(line), label="certified")
plt.plot(budgets, attacked, "o", color="C3", label="under one attack")
plt.axhline(found.returns.mean(), color="0.5", ls=":", label="no attack")
plt.title("CartPole-v1, 100 steps: mean return of a smoothed policy")
plt.xlabel("budget B of an episode")
plt.legend()
plt.show()
