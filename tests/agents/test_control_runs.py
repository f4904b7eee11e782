"""A run of control: independent of the others, learning through wrappers, and always between two steps."""

import hashlib
import json
import subprocess
import sys
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import wrappers
from gymnasium.spaces import Box

import robustgames as rg
from robustgames.agents.control import recording
from robustgames.agents.control.recording import Recording
from robustgames.agents.robust_ddpg import RobustDDPG
from robustgames.envs.control.pendulum import RobustPendulumVectorEnv

PENDULUM, BATCH = "robustgames/ActionRobustPendulum-v0", "robustgames/RobustPendulum-v0"
SMALL = {"hidden": (8, 8), "learning_starts": 20, "batch_size": 8}
KINDS = [(PENDULUM, {}), (BATCH, {"exploration": "ou"}), (PENDULUM, {"exploration": "parameter", "layer_norm": True})]


# -- runs next to each other -------------------------------------------------------------------------------------
@pytest.mark.parametrize(("env", "settings"), KINDS)
def test_a_run_is_the_same_in_a_batch_of_any_size(env, settings):
    """The draws bit for bit; the weights up to the last bits, in which batched products may differ."""
    few, many = (RobustDDPG(env, seed=5, runs=runs, **SMALL, **settings) for runs in (3, 5))
    assert torch.equal(few.z[2], many.z[2]) and torch.equal(few.practice.state["w"][2], many.practice.state["w"][2])
    assert torch.equal(*(torch.as_tensor(agent.ongoing.observe()[2]) for agent in (few, many)))
    for agent in (few, many):
        agent.learn(20)  # with random actions: no arithmetic of networks
    rows = [agent.practice.replay._rows[:20, 2] for agent in (few, many)]
    assert torch.equal(*rows)
    batches = [agent.practice.replay.sample(8, agent.generator).rows[2] for agent in (few, many)]
    assert torch.equal(*batches)
    for agent in (few, many):
        agent.learn(25, reset_num_timesteps=False)
    assert torch.allclose(few.z[2], many.z[2], rtol=0, atol=1e-5) and not torch.equal(few.z[2], few.z[1])


def test_seeds_follow_the_number_of_an_episode_and_not_the_order_in_which_episodes_end():
    agent = RobustDDPG(PENDULUM, seed=3, runs=2, **SMALL)
    agent.ongoing.observe()
    agent.ongoing._started = [True, False]  # run 1 begins its second episode before run 0
    agent.ongoing.observe()
    first = list(agent.ongoing._seeds)
    agent.ongoing._started = [False, True]
    agent.ongoing.observe()
    expected = [
        [int(np.random.SeedSequence(3, spawn_key=(i, 2, e)).generate_state(1, np.uint64)[0]) >> 33 for e in range(2)]
        for i in range(2)
    ]
    assert first == [expected[0][0], expected[1][1]] and agent.ongoing._seeds == [expected[0][1], expected[1][1]]


def test_an_env_of_the_batch_does_not_depend_on_the_others():
    settings = {"coupling": "probabilistic", "perturbation": {"mass": (0.5, 2.0), "action_noise": 0.3}}
    few, many = (RobustPendulumVectorEnv(n, 0.3, max_episode_steps=5, **settings) for n in (2, 4))
    seen = few.reset(seed=[8, 9])[0], many.reset(seed=[1, 9, 8, 2])[0][[2, 1]]
    assert torch.equal(*seen)
    for _ in range(12):
        steps = [env.step(dict.fromkeys(env.players, torch.zeros(env.num_envs, 1))) for env in (few, many)]
        assert torch.equal(steps[0][0], steps[1][0][[2, 1]]) and torch.equal(steps[0][1], steps[1][1][[2, 1]])
    assert torch.equal(few.reset(seed=8)[0], seen[0])
    with pytest.raises(rg.GameError, match="seed is -1"):
        few.reset(seed=-1)


# -- wrappers ------------------------------------------------------------------------------------------------------
def first(env):
    return wrappers.TransformObservation(env, lambda o: o[:1], Box(-1, 1, (1,), np.float32))


WORKS = {
    "part": (first, lambda o, t: o[:1]),
    "time": (wrappers.TimeAwareObservation, None),
    "stack": (lambda env: wrappers.FrameStackObservation(env, 3), None),
    "flat": (wrappers.FlattenObservation, lambda o, t: o),
    "scaled": (lambda env: wrappers.RescaleObservation(env, np.float32(-2), np.float32(2)), None),
}


@pytest.mark.parametrize("name", WORKS)
def test_an_agent_learns_what_the_wrappers_show(name):
    wrap, _ = WORKS[name]
    agent = RobustDDPG(wrap(gym.make(PENDULUM)), **SMALL).learn(30)
    twin, rows = wrap(gym.make(PENDULUM)), agent.practice.replay._rows[:30, 0].numpy()
    size = gym.spaces.flatdim(twin.observation_space)
    observation, _ = twin.reset(seed=agent.ongoing._seeds[0])
    joint = agent.ongoing._recordings[0].actions
    for (own, other), row in zip(joint, rows, strict=True):
        after, reward, *_ = twin.step({"protagonist": own, "adversary": other})
        expected = np.concatenate([np.ravel(observation), row[size : size + 1], np.ravel(after), [reward, 1]])
        assert np.allclose(row, expected, rtol=1e-6) and len(row) == 2 * size + 3
        observation = after
    assert agent.predict(observation)[0].shape == agent.policy()(observation).shape == (1,)
    assert agent.predict(np.stack([observation] * 4))[0].shape == (4, 1)


def test_rewards_and_limits_are_those_of_the_wrappers():
    env = wrappers.TransformReward(wrappers.TimeLimit(gym.make(PENDULUM), 7), lambda r: 5.0)
    agent = RobustDDPG(env, **SMALL).learn(22)
    assert list(agent.episodes[0]) == [(35.0, 7)] * 3
    assert bool((agent.practice.replay._rows[:22, 0, -2:] == torch.tensor([5.0, 1.0])).all())


class Twice(gym.Wrapper):
    def step(self, action):
        self.env.step(action)
        return self.env.step(action)


class Negates(gym.Wrapper):
    def step(self, action):
        return self.env.step({**action, "protagonist": -np.asarray(action["protagonist"])})


class Wider(gym.ObservationWrapper):
    """Returns other observations than it states."""

    def observation(self, observation):
        return observation[:1]


@pytest.mark.parametrize(
    ("wrap", "error"),
    [
        (lambda e: wrappers.TransformAction(e, lambda a: a, e.action_space), "TransformAction changes the actions"),
        (wrappers.NormalizeObservation, "NormalizeObservation changes its scale .* use normalize=True"),
        (wrappers.NormalizeReward, "NormalizeReward changes its scale"),
        (lambda e: wrappers.MaxAndSkipObservation(e, 2), "MaxAndSkipObservation plays several steps in one"),
        (Twice, "one step moved the env 2 times: one of Twice"),
        (Negates, "does not explain: one of Negates"),
        (Wider, r"the first observation has shape \(1,\) .*: expected numbers of shape \(3,\)"),
        (
            lambda e: wrappers.TransformObservation(e, lambda o: 0, gym.spaces.Discrete(2)),
            "must be a Box, wrap it in FlattenObservation",
        ),
        (lambda e: wrappers.TransformObservation(e, lambda o: o * 1e39, None), "not finite in float32"),
        (
            lambda e: wrappers.TransformReward(e, lambda r: 1e39),
            "the reward is 1e[+]39, which is not finite in float32",
        ),
    ],
)
def test_what_cannot_be_learned_through_is_refused_by_name(wrap, error):
    with np.errstate(all="ignore"), pytest.raises(rg.GameError, match=error):
        RobustDDPG(wrap(gym.make(PENDULUM)), **SMALL).learn(3)


def test_a_wrapped_batch_is_refused():
    env = gym.wrappers.vector.RecordEpisodeStatistics(gym.make_vec(BATCH, num_envs=2))
    with pytest.raises(rg.GameError, match="RecordEpisodeStatistics wraps a batch"):
        RobustDDPG(env, **SMALL)


# -- others who move the env ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("env", [PENDULUM, BATCH])
@pytest.mark.parametrize("foreign", ["step", "reset"])
def test_an_env_moved_by_others_begins_a_new_episode(env, foreign, tmp_path):
    agent = RobustDDPG(env, exploration="ou", **SMALL).learn(30)
    inner = agent.env
    if foreign == "reset":
        inner.reset(seed=77)
    else:
        inner.step({p: np.zeros((1, 1) if env == BATCH else 1, np.float32) for p in ("protagonist", "adversary")})
    agent.save(tmp_path)
    loaded = RobustDDPG.load(tmp_path, env)
    for each in (agent, loaded):
        each.learn(10, reset_num_timesteps=False)
        rows = each.practice.replay._rows[:40, 0]
        joined = [bool(torch.equal(a[4:7], b[:3])) for a, b in pairwise(rows)]
        assert joined == [True] * 29 + [False] + [True] * 9
    assert torch.equal(agent.z, loaded.z)


# -- between two steps ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("place", ["players", "follow", "critic", "native"])
@pytest.mark.parametrize(("env", "settings"), [*KINDS, (PENDULUM, {"normalize": True, "noise": 0.0})])
def test_a_failed_update_is_owed_and_taken_bit_for_bit(env, settings, place, tmp_path, monkeypatch):
    engine = "native" if place == "native" else "torch"
    whole, agent = (RobustDDPG(env, seed=3, runs=2, engine=engine, **SMALL, **settings) for _ in "ab")
    owner, name = {
        "native": (agent.engine, "_draw"),  # all that can fail comes before the compiled call
        "players": (agent.practice, "draw"),
        "follow": (agent.practice.learning, "follow_"),
        "critic": (agent.practice.learning, "step_"),
    }[place]
    original = getattr(type(owner), name)

    def fails(self, *args):
        result = original(self, *args)
        if agent.num_timesteps == 36:
            raise MemoryError("no memory left")
        return result

    monkeypatch.setattr(type(owner), name, fails)
    with pytest.raises(MemoryError):
        agent.learn(60)
    monkeypatch.setattr(type(owner), name, original)
    assert agent.num_timesteps == agent.practice.replay.size == 36 and agent.updates == 15
    agent.save(tmp_path)
    whole.learn(60)
    for left in (agent, RobustDDPG.load(tmp_path, env)):
        assert torch.equal(left.learn(24, reset_num_timesteps=False).z, whole.z)
        assert left.updates == whole.updates and torch.equal(left.practice.target, whole.practice.target)


# -- memory --------------------------------------------------------------------------------------------------------
def test_an_endless_episode_takes_constant_memory_and_a_resumed_run_begins_a_new_one(tmp_path, monkeypatch):
    record = Recording(1)
    for _ in range(40_000):
        record.add(np.zeros((2, 1), np.float32))
    assert record.length == 40_000 and not record.whole
    assert len(record._kept) < 2 * recording.LIMIT and len(record.actions) == recording.LIMIT
    monkeypatch.setattr(recording, "LIMIT", 25)
    agent = RobustDDPG(PENDULUM, **SMALL).learn(24)
    for more, repeated in ((0, True), (10, False)):
        agent.learn(more, reset_num_timesteps=False).save(tmp_path)
        loaded = RobustDDPG.load(tmp_path, PENDULUM)
        assert loaded.ongoing._started == [repeated]
        assert loaded.learn(3, reset_num_timesteps=False).practice.replay.size == agent.num_timesteps + 3


# -- the box of actions --------------------------------------------------------------------------------------------
class Narrow(gym.Env):
    """Keeps the actions that were applied."""

    observation_space = Box(-1, 1, (1,), np.float32)
    action_space = Box(np.array([-0.1, 0.1]), np.array([0.3, 0.7]), dtype=np.float64)

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.applied = action
        return np.zeros(1, np.float32), 0.0, False, False, {}


def test_the_applied_action_lies_in_the_box_in_its_own_type():
    gym.register("test/Narrow-v0", entry_point=Narrow)
    env = gym.make("robustgames/ActionRobust-v0", env_id="test/Narrow-v0", alpha=0.0)
    env.reset(seed=0)
    for end in (-1.0, 1.0):
        env.step({p: np.full(2, end, np.float32) for p in ("protagonist", "adversary")})
        applied = env.unwrapped.inner.unwrapped.applied
        assert applied in Narrow.action_space and np.allclose(applied, [[-0.1, 0.1], [0.3, 0.7]][int(end > 0)])


def test_a_replay_is_saved_without_a_copy_and_files_of_versions_before_load(tmp_path):
    from safetensors.torch import load_file
    from safetensors.torch import save as to_bytes

    from robustgames import checkpoints

    tensors = {"b": torch.arange(3), "a": torch.rand(2, 3), "ü": torch.tensor(True), "e": torch.empty(0, 2).double()}
    checkpoints.save_checkpoint(tmp_path, dict(tensors))
    assert load_file(tmp_path / checkpoints.CURRENT)["a"].equal(tensors["a"])
    loaded = checkpoints.load_checkpoint(tmp_path)
    assert all(torch.equal(loaded[k], t) and loaded[k].dtype == t.dtype for k, t in tensors.items())
    text = json.dumps({k: {"$tensor": k} for k in tensors}, sort_keys=True)
    digest = hashlib.sha256(text.encode() + to_bytes(tensors)).hexdigest()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / checkpoints.CURRENT).write_bytes(to_bytes(tensors, {"content": text, "digest": digest}))
    assert all(torch.equal(checkpoints.load_checkpoint(tmp_path / "old")[k], t) for k, t in tensors.items())


SAVE = """
import resource, sys, torch
from robustgames.agents.control.replay import Replay
from robustgames.checkpoints import save_checkpoint
replay = Replay(1_000_000, 11, 3)
replay._rows.fill_(0.5)
replay.size = 1_000_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(3):
    save_checkpoint(sys.argv[1], {"replay": replay.state_dict()})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / replay._rows.nbytes)
"""


def test_saving_a_replay_of_a_million_rows_takes_at_most_twice_its_size(tmp_path):
    done = subprocess.run([sys.executable, "-c", SAVE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.2  # beyond the replay itself


# -- noise on actions ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("coupling", ["noisy", "probabilistic"])
@pytest.mark.parametrize("env", [PENDULUM, BATCH])
def test_noise_on_actions_is_a_part_of_the_env_and_the_replay_has_what_the_players_did(env, coupling):
    settings = {"alpha": 0.25, "coupling": coupling, "perturbation": {"action_noise": 0.5}}
    agent = RobustDDPG(env, runs=2, env_settings=settings, learning_starts=30, batch_size=8, engine="torch")
    played, play = [], agent.ongoing.play

    def noted(own, other):
        played.append(np.stack([np.array(own), np.array(other)], 1))
        return play(own, other)

    agent.ongoing.play = noted
    agent.learn(60)
    stored, both = agent.practice.replay._arrays[1][:60], np.stack(played)
    if coupling == "noisy":
        np.testing.assert_allclose(stored, 0.75 * both[:, :, 0] + 0.25 * both[:, :, 1], atol=1e-6)
    else:
        assert np.isclose(stored[:, :, None], both, atol=1e-6).any(2).all()
