"""Adversaries of a frozen policy: random controls, and best responses that are known."""

import random

import gymnasium as gym
import numpy as np
import pytest
import torch

import robustgames as rg
from robustgames.evaluation.adversaries import best_response, random_controls
from robustgames.evaluation.rollouts import control_env, play

PENDULUM = "robustgames/ActionRobustPendulum-v0"


class OneStep(gym.Env):
    """One step that pays slope · a - square · a² for the executed action a; the observation is constant."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, slope=0.0, square=0.0):
        self.slope, self.square = slope, square

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        a = float(action[0])
        return np.zeros(1, np.float32), self.slope * a - self.square * a * a, True, False, {}


@pytest.fixture(scope="module", autouse=True)
def registered():
    gym.register("OneStep-v0", OneStep)
    yield
    del gym.registry["OneStep-v0"]


def toy(**settings):
    return {"env_id": "OneStep-v0", **settings}


def constant(value):
    return lambda observation: np.array([value])


# -- best responses --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("reward", "coupling", "action", "without", "under"),
    [
        ({"slope": 1.0}, "noisy", 0.2, 0.2, 0.5 * 0.2 - 0.5),  # ā = -1
        ({"slope": -1.0}, "probabilistic", 0.2, -0.2, None),  # ā = 1 with probability ½
        ({"square": 1.0}, "noisy", 0.4, -0.16, -((0.5 * 0.4 + 0.5) ** 2)),  # ā = 1, the farther end
        ({"square": 1.0}, "noisy", -0.4, -0.16, -((0.5 * 0.4 + 0.5) ** 2)),  # ā = -1
    ],
)
def test_the_known_best_response_is_found(reward, coupling, action, without, under):
    found = best_response(
        constant(action),
        "robustgames/ActionRobust-v0",
        steps=400,
        episodes=40,
        env_settings=toy(alpha=0.5, coupling=coupling, **reward),
        learning_starts=64,
        batch_size=64,
        learning_rate=3e-3,
    )
    assert found.without == pytest.approx(np.full(40, without), abs=1e-6)
    if coupling == "noisy":
        assert found.learned[0] == pytest.approx(np.full(40, under), abs=0.02)
        assert found.exploitability == pytest.approx(without - under, abs=0.02)
        assert found.exploitability > without - found.random.mean()  # beyond the random control
    else:
        assert abs(found.adversaries[0](np.zeros(1, np.float32))[0] - 1) < 0.05
        assert set(np.round(found.learned[0], 1)) == {-0.2, -1.0}


def test_without_a_share_nothing_is_exploitable():
    found = best_response(
        constant(0.3),
        "robustgames/ActionRobust-v0",
        "PPO",
        steps=16,
        episodes=5,
        env_settings=toy(alpha=0.0, slope=1.0),
        n_steps=16,
        batch_size=16,
    )
    assert found.exploitability == 0.0 and found.interval() == (0.0, 0.0, 0.0)


def test_the_strongest_learner_is_chosen_and_the_sign_is_that_of_harm():
    found = best_response(
        constant(0.0),
        "robustgames/ActionRobust-v0",
        steps=60,
        seeds=(0, 1, 2),
        episodes=4,
        env_settings=toy(alpha=0.5, slope=1.0),
        learning_starts=59,  # next to nothing is learned: the three differ
    )
    means = found.learned.mean(1)
    assert found.learned.shape == (3, 4) and len(set(means)) == 3
    assert found.chosen == means.argmin()
    assert found.exploitability == pytest.approx(found.without.mean() - means.min())


def test_training_repeats_and_leaves_the_global_generators_alone():
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()
    one, other = (best_response(constant(0.0), PENDULUM, steps=30, episodes=1) for _ in range(2))
    np.testing.assert_array_equal(one.learned, other.learned)
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.random.get_rng_state(), states[2])


def test_unknown_algorithms_and_no_seeds():
    with pytest.raises(rg.GameError, match="unknown algorithm 'TD4': did you mean TD3"):
        best_response(constant(0.0), PENDULUM, "TD4")
    with pytest.raises(rg.GameError, match="seeds are empty"):
        best_response(constant(0.0), PENDULUM, seeds=())


# -- random controls -------------------------------------------------------------------------------------------
def executed(coupling, alpha, action, count=2000):
    """Return what was executed over some episodes of the constant policy, under the random adversary."""
    env = control_env("robustgames/ActionRobust-v0", toy(alpha=alpha, coupling=coupling, slope=1.0))
    return play(env, constant(action), count, adversary="random").returns  # slope 1: the return is the executed action


def test_random_mixing_is_uniform_around_the_protagonists_share():
    a = executed("noisy", 0.3, action=0.5)
    assert a.min() >= 0.35 - 0.3 - 1e-6 and a.max() <= 0.35 + 0.3 + 1e-6
    assert a.mean() == pytest.approx(0.35, abs=4 * 0.3 / np.sqrt(3 * 2000))
    assert a.std() == pytest.approx(0.3 / np.sqrt(3), rel=0.05)


def test_random_replacement_replaces_that_share_by_uniform_actions():
    a = executed("probabilistic", 0.3, action=0.5)
    replaced = a[np.abs(a - 0.5) > 1e-6]
    assert len(replaced) / 2000 == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 2000))
    assert replaced.mean() == pytest.approx(0.0, abs=4 / np.sqrt(3 * len(replaced)))
    assert replaced.std() == pytest.approx(1 / np.sqrt(3), rel=0.08)


def test_the_three_controls_play_the_same_episodes():
    controls = random_controls(constant(0.5), "robustgames/ActionRobust-v0", 0.3, 2000, env_settings=toy(slope=1.0))
    assert controls["without"] == pytest.approx(np.full(2000, 0.5))
    np.testing.assert_array_equal(controls["mixing"], executed("noisy", 0.3, 0.5))
    np.testing.assert_array_equal(controls["replacement"], executed("probabilistic", 0.3, 0.5))
    nothing = random_controls(constant(0.5), "robustgames/ActionRobust-v0", 0.0, 3, env_settings=toy(slope=1.0))
    assert all((returns == 0.5).all() for returns in nothing.values())
    with pytest.raises(rg.GameError, match=r"lies in \[0, 1\]"):
        random_controls(constant(0.5), PENDULUM, alpha=1.5)


def test_finitely_many_actions_are_replaced_and_not_mixed():
    cart, left = {"env_id": "CartPole-v1", "coupling": "probabilistic"}, np.array([1.0, -1.0])
    returns = random_controls(lambda observation: left, "robustgames/ActionRobust-v0", 0.5, 5, env_settings=cart)
    assert [*returns] == ["without", "replacement"]
    assert returns["replacement"].mean() > returns["without"].mean()  # going left alone falls at once


@pytest.mark.slow
def test_a_learned_adversary_harms_more_than_a_random_one():
    """A pendulum that is held upright by a linear policy: 3,000 steps find what knocks it over."""

    def hold(observation):
        cos, sin, speed = observation
        return np.array([np.clip(np.sign(speed) if cos < 0.9 else -5 * sin - speed, -1, 1)])

    found = best_response(hold, PENDULUM, steps=6000, episodes=20, env_settings={"alpha": 0.4})
    assert found.interval().low > 0 and found.exploitability > 2 * (found.without.mean() - found.random.mean())
