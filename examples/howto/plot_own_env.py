r"""
An env of your own, with an adversary
=====================================

``robustgames/ActionRobust-v0`` takes any Gymnasium id with a bounded box of actions. For an env
written in Python, the attribute ``perturbable`` names what a perturbation may scale: the keys are
axes (mass, friction, gravity, damping, gain, length), the values its own attributes, which
``reset`` must leave as they are.
"""

from typing import ClassVar

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np

from robustgames.evaluation.robustness import sweep


class Tank(gym.Env):
    """Hold the level of a tank at 1: level⁺ = level + 0.1 (inflow - drain · level)."""

    perturbable: ClassVar = {"damping": "drain"}  # axis of a perturbation: attribute
    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Box(0.0, 2.0, (1,), np.float32)

    def __init__(self):
        self.drain = 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level = self.np_random.uniform(0.5, 1.5)
        return np.array([self.level]), {}

    def step(self, action):
        self.level += 0.1 * (float(action[0]) - self.drain * self.level)
        return np.array([self.level]), -((self.level - 1) ** 2), False, False, {}


gym.register("mine/Tank-v0", Tank, max_episode_steps=100)

# %%
# The adversary holds a share α of the inflow. Actions of both players are in [-1, 1].
env = gym.make("robustgames/ActionRobust-v0", env_id="mine/Tank-v0", alpha=0.2)
env.reset(seed=0, options={"perturbation": {"damping": 1.5}})
_, reward, *_, info = env.step({"protagonist": [0.5], "adversary": [-1.0]})
print(info["perturbation"], info["executed_action"])

# %%
# With α = 0 it is the env itself, bit for bit.
plain = gym.make("mine/Tank-v0")
wrapped = gym.make("robustgames/ActionRobust-v0", env_id="mine/Tank-v0", alpha=0.0)
for one in (plain, wrapped):
    one.reset(seed=3)
left = plain.step(np.array([1.5], np.float32))[0]
right = wrapped.step({"protagonist": [0.5], "adversary": [1.0]})[0]
assert left == right


# %%
# Any function of the observation is a policy. A grid of perturbations judges it: more gain
# tolerates more drain.
def controller(gain):
    """Return a proportional controller; the action 0 is an inflow of 1."""
    return lambda observation: np.clip(gain * (1 - observation), -1, 1).astype(np.float32)


grid = {"damping": (0.5, 0.75, 1.0, 1.25, 1.5)}
for gain in (1.0, 4.0):
    result = sweep([controller(gain)], env, grid, episodes=5)
    plt.plot(grid["damping"], result.cells[0], "o-", label=f"gain {gain}")
    print(f"gain {gain}: worst cell {result.per_run()['worst'][0]:.2f}")
plt.title("Tank under a drain that the controller does not know, 5 episodes")
plt.xlabel("drain / nominal drain")
plt.ylabel("return")
plt.legend()
plt.show()
assert result.per_run()["worst"][0] > -3

# %%
# Agents train in it, with an adversary, by the same id:
#
# .. code-block:: text
#
#    robustgames train robust_td3 robustgames/ActionRobust-v0 --set env_id=my_tank:mine/Tank-v0
