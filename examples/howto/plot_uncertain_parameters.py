r"""
The worst parameters of a box: M2TD3 and domain randomization
=============================================================

An env has a mass m that nobody knows. Its box is the flag ``--uncertainty mass=0.2:2`` of
``robustgames train m2td3``, or the setting ``uncertainty``. :class:`~robustgames.M2TD3` maximizes
the return at the worst point of the box (Tanabe et al. 2022), and
:class:`~robustgames.DomainRandomizedTD3` the mean over it. For one state and the reward
:math:`-(a - m^2/4)^2` all solutions are known: 1/4 at the nominal mass 1, the mean of
:math:`m^2/4`, which is 0.37, and the middle of its ends, 0.505.
"""

from typing import ClassVar

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np

import robustgames as rg


class Grip(gym.Env):
    """One state; the best action is a force that grows with the square of the mass."""

    perturbable: ClassVar = {"mass": "m"}
    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    m = 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), -float((action[0] - self.m**2 / 4) ** 2), False, False, {}


gym.register("howto/Grip-v0", Grip, max_episode_steps=10)
ENV, BOX = "robustgames/ActionRobust-v0", "mass=0.2:2"
COMMON = {"env_settings": {"env_id": "howto/Grip-v0", "alpha": 0.0}, "gamma": 0.0, "seed": 1}
COMMON |= {"hidden": (32, 32), "learning_starts": 500, "noise": 0.3, "tau": 0.02}

# %%
# M2TD3 moves several candidates of the worst mass. Here both ends of the box are worst.
agents = {
    "TD3": (rg.RobustTD3(ENV, **COMMON), 0.25),
    "randomization": (rg.DomainRandomizedTD3(ENV, uncertainty=BOX, **COMMON), 0.37),
    "M2TD3": (rg.M2TD3(ENV, uncertainty=BOX, **COMMON), 0.505),
}
masses = np.linspace(0.2, 2, 100)
for name, (agent, best) in agents.items():
    action = float(agent.learn(4000).predict(np.zeros(1, np.float32))[0][0])
    rewards = -((action - masses**2 / 4) ** 2)
    print(f"{name:13} plays {action:.3f} ({best:.3f}), worst reward {rewards.min():.3f}")
    plt.plot(masses, rewards, label=name)
    assert abs(action - best) < 0.08
plt.title("reward of three policies, by the mass of the env")
plt.xlabel("m")
plt.legend()
plt.show()
