r"""
A coupling of your own
======================

A coupling states what the adversary's action does to an env. If it acts on the actions, one method
is the whole law, and it serves the env, the batched pendulum and the targets of the agents. Here
the adversary's share of the action grows with its modulus:
:math:`(1-\alpha)\, a + \alpha\, \bar a |\bar a|`.
"""

from dataclasses import dataclass

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np

import robustgames as rg
from robustgames.envs import COUPLINGS, MixedAction


@dataclass(frozen=True)
class SquaredAction(MixedAction):
    """The action (1 - α) a + α ā |ā| is executed."""

    def mix(self, own, other, share):
        return share.between(own, other * abs(other))


COUPLINGS["squared"] = SquaredAction  # its name in env_settings and on the command line

# %%
# The env executes it.
env = gym.make("robustgames/ActionRobust-v0", coupling="squared", alpha=0.25)
env.reset(seed=0)
*_, info = env.step({"protagonist": [1.0], "adversary": [-0.5]})
print(info["executed_action"], "= 0.75 · 1 - 0.25 · 0.25")

strengths = np.linspace(-1, 1, 41)
for name in ("noisy", "squared"):
    env = gym.make("robustgames/ActionRobust-v0", coupling=name, alpha=0.25)
    env.reset(seed=0)
    executed = [
        env.unwrapped.step({"protagonist": [0.0], "adversary": [s]})[4]["executed_action"][0]
        for s in strengths
    ]
    plt.plot(strengths, executed, label=f"coupling={name!r}")
plt.title("Pendulum-v1, α = 0.25, action of the protagonist 0")
plt.xlabel("action of the adversary")
plt.ylabel("executed action")
plt.legend()
plt.show()

# %%
# An agent trains with it: both policies, in the batched pendulum, four runs side by side.
settings = {"coupling": "squared", "alpha": 0.25}
agent = rg.RobustTD3(
    "robustgames/RobustPendulum-v0",
    rg.make_solver("adam", lr=1e-3),
    seed=0,
    runs=4,
    env_settings=settings,
    learning_starts=100,
    hidden=(32, 32),
)
before = agent.z.clone()
agent.learn(200)
moved = (agent.z - before).norm(dim=-1)
print("the policies of each run moved by", moved)
assert info["executed_action"] == np.float32(0.75 - 0.0625) and (moved > 0).all()

# %%
# An adversary that acts through something else derives from :class:`robustgames.envs.Coupling`
# and returns a :class:`robustgames.envs.Play`. :doc:`/howto/plot_couplings` shows the built-in
# ones.
