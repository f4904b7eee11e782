r"""
Force, dynamics, observation: other ways to act
===============================================

Next to the two couplings of actions (``noisy``, ``probabilistic``), an adversary can push bodies
(:class:`~robustgames.envs.BodyForce`), set masses or friction in every step
(:class:`~robustgames.envs.DynamicsShift`), or shift what the protagonist observes
(:class:`~robustgames.envs.ObservationShift`). The couplings are chosen by name, and their settings
follow it. A linear controller balances a pole while each of them disturbs it at random.
"""

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np

import robustgames as rg

ENV = {"id": "robustgames/ActionRobust-v0", "env_id": "InvertedPendulum-v5"}
GAIN = np.array([0.2, 3.0, 0.3, 0.6])  # position, angle, and their velocities


def balance(observation):
    """Push the cart toward where the pole falls; an action of 1 is the largest push."""
    return np.clip([GAIN @ observation], -1, 1).astype(np.float32)


def play(strength, **coupling):
    """Return the modulus of the angle over an episode against a random adversary."""
    env = gym.make(**ENV, **coupling)
    observation, _ = env.reset(seed=0)
    rng = np.random.default_rng(1)
    shape, angles = env.action_space["adversary"].shape, []
    for _ in range(300):
        push = strength * rng.choice([-1.0, 1.0], shape).astype(np.float32)
        seen = env.unwrapped.perceived(push)  # a shift is seen before the protagonist acts
        actions = {"protagonist": balance(seen), "adversary": push}
        observation, _, terminated, _, _ = env.step(actions)
        angles.append(abs(observation[1]))
        if terminated:
            break
    return np.array(angles)


# %%
# Each coupling has its own settings, and its own shape of the adversary's action: two components of
# a force, one scale, four components of an observation.
COUPLINGS = {
    "force": {"coupling": "force", "bodies": ["pole"], "plane": "xz", "bound": 4.0},
    "dynamics": {"coupling": "dynamics", "scales": {"mass": (0.5, 3.0)}},
    "observation": {"coupling": "observation", "eps": 0.05},
}
quiet = play(0.0, coupling="observation", eps=0.05)
plt.semilogy(quiet, color="0.5", label="no adversary")
for name, settings in COUPLINGS.items():
    angle = play(1.0, **settings)
    plt.semilogy(angle, label=name)
    env = gym.make(**ENV, **settings)
    print(f"{name:12} {env.action_space['adversary'].shape} largest angle {angle.max():.4f}")
    assert angle.max() > quiet[50:].max()  # each of them acts
plt.title("InvertedPendulum-v5 under a random adversary")
plt.xlabel("steps")
plt.ylabel("|angle|")
plt.legend(ncols=2)
plt.show()

# %%
# The adversary is trained like any player: a :class:`~robustgames.PlayerView` fixes the
# protagonist, and any single-agent library acts. Its reward is minus that of the protagonist.
view = rg.PlayerView(gym.make(**ENV, **COUPLINGS["force"]), "adversary", opponent=balance)
view.reset(seed=0)
reward = view.step(np.array([1.0, 0.0]))[1]
print("reward of the adversary:", reward)
assert reward == -1.0
