"""`terminated` and `truncated` are True or False: any other value is truthy in Python, or not, by chance."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import robustgames as rg
from robustgames.agents import RobustDDPG
from robustgames.envs.control.inner import checked_flag
from robustgames.evaluation.rollouts import play

PENDULUM = "robustgames/ActionRobustPendulum-v0"


class Ends(gym.Wrapper):
    """Wrapper that returns other ends of episodes."""

    def __init__(self, env, **ends):
        super().__init__(env)
        self.ends = ends

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        ends = {"terminated": terminated, "truncated": truncated, **self.ends}
        return observation, reward, ends["terminated"], ends["truncated"], info


@pytest.mark.parametrize("name", ["terminated", "truncated"])
@pytest.mark.parametrize("value", ["no", "", None, 0, 1.0, [False], np.int64(1)])
def test_what_is_neither_true_nor_false_is_refused_by_name(name, value):
    env = Ends(gym.make(PENDULUM), **{name: value})
    with pytest.raises(rg.GameError, match=rf"returned {name} .*: return True or False"):
        RobustDDPG(env, learning_starts=5, batch_size=4, hidden=(4,)).learn(3)
    with pytest.raises(rg.GameError, match=rf"returned {name} .*: return True or False"):
        play(env, lambda observation: np.zeros(1), episodes=1)


def test_true_and_false_of_numpy_and_torch_are_taken():
    env = gym.make(PENDULUM)
    for value in (True, np.True_, np.array(True), torch.tensor(True)):
        assert checked_flag("terminated", value, env) is True
    assert checked_flag("terminated", np.False_, env) is False


def test_an_episode_that_goes_on_is_told(monkeypatch, recwarn):
    monkeypatch.setattr("robustgames.evaluation.rollouts.LONG", 201)
    play(PENDULUM, lambda observation: np.zeros(1), episodes=1)  # has 200 steps
    assert not recwarn
    monkeypatch.setattr("robustgames.evaluation.rollouts.LONG", 50)
    with pytest.warns(UserWarning, match="an episode has 50 steps and has not ended: if it has no end, gym.register"):
        assert play(PENDULUM, lambda observation: np.zeros(1), episodes=1).lengths == [200]
