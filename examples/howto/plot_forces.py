r"""
Forces on a body: RARL
======================

In the coupling ``force`` the adversary's action is a force on bodies of a MuJoCo env (Pinto et al.
2017). :class:`~robustgames.RARL` trains both players in turns of ``turn`` steps, each against the
other's present policy, and :class:`~robustgames.RAP` trains several adversaries, of which one is
drawn in every episode. In InvertedPendulum the pole is pushed in x and z, by at most 5 newtons each
as in the published code, unless ``bound`` is given. The command is ``robustgames train rarl
robustgames/ActionRobustInvertedPendulum-v0 --set bound=20``. The training here is short: alone, the
protagonist keeps the pole up for some fifty steps of 1,000.
"""

import gymnasium as gym
import matplotlib.pyplot as plt

import robustgames as rg
from robustgames.evaluation.rollouts import play

ENV, TURN = "robustgames/ActionRobustInvertedPendulum-v0", 2000
FORCE = {"coupling": "force", "bound": 20.0}
COMMON = {"gamma": 0.95, "hidden": (64, 64), "learning_starts": 300, "tau": 0.02, "seed": 1}
agent = rg.RARL(ENV, env_settings=FORCE, turn=TURN, engine="torch", **COMMON)

agent.learn(TURN)  # the protagonist's turn
first = agent.z.clone()
agent.learn(TURN, reset_num_timesteps=False)  # the adversary's, in which the protagonist is frozen
assert (agent.z == first).all() and agent.adversaries[0].num_timesteps == TURN

# %%
# So one policy plays all episodes. They begin in the same ten states, and a return counts the steps
# until the pole falls. An adversary that plays 0 leaves the returns as they are.
policy, pusher = agent.policy(), agent.policy(player="adversary")
opponents = {"no force": [0.0, 0.0], "random forces": "random", "learned forces": pusher}
returns = {}
for name, other in (("alone", None), *opponents.items()):
    returns[name] = play(ENV, policy, 10, adversary=other, env_settings=FORCE).returns
    print(f"{name:14} {returns[name].mean():5.1f}")
assert (returns["no force"] == returns["alone"]).all()
assert returns["learned forces"].mean() < 0.8 * returns["random forces"].mean()

# %%
# A force is the bound times the adversary's action.
env = gym.make(ENV, **FORCE)
env.reset(seed=0)
env.step({"protagonist": [0.0], "adversary": [1.0, -0.5]})
force = env.unwrapped.inner.unwrapped.data.body("pole").xfrc_applied[:3]
print("force in x, y and z:", force)
assert force.tolist() == [20.0, 0.0, -10.0]

for name, other in opponents.items():
    view = rg.PlayerView(env, "protagonist", opponent=other)
    observation, angles, ended = view.reset(seed=0)[0], [], False
    while not ended:
        angles.append(observation[1])
        observation, _, ended, *_ = view.step(policy(observation))
    plt.plot([*angles, observation[1]], label=name)
plt.gca().set(title="InvertedPendulum: one episode each", xlabel="steps", ylabel="angle")
plt.legend()
plt.show()
