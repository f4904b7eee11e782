"""Envs that observe a Dict: one vector, perturbed, copied in the middle of an episode; and envs of other packages."""

import copy
import importlib
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils import EzPickle

import robustgames as rg

ANY, REACH = "robustgames/ActionRobust-v0", "dicts/Reach-v0"


class Reach(gym.Env, EzPickle):
    """A point that goes toward a goal, which every episode draws; its copies are made from the arguments alone."""

    perturbable = {"mass": "m"}  # noqa: RUF012
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    observation_space = gym.spaces.Dict(
        goal=gym.spaces.Box(-1, 1, (2,)), last=gym.spaces.Discrete(3), place=gym.spaces.Box(-9, 9, (2,))
    )

    def __init__(self, m=1.0):
        EzPickle.__init__(self, m)
        self.m, self.place, self.goal, self.last = m, np.zeros(2), np.zeros(2), 0

    def seen(self):
        return {"place": self.place.astype(np.float32), "goal": self.goal.astype(np.float32), "last": self.last}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.goal, self.last = np.zeros(2), self.np_random.uniform(-1, 1, 2), 0
        return self.seen(), {}

    def step(self, action):
        self.place, self.last = self.place + action / self.m, 1 + int(action[0] > 0)
        return self.seen(), -float(np.abs(self.place - self.goal).sum()), False, False, {}


gym.register(REACH, Reach, max_episode_steps=20)
UP = {"protagonist": np.ones(2, np.float32), "adversary": np.zeros(2, np.float32)}


def test_the_parts_of_a_dict_become_one_vector_in_the_order_of_the_space():
    env = gym.make(ANY, env_id=REACH, alpha=0.0)
    observation, _ = env.reset(seed=0, options={"perturbation": {"mass": 2.0}})
    assert env.observation_space.shape == (7,) and observation[2:].tolist() == [1, 0, 0, 0, 0]  # goal, last, place
    after = env.step(UP)[0]
    assert np.array_equal(after[:2], observation[:2]) and after[2:].tolist() == [0, 0, 1, 0.5, 0.5]
    plain = gym.make(REACH)
    assert np.array_equal(observation, gym.spaces.flatten(plain.observation_space, plain.reset(seed=0)[0]))
    assert "FlattenObservation" not in str(env.unwrapped.inner)  # which cannot be pickled


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
def test_a_copy_keeps_the_goal_of_the_episode(twin):
    env = gym.make(ANY, env_id=REACH)
    env.reset(seed=1, options={"perturbation": {"mass": 2.0}})
    env.step(UP)
    other = twin(env)
    for _ in range(3):
        (seen, reward, *_), (again, as_much, *_) = env.step(UP), other.step(UP)
        assert np.array_equal(seen, again) and reward == as_much
    other.set_wrapper_attr("goal", np.zeros(2))
    assert env.unwrapped.inner.unwrapped.goal.any()


def test_noise_and_shifts_act_on_the_vector():
    env = gym.make(ANY, env_id=REACH, coupling="observation", eps=0.25)
    first, _ = env.reset(seed=0)
    shift = np.array([1, -1, 0, 0, 0, 0, 0.5], np.float32)
    assert env.unwrapped.perceived(shift) - first == pytest.approx(0.25 * shift, abs=1e-6)
    noisy = gym.make(ANY, env_id=REACH)
    clean, _ = noisy.reset(seed=0)
    assert (noisy.reset(seed=0, options={"perturbation": {"observation_noise": 0.1}})[0] != clean).all()


@pytest.mark.parametrize("agent", [rg.RobustTD3, rg.ATLA])
def test_agents_learn_from_it_and_continue(agent, tmp_path):
    env = {"env": ANY, "env_settings": {"env_id": REACH}}
    made = agent(**env, learning_starts=20, batch_size=8, hidden=(8, 8)).learn(45)
    made.save(tmp_path / "saved")
    made.learn(20, reset_num_timesteps=False)
    twin = agent.load(tmp_path / "saved", **env).learn(20, reset_num_timesteps=False)
    assert bool((twin.z == made.z).all()) and made.ongoing.observation_size == 7


OTHERS = {"dm_control/cartpole-swingup-v0": ("shimmy", "dm_control"), "FetchReach-v4": ("gymnasium_robotics",)}


@pytest.mark.parametrize("name", OTHERS)
def test_masses_of_an_env_of_another_package_are_scaled(name):
    for package in OTHERS[name]:
        pytest.importorskip(package)
        importlib.import_module(package)  # registers its envs
    try:
        plain = gym.wrappers.FlattenObservation(gym.make(name))
    except (AssertionError, AttributeError):
        pytest.skip(f"{name} does not load with this version of MuJoCo, see docs/explain/control.md")
    env = gym.make(ANY, env_id=name, alpha=0.0)
    space, physics = env.action_space["protagonist"], env.unwrapped.physics
    actions = np.random.default_rng(0).uniform(-1, 1, (20, *space.shape)).astype(np.float32)

    def play(perturbation):
        observations = [env.reset(seed=0, options={"perturbation": perturbation})[0]]
        observations += [env.step({"protagonist": a, "adversary": 0 * a})[0] for a in actions]
        return np.array(observations)

    nominal = [plain.reset(seed=0)[0], *(plain.step(a.astype(plain.action_space.dtype))[0] for a in actions)]
    assert np.array_equal(play(None), nominal)
    assert np.abs(play({"mass": 2.0}) - nominal).max() > 1e-4  # 1e-3 for the arm, which follows a moving point
    assert np.array_equal(play(None), nominal)
    env.reset(seed=0, options={"perturbation": {"mass": 2.0}})
    twin = copy.deepcopy(env)
    for a in actions[:5]:
        joint_action = {"protagonist": a, "adversary": 0 * a}
        assert np.array_equal(env.step(joint_action)[0], twin.step(joint_action)[0])
    assert "world" in physics.names("mass") and rg.RobustTD3(ANY, env_settings={"env_id": name}).learn(5).updates == 0
