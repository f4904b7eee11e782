r"""
Finitely many actions: robust DQN
=================================

``robustgames/ActionRobust-v0`` also takes envs with finitely many actions. An action of either
player is then a vector of preferences in :math:`[-1, 1]^n`, and its largest component is executed.
In the coupling ``probabilistic`` the vector is the adversary's with probability α.
:class:`~robustgames.RobustDQN` has one Q for both players: :math:`V = (1-\alpha) \max_a Q + \alpha
\min_a Q`. Here a river is crossed by ferry, with reward 0.5, or on a bridge, with reward 1, or -3
after a wrong step. The bridge is worth :math:`1 - 4\alpha`, and :math:`1 - 2\alpha` under random
replacements. CartPole is ``robustgames train robust_dqn robustgames/RobustCartPole-v0``.
"""

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import torch

import robustgames as rg
from robustgames.evaluation.rollouts import play

PLACES = np.eye(3, dtype=np.float32)  # the bank, the bridge, the ferry
REWARDS = ((0.0, 0.0), (1.0, -3.0), (0.5, 0.5))  # of the two actions in each


class River(gym.Env):
    """From the bank to the bridge (action 0) or the ferry (1), then across."""

    observation_space, action_space = gym.spaces.Box(0, 1, (3,)), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return PLACES[0], {}

    def step(self, action):
        before, self.place = self.place, int(action) + 1
        return PLACES[self.place], REWARDS[before][action], before > 0, False, {}


gym.register("howto/River-v0", River)
ENV = "robustgames/ActionRobust-v0"
RIVER = {"env_id": "howto/River-v0", "coupling": "probabilistic"}
COMMON = {"hidden": (32, 32), "batch_size": 64, "learning_starts": 200, "exploration_steps": 300}
COMMON |= {"gamma": 0.9, "train_freq": 2, "gradient_steps": 2, "epsilon": 0.3, "seed": 0}

# %%
# The ferry is better if α is above 1/8, and above 1/4 under random replacements.
agents = {}
for kind, loss, color in (("learned", 4, "C3"), ("random", 2, "C0")):
    for alpha in (0.1, 0.2, 0.3):
        river = RIVER | {"alpha": alpha}
        agent = rg.RobustDQN(ENV, env_settings=river, adversary=kind, **COMMON).learn(1000)
        agents[kind, alpha] = agent
        _, bridge, ferry = agent.values(torch.tensor(PLACES)[None])[0].tolist()
        way = ("bridge", "ferry")[agent.policy()(PLACES[0]).argmax()]
        print(f"α = {alpha}, {kind:7}: bridge {bridge:.3f}, ferry {ferry:.3f}, takes the {way}")
        assert abs(bridge - (1 - loss * alpha)) < 0.04 and abs(ferry - 0.5) < 0.04
        assert way == ("bridge" if 1 - loss * alpha > 0.5 else "ferry")
        plt.plot(alpha, bridge, "o", color=color)
    plt.plot((0, 0.35), (1, 1 - loss * 0.35), color=color, label=f"bridge, {kind} adversary")
plt.axhline(0.5, color="0.5", ls=":", label="ferry")
plt.gca().set(title="values of both ways: exact (lines), of robust DQN (points)", xlabel="α")
plt.legend()
plt.show()

# %%
# Mean returns for α = 0.2 alone, under random replacements and under the learned adversary.
RIVER["alpha"], adversary = 0.2, agents["learned", 0.2].policy(player="adversary")
for kind, exact in (("learned", (0.5, 0.51, 0.44)), ("random", (1.0, 0.59, 0.2))):
    for other, value in zip((None, "random", adversary), exact, strict=True):
        played = play(ENV, agents[kind, 0.2], 1000, adversary=other, env_settings=RIVER)
        print(f"trained with {kind}: {played.returns.mean():.2f}, exactly {value:.2f}")
        assert abs(played.returns.mean() - value) < 0.2
