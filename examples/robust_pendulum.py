"""Does an adversary in training help a pendulum that is heavier than expected?

`python examples/robust_pendulum.py` takes a minute or two: sixteen paired seeds of TD3. The plain
agents are TD3. The robust ones train with an adversary that replaces 30 % of their actions (PR-MDP,
Tessler et al. 2019). Both then play pendulums of other masses, in which chance replaces up to 30 %
of the actions.
"""

import robustgames as rg
from robustgames.evaluation.robustness import compare, sweep

RUNS = 16
GRID = {"mass": (0.5, 1.0, 1.5, 2.0), "action_noise": (0.0, 0.3)}


def returns(**settings):
    """Returns of the agents, trained side by side, in every cell of the grid."""
    solver = rg.make_solver("adam", lr=1e-3)
    agent = rg.RobustTD3(
        "robustgames/RobustPendulum-v0", solver, seed=0, runs=RUNS, env_settings=settings
    )
    agent.learn(8_000)
    policies = [agent.policy(run) for run in range(RUNS)]
    return sweep(policies, "robustgames/ActionRobustPendulum-v0", GRID, episodes=5)


plain, robust = returns(alpha=0.0), returns(alpha=0.3, coupling="probabilistic")
for what, difference in compare(robust, plain).items():
    print(f"{what:8} robust minus plain {difference}")
assert compare(robust, plain)["worst"].difference.low > 0
