"""What an examination takes from the settings of an env of one's own, and from a coupling of one's own."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest

from robustgames.envs import COUPLINGS, MixedAction
from robustgames.evaluation.rollouts import play
from robustgames.experiment.base import Examination
from robustgames.experiment.examination import Subject, examine

ANY = "robustgames/ActionRobust-v0"
SHORT = Examination(grid=("action_noise=0",), episodes=2)


class Walk(gym.Env):
    """x+ = x + 0.1 a pays -eps |x| + bound: two settings that have the names of settings of couplings."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, eps=1.0, bound=0.0):
        self.eps, self.bound = eps, bound

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 1)
        return self.x.copy(), {}

    def step(self, action):
        self.x = self.x + 0.1 * action
        return self.x.copy(), float(self.bound - self.eps * abs(self.x[0])), False, False, {}


gym.register("examination/Walk-v0", Walk, max_episode_steps=5)


@dataclass(frozen=True)
class Opposed(MixedAction):
    """The adversary's share of the action is turned around."""

    def mix(self, own, other, share):
        return share.between(own, -other)


def still(observation):
    return np.zeros(1, np.float32)


def subject(**settings):
    return Subject("still", [still], ANY, {"env_id": "examination/Walk-v0", **settings})


@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
def test_random_adversaries_act_in_the_env_of_the_sweep(coupling):
    one = subject(eps=3.0, bound=7.0, alpha=0.2, coupling=coupling)
    found = examine(one, SHORT)[0]["random_adversary"]
    assert found["without"][0] == play(ANY, still, 10, env_settings=one.env_settings).returns.mean()
    assert found["alpha"] == 0.2


def test_settings_of_the_coupling_are_not_those_of_the_env():
    one = subject(eps=3.0, bound=7.0, coupling="observation")  # whose radius is eps
    found = examine(one, SHORT)[0]["random_adversary"]
    assert found["without"][0] == play(ANY, still, 10, env_settings=one.env_settings).returns.mean()
    assert found["alpha"] == 0.1


def test_a_coupling_of_ones_own_keeps_its_share(monkeypatch):
    monkeypatch.setitem(COUPLINGS, "opposed", Opposed)
    what = Examination(grid=("action_noise=0",), episodes=2, best_response=20)
    found, _ = examine(subject(coupling="opposed", alpha=0.4), what)
    assert found["random_adversary"]["alpha"] == found["best_response"]["env_settings"]["alpha"] == 0.4
