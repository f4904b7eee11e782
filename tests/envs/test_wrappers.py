"""Every wrapper and vector wrapper of Gymnasium around every family of envs: it works, or is refused by name."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.wrappers import vector

import robustgames as rg
from robustgames.envs import NumpyBatch
from robustgames.envs.control.perturbations import flat


def still(observation):
    return np.zeros(1, np.float32)


def game():
    return gym.make("robustgames/MatchingPennies-v0", max_episode_steps=5)


def control():
    return gym.make("robustgames/ActionRobustPendulum-v0", max_episode_steps=5, render_mode="rgb_array")


def black_box():
    return gym.make("robustgames/DigitsBlackBox-v0", count=5, queries=5, render_mode="rgb_array")


def view_of_game():
    return rg.PlayerView(game(), "x", "random")


def view_of_control():
    return rg.PlayerView(control(), "protagonist", still)


FAMILIES = {made.__name__: made for made in (game, control, black_box, view_of_game, view_of_control)}


MAKE = {
    "DelayObservation": lambda env: wrappers.DelayObservation(env, 1),
    "DtypeObservation": lambda env: wrappers.DtypeObservation(env, np.float64),
    "DiscretizeObservation": lambda env: wrappers.DiscretizeObservation(env, 4),
    "FilterObservation": lambda env: wrappers.FilterObservation(
        env, list(getattr(env.observation_space, "spaces", "x"))[:1]
    ),
    "FrameStackObservation": lambda env: wrappers.FrameStackObservation(env, 2),
    "TransformObservation": lambda env: wrappers.TransformObservation(env, lambda o: o, env.observation_space),
    "ResizeObservation": lambda env: wrappers.ResizeObservation(env, (4, 4)),
    "ReshapeObservation": lambda env: wrappers.ReshapeObservation(env, (*(env.observation_space.shape or ()), 1)),
    "RescaleObservation": lambda env: wrappers.RescaleObservation(env, np.float32(-1), np.float32(1)),
    "DiscretizeAction": lambda env: wrappers.DiscretizeAction(env, 5),
    "TransformAction": lambda env: wrappers.TransformAction(env, lambda a: a, env.action_space),
    "RescaleAction": lambda env: wrappers.RescaleAction(env, np.float32(0), np.float32(1)),
    "StickyAction": lambda env: wrappers.StickyAction(env, 0.5),
    "RepeatAction": lambda env: wrappers.RepeatAction(env, 2),
    "ClipReward": lambda env: wrappers.ClipReward(env, -0.1, 0.1),
    "TransformReward": lambda env: wrappers.TransformReward(env, lambda r: 2 * r),
    "MaxAndSkipObservation": lambda env: wrappers.MaxAndSkipObservation(env, 2),
    "TimeLimit": lambda env: wrappers.TimeLimit(env, 3),
    "AddWhiteNoise": lambda env: wrappers.AddWhiteNoise(env, 0.5),
    "ObstructView": lambda env: wrappers.ObstructView(env, 0.5, 2),
    "RecordVideo": lambda env: wrappers.RecordVideo(env, "videos"),
    "ArrayConversion": lambda env: wrappers.ArrayConversion(env, np, np),
}
"""Wrappers with arguments."""

DICT, BOX = "requires|compatible|must have", "3 channels|2D or 3D|usable with"
GAMES, IMAGES = ("game", "view_of_game"), ("game", "black_box")
REFUSED = {
    "DtypeObservation": (IMAGES, DICT),
    "DiscretizeObservation": ((*IMAGES, "view_of_game"), DICT + "|to be finite"),
    "FilterObservation": (("control", "view_of_game", "view_of_control"), BOX),
    "GrayscaleObservation": (FAMILIES, DICT + "|" + BOX),
    "MaxAndSkipObservation": (IMAGES, DICT),
    "NormalizeObservation": (IMAGES, DICT),
    "AddRenderObservation": (GAMES, "requires render_mode"),
    "ResizeObservation": (FAMILIES, DICT + "|" + BOX),
    "ReshapeObservation": (IMAGES, DICT),
    "RescaleObservation": ((*IMAGES, "view_of_game"), DICT + "|unbounded components"),
    "TimeAwareObservation": (("black_box", "view_of_game", "view_of_control"), "wrapped by a TimeLimit"),
    "ClipAction": (("game", "control"), DICT),
    "DiscretizeAction": (("game", "control"), DICT),
    "RescaleAction": (("game", "control"), DICT),
    "RenderCollection": (GAMES, "render_mode"),
    "RecordVideo": (GAMES, "Render mode"),
    "HumanRendering": (GAMES, "render_mode"),
}
"""Families that Gymnasium itself refuses, with the reason that it gives."""

OTHER_REWARDS = {"StickyAction", "RepeatAction", "MaxAndSkipObservation", "NormalizeReward", "DiscretizeAction"}
OTHER_REWARDS |= {"RescaleAction", "ClipAction"}  # another action space: other samples


def wrapped(name, env):
    """Return the env in a wrapper, or skip the test if a package that the wrapper needs is missing."""
    try:
        return MAKE[name](env) if name in MAKE else getattr(wrappers, name)(env)
    except (ModuleNotFoundError, gym.error.DependencyNotInstalled) as error:
        pytest.skip(str(error))


def played(env, steps=3):
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    rewards = []
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        rewards.append(float(reward))
        if terminated or truncated:
            break
    return rewards


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [name for name in wrappers.__all__ if name != "vector"])
def test_every_wrapper_works_or_is_refused_by_name(name, family, monkeypatch, tmp_path):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.chdir(tmp_path)
    env = FAMILIES[family]()
    families, message = REFUSED.get(name, ((), ""))
    if name == "ReshapeObservation" and family in IMAGES:
        monkeypatch.setitem(MAKE, name, lambda env: wrappers.ReshapeObservation(env, (1,)))
    if family in families:
        with pytest.raises((TypeError, ValueError), match=message):
            wrapped(name, env)
        return
    rewards, plain = played(wrapped(name, env)), played(FAMILIES[family]())
    if name == "TransformReward":
        plain = [2 * reward for reward in plain]
    if name == "ClipReward":
        plain = np.clip(plain, -0.1, 0.1)
    if name not in OTHER_REWARDS:
        np.testing.assert_allclose(rewards, plain, rtol=1e-6)


# -- batches ---------------------------------------------------------------------------------------------
def pendulums(steps=5):
    return gym.make_vec("robustgames/RobustPendulum-v0", num_envs=3, max_episode_steps=steps)


def batched_pendulum():
    return NumpyBatch(pendulums())


def batched_game():
    return NumpyBatch(gym.make_vec("robustgames/MatchingPennies-v0", num_envs=3))


def separate_control():
    return gym.make_vec(
        "robustgames/ActionRobustPendulum-v0", num_envs=3, vectorization_mode="sync", max_episode_steps=5
    )


def separate_games():
    return gym.make_vec("robustgames/MatchingPennies-v0", num_envs=3, vectorization_mode="sync", max_episode_steps=5)


BATCHES = {f.__name__: f for f in (batched_pendulum, batched_game, separate_control, separate_games)}


MAKE_VECTOR = {
    "VectorizeTransformObservation": lambda env: vector.VectorizeTransformObservation(
        env, wrappers.TransformObservation, func=lambda o: o, observation_space=env.single_observation_space
    ),
    "VectorizeTransformAction": lambda env: vector.VectorizeTransformAction(
        env, wrappers.TransformAction, func=lambda a: a, action_space=env.single_action_space
    ),
    "VectorizeTransformReward": lambda env: vector.VectorizeTransformReward(
        env, wrappers.TransformReward, func=lambda r: 2 * r
    ),
    "TransformObservation": lambda env: vector.TransformObservation(env, lambda o: o),
    "FilterObservation": lambda env: vector.FilterObservation(env, ["x"]),
    "ResizeObservation": lambda env: vector.ResizeObservation(env, (2, 2)),
    "ReshapeObservation": lambda env: vector.ReshapeObservation(env, (3, 1)),
    "RescaleObservation": lambda env: vector.RescaleObservation(env, np.float32(-1), np.float32(1)),
    "DtypeObservation": lambda env: vector.DtypeObservation(env, np.float64),
    "TransformAction": lambda env: vector.TransformAction(env, lambda a: a),
    "RescaleAction": lambda env: vector.RescaleAction(env, -2.0, 2.0),
    "TransformReward": lambda env: vector.TransformReward(env, lambda r: 2 * r),
    "ClipReward": lambda env: vector.ClipReward(env, -0.1, 0.1),
    "RecordVideo": lambda env: vector.RecordVideo(env, "videos"),
    "ArrayConversion": lambda env: vector.ArrayConversion(env, np, np),
    "NumpyToTorch": lambda env: vector.NumpyToTorch(env),
}

OF_GAMES, OF_CONTROL = ("batched_game", "separate_games"), ("batched_pendulum", "separate_control")
REFUSED_VECTOR = {
    "FilterObservation": (OF_CONTROL, "only usable with"),
    "GrayscaleObservation": (BATCHES, "requires"),
    "ResizeObservation": (BATCHES, "requires"),
    "ReshapeObservation": (OF_GAMES, "requires"),
    "RescaleObservation": (OF_GAMES, "requires"),
    "DtypeObservation": (OF_GAMES, "requires"),
    "NormalizeObservation": (OF_GAMES, "AutoresetMode.NEXT_STEP|axis 0 is out of bounds"),
    "ClipAction": (BATCHES, "requires a Box"),
    "RescaleAction": (BATCHES, "requires a Box"),
    "RecordVideo": (BATCHES, "Render mode is None"),
    "HumanRendering": (BATCHES, "render_mode"),
}


def batch_rewards(env, steps=13):
    env.action_space.seed(0)
    env.reset(seed=0)
    return np.array([env.step(env.action_space.sample())[1] for _ in range(steps)])


@pytest.mark.parametrize("family", BATCHES)
@pytest.mark.parametrize("name", vector.__all__)
def test_every_vector_wrapper_works_or_is_refused_by_name(name, family):
    env = BATCHES[family]()
    families, message = REFUSED_VECTOR.get(name, ((), ""))

    def make():
        try:
            return MAKE_VECTOR[name](env) if name in MAKE_VECTOR else getattr(vector, name)(env)
        except ModuleNotFoundError as error:
            pytest.skip(str(error))

    if family in families:
        with pytest.raises((TypeError, ValueError, AssertionError), match=message):
            batch_rewards(make())
        return
    rewards, plain = batch_rewards(make()), batch_rewards(BATCHES[family]())
    if name in ("TransformReward", "VectorizeTransformReward"):
        plain = 2 * plain
    if name == "ClipReward":
        plain = plain.clip(-0.1, 0.1)
    if name != "NormalizeReward":
        np.testing.assert_allclose(rewards, plain, rtol=1e-6)


def test_a_batch_in_numpy_plays_the_episodes_of_the_tensors():
    """Episodes of 5 steps: the batch resets in the last one, its NumPy face in a step of its own with reward 0."""
    tensors, arrays = pendulums(), vector.RecordEpisodeStatistics(batched_pendulum())
    first, _ = tensors.reset(seed=3)
    np.testing.assert_array_equal(arrays.reset(seed=3)[0], first.numpy())
    rng, totals = np.random.default_rng(0), np.zeros(3)
    for step in range(5):
        action = {player: rng.uniform(-1, 1, (3, 1)).astype(np.float32) for player in tensors.unwrapped.players}
        seen, reward, _, truncated, info = tensors.step(action)
        mine, mine_reward, _, mine_truncated, mine_info = arrays.step(action)
        np.testing.assert_array_equal(mine, info["final_obs"].numpy())
        np.testing.assert_array_equal(mine_reward, reward.numpy())
        assert mine_truncated.tolist() == truncated.tolist() == [step == 4] * 3
        totals += reward.numpy()
    np.testing.assert_allclose(mine_info["episode"]["r"], totals, rtol=1e-6)
    assert mine_info["episode"]["l"].tolist() == [5, 5, 5]
    between, reward, _, truncated, _ = arrays.step(action)
    np.testing.assert_array_equal(between, seen.numpy())
    assert reward.tolist() == [0, 0, 0] and not truncated.any()
    np.testing.assert_array_equal(arrays.step(action)[0], tensors.step(action)[4]["final_obs"].numpy())
    with pytest.raises(rg.GameError, match="is not a batch of tensors"):
        NumpyBatch(separate_control())


def test_options_that_would_be_ignored_are_refused():
    mask = {"reset_mask": np.array([True, False, True])}
    for env in (batched_game(), pendulums()):
        with pytest.raises(rg.GameError, match="unknown option of reset 'reset_mask'"):
            env.reset(options=mask)
    for env in (game(), black_box()):
        with pytest.raises(rg.GameError, match="unknown option of reset 'imgae'"):
            env.reset(options={"imgae": 1})


def test_every_sub_env_has_a_perturbation_of_its_own():
    scales = [{"mass": 0.5}, {"length": 2.0}, {}]
    makers = [lambda p=p: gym.make("robustgames/ActionRobustPendulum-v0", perturbation=p, alpha=0.0) for p in scales]
    env = gym.vector.SyncVectorEnv(makers)
    env.reset(seed=[5, 5, 5])
    action = {player: np.ones((3, 1), np.float32) for player in ("protagonist", "adversary")}
    observation, *_, info = env.step(action)
    assert info["perturbation"]["_mass"].tolist() == [True, False, False]
    for scale, seen in zip(scales, observation, strict=True):
        alone = gym.make("robustgames/ActionRobustPendulum-v0", perturbation=scale, alpha=0.0)
        alone.reset(seed=5)
        np.testing.assert_array_equal(alone.step({"protagonist": [1.0], "adversary": [1.0]})[0], seen)
    assert len({tuple(row) for row in observation}) == 3
    batch = pendulums()
    drawn = batch.reset(seed=0, options={"perturbation": {"mass": [0.5, 1.0, 2.0]}})[1]["perturbation"]["mass"]
    assert drawn.tolist() == [0.5, 1.0, 2.0]


INVERTED = "robustgames/ActionRobustInvertedPendulum-v0"


@pytest.mark.parametrize("whole_first", [True, False])
def test_sub_envs_may_perturb_an_axis_as_a_whole_and_in_parts(whole_first):
    parts, whole = {"mass": {"pole": 0.5, "cart": 0.25}}, {"mass": 2.0}
    scales = [whole, parts, {}] if whole_first else [parts, whole, {}]
    env = gym.vector.SyncVectorEnv([lambda p=p: gym.make(INVERTED, perturbation=p) for p in scales])
    _, reset = env.reset(seed=0)
    *_, step = env.step(env.action_space.sample())
    for info in (reset["perturbation"], step["perturbation"]):
        rows = [{key: info[key][i] for key in info if key[0] != "_" and info[f"_{key}"][i]} for i in range(3)]
        assert rows == [flat(scale) for scale in scales]
    again = gym.make(INVERTED)
    for row, scale in zip(rows, scales, strict=True):  # what is reported can be played again
        again.reset(options={"perturbation": row})
        assert again.unwrapped.perturbation == scale
    env.close()


def test_sub_envs_with_and_without_observation_noise_have_spaces_of_their_own():
    def envs(**how):
        id, scales = "robustgames/ActionRobustPendulum-v0", [{}, {"observation_noise": 5.0}]
        return gym.vector.SyncVectorEnv([lambda p=p: gym.make(id, perturbation=p) for p in scales], **how)

    with pytest.raises(RuntimeError, match="observation_mode='different'"):
        envs()
    env = envs(observation_mode="different")
    observation, info = env.reset(seed=[3, 3])
    assert np.abs(observation[0, :2]).max() <= 1 < np.abs(observation[1]).max()
    np.testing.assert_array_equal(info["observations"]["adversary"][1], observation[0])  # the true one
    assert info["_observations"].tolist() == [False, True]
