"""Envs of users, each with one mistake."""

import sys

import gymnasium as gym
import numpy as np


class Fine(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(2, np.float32), 0.0, False, self.steps % 10 == 0, {}


class ResetRaises(Fine):
    def reset(self, *, seed=None, options=None):
        raise RuntimeError("no port")


class ResetNone(Fine):
    def reset(self, *, seed=None, options=None):
        return None


class ResetOne(Fine):
    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32)


class StepRaises(Fine):
    def step(self, action):
        if self.steps > 15:
            raise RuntimeError("the motor is hot")
        return super().step(action)


class StepFour(Fine):
    def step(self, action):
        return super().step(action)[:4]


class StepNone(Fine):
    def step(self, action):
        return None


class RewardString(Fine):
    def step(self, action):
        return np.zeros(2, np.float32), "one", False, False, {}


class RewardNone(Fine):
    def step(self, action):
        return np.zeros(2, np.float32), None, False, False, {}


class RewardNan(Fine):
    def step(self, action):
        return np.zeros(2, np.float32), float("nan"), False, False, {}


class ObservationNan(Fine):
    def step(self, action):
        return np.full(2, np.nan, np.float32), 0.0, False, False, {}


class ObservationShape(Fine):
    def step(self, action):
        return np.zeros(3, np.float32), 0.0, False, False, {}


class ObservationHuge(Fine):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def step(self, action):
        return np.full(2, 1e39), 0.0, False, False, {}


class NoActionSpace(Fine):
    action_space = None


class NoObservationSpace(Fine):
    observation_space = None


class DiscreteActions(Fine):
    action_space = gym.spaces.Discrete(2)


class DictObservations(Fine):
    observation_space = gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (2,), np.float32)})

    def reset(self, *, seed=None, options=None):
        return {"a": np.zeros(2, np.float32)}, {}


class UnboundedActions(Fine):
    action_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)


class StepExits(Fine):
    def step(self, action):
        sys.exit(0)


class InitRaises(Fine):
    def __init__(self):
        raise FileNotFoundError("model.xml")


class TerminatedString(Fine):
    def step(self, action):
        return np.zeros(2, np.float32), 0.0, "no", False, {}


for kind in Fine.__subclasses__():
    gym.register(f"bad/{kind.__name__}-v0", kind)
