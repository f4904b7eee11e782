r"""
PettingZoo
==========

:class:`robustgames.envs.parallel.ParallelGame` is the parallel interface of PettingZoo: both
players are agents, each with its own observation and reward. It needs ``pip install
"robustgames[pettingzoo]"``.
"""

import matplotlib.pyplot as plt
import numpy as np
from pettingzoo.test import parallel_api_test

from robustgames.envs.parallel import ParallelGame

game = ParallelGame("robustgames/Quadratic-v0")
parallel_api_test(game, num_cycles=100)

# %%
# A step takes a dictionary of actions and returns dictionaries. Here both players follow a simple
# rule of their own: a small random change is kept if the own reward grows.
rng = np.random.default_rng(0)
observations, infos = game.reset(seed=0)
now = {player: np.array([1.5], np.float32) for player in game.possible_agents}
history = []
for _ in range(400):
    for player in game.possible_agents:
        tried = {**now, player: now[player] + rng.normal(0, 0.1, 1).astype(np.float32)}
        before = game.step(now)[1][player]
        after = game.step(tried)[1][player]
        if after > before:
            now = tried
    history.append([float(now[player][0]) for player in game.possible_agents])

plt.plot(history, label=[f"player {player}" for player in game.possible_agents])
plt.axhline(0, color="0.5", ls=":", label="saddle")
plt.title("Quadratic game through PettingZoo: two hill climbers")
plt.xlabel("rounds")
plt.ylabel("strategy")
plt.legend()
plt.show()

# %%
# Rewards add up to 0, and the players end at the saddle.
_, rewards, *_ = game.step(now)
print("rewards:", {player: round(reward, 4) for player, reward in rewards.items()})
assert abs(sum(rewards.values())) < 1e-6
assert max(abs(value) for value in history[-1]) < 0.05
