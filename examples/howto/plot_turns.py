r"""
Two players that learn in turns: ATLA
=====================================

With one player fixed, the other one acts in a single-agent MDP, in every coupling.
:class:`~robustgames.ATLA` uses this: for ``turn`` steps the protagonist learns by TD3 against the
present adversary, then the adversary learns to shift what the protagonist observes, and so on.
:class:`~robustgames.RARL` is the same with forces on bodies, :class:`~robustgames.RAP` with several
adversaries.
"""

import matplotlib.pyplot as plt

import robustgames as rg
from robustgames.evaluation.rollouts import play

ENV, TURN = "robustgames/ActionRobustPendulum-v0", 4000
SHIFT = {"coupling": "observation", "eps": 0.3}
agent = rg.ATLA(ENV, env_settings=SHIFT, turn=TURN, learning_starts=500, tau=0.02, seed=1)


def weights():
    """Return copies of what each of the two players has learned."""
    return agent.z.clone(), agent.adversaries[0].z.clone()


# %%
# The first turn is the protagonist's, in which the adversary's weights do not move. In the second
# one the protagonist is frozen.
start = weights()
agent.learn(TURN)
middle = weights()
agent.learn(TURN, reset_num_timesteps=False)
end = weights()
pairs = [zip(start, middle, strict=True), zip(middle, end, strict=True)]
moved = [[bool((a != b).any()) for a, b in pair] for pair in pairs]
print("who moved (protagonist, adversary) in the first turn, in the second:", moved)
assert moved == [[True, False], [False, True]]

# %%
# So the second turn measures how exploitable the first one's policy is. All episodes begin in the
# same ten states.
policy, returns = agent.policy(), {}
for name, adversary in (
    ("alone", None),
    ("random shifts", "random"),
    ("learned shifts", agent.policy(player="adversary")),
):
    returns[name] = play(ENV, policy, 10, adversary=adversary, env_settings=SHIFT).returns
    print(f"{name:15} {returns[name].mean():7.0f}")
assert returns["learned shifts"].mean() < returns["random shifts"].mean() < returns["alone"].mean()

for name, values in returns.items():
    plt.plot(sorted(values), "o-", label=name)
plt.title("Pendulum-v1: returns of one frozen policy")
plt.xlabel("ten starts, sorted by return")
plt.ylabel("return of the protagonist")
plt.legend()
plt.show()
