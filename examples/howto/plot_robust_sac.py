r"""
Mixed strategies: robust soft actor-critic
==========================================

In the noisy action game :math:`(1-\alpha) a + \alpha \bar a` is executed. For the reward
:math:`r = (\text{executed action})^2` of one state a deterministic protagonist can be cancelled: it
is left with :math:`(1-2\alpha)^2`, while a deterministic adversary that has to commit first holds
it to :math:`(1-\alpha)^2` only. Without mixed strategies the game has no value; with them it is
:math:`(1-\alpha)^2`, and the protagonist plays -1 and 1 with equal probabilities.
:class:`~robustgames.RobustSAC` has mixed strategies: both players draw their actions from squashed
Gaussians, whose entropies are part of the game. :class:`~robustgames.RobustDDPG` has none.
"""

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np

import robustgames as rg

ALPHA = 0.3


class Square(gym.Env):
    """One state, and the square of the executed action as reward."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), float(action[0] ** 2), False, False, {}


gym.register("howto/Square-v0", entry_point=Square, max_episode_steps=50)
ENV = ("robustgames/ActionRobust-v0", rg.make_solver("adam", lr=1e-3))
SETTINGS = {"env_id": "howto/Square-v0", "alpha": ALPHA}
COMMON = {"env_settings": SETTINGS, "gamma": 0.0, "hidden": (32, 32), "learning_starts": 200}

# %%
# The temperature is the weight of the entropies. It is small here and fixed; the smaller it is,
# the nearer both come to the value. By default it is tuned so that the entropy is -1 per action.
soft = rg.RobustSAC(*ENV, temperature=0.03, temperature_lr=0.0, seed=0, **COMMON).learn(1000)
hard = rg.RobustDDPG(*ENV, seed=0, engine="torch", **COMMON).learn(1000)

# %%
# Each protagonist is held against its best response: the least mean reward over all constant
# actions of the adversary, for 2,000 draws of the protagonist.
state, answers = np.zeros((2000, 1), np.float32), np.linspace(-1, 1, 201)
drawn = soft.predict(state, deterministic=False)[0]
fixed = hard.predict(state)[0]


def left(actions):
    """Return the mean reward against each constant answer."""
    return (((1 - ALPHA) * actions + ALPHA * answers) ** 2).mean(0)


value, pure = (1 - ALPHA) ** 2, (1 - 2 * ALPHA) ** 2
print(f"value of the game {value:.2f}, best deterministic protagonist {pure:.2f}")
print(f"left to RobustSAC {left(drawn).min():.2f}, to RobustDDPG {left(fixed).min():.2f}")
assert left(fixed).min() < pure + 0.02 < 0.33 < left(drawn).min() < value

fig, (a, b) = plt.subplots(1, 2, figsize=(8, 3))
a.hist(drawn.ravel(), np.linspace(-1, 1, 41), density=True)
a.axvline(fixed[0, 0], color="C1")
a.set(title="the protagonist's actions", xlabel="a")
for actions, label in ((drawn, "RobustSAC"), (fixed, "RobustDDPG")):
    b.plot(answers, left(actions), label=label)
b.axhline(value, color="0.5", ls=":", label="value of the game")
b.set(title="mean reward against an adversary's action", xlabel="ā")
b.legend()
fig.tight_layout()
