"""The black-box attacker: an environment without gradients, for reinforcement learners."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as check_sb3

import robustgames as rg
from robustgames.envs.black_box import BlackBoxAttack
from robustgames.errors import GameError
from robustgames.games import MLP, Bilinear, ClassifierAttack, DigitsAttack

F64 = torch.float64
IDS = {"robustgames/DigitsBlackBox-v0": (64, 64), "robustgames/MnistBlackBox-v0": (784, 49)}


def line(outputs=1, dtype=torch.float32, eps=0.3, **settings):
    """Return an attack on h(a) = 4 (a_1 - a_2): images 0 and 1 are classified correctly, image 2 is not."""
    images, labels = torch.tensor([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8]], dtype=dtype), torch.tensor([1, 0, 1])
    rows = [[4.0, -4.0]] if outputs == 1 else [[-2.0, 2.0], [2.0, -2.0]]
    weights = torch.tensor([*(w for row in rows for w in row), *[0.0] * outputs], dtype=dtype)
    return ClassifierAttack(images, labels, MLP((2, outputs)), weights, eps, **settings)


def env_of(game, **settings):
    return BlackBoxAttack(game, **settings)


@pytest.mark.parametrize("id", IDS)
def test_gymnasium_and_stable_baselines_accept_the_env(id, recwarn):
    env = gym.make(id)
    width, actions = IDS[id]
    assert env.observation_space["image"].shape == (width,) and env.observation_space["logits"].shape == (10,)
    assert env.action_space.shape == (actions,)
    check_env(env.unwrapped, skip_render_check=True)
    check_sb3(env.unwrapped)
    told = " ".join(str(w.message) for w in recwarn)
    assert "contrary to" not in told and "not within" not in told and "casting" not in told


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_reward_is_the_gain_of_the_margin_and_one_for_success(outputs):
    env = env_of(line(outputs), step=0.1)
    observation, info = env.reset(seed=0, options={"image": 0})
    assert info == {"label": 1, "queries": 0, "fooled": False}
    np.testing.assert_allclose(observation["logits"], [-0.4, 0.4], rtol=1e-5)
    steps = [env.step(np.array([-1.0, 0.5], np.float32)) for _ in range(2)]
    np.testing.assert_allclose(steps[0][0]["image"], [0.5, 0.45], rtol=1e-6)
    # margins -0.8, -0.2, 0.4: each step gains 0.6, and the second one fools
    assert [round(reward, 5) for _, reward, *_ in steps] == [0.6, 1.6]
    assert [ended for _, _, ended, _, _ in steps] == [False, True] and not any(cut for _, _, _, cut, _ in steps)
    assert steps[1][4] == {"label": 1, "queries": 2, "fooled": True}
    assert all(type(reward) is float and type(ended) is bool for _, reward, ended, _, _ in steps)


def test_an_episode_is_cut_off_after_its_queries_unless_it_just_succeeded():
    env = env_of(line(), step=0.1, queries=2)
    env.reset(options={"image": 0})
    still = np.zeros(2, np.float32)
    assert env.step(still)[1:4] == (0.0, False, False) and env.step(still)[1:4] == (0.0, False, True)
    env.reset(options={"image": 0})
    env.step(still)
    away = np.array([-1.0, 1.0], np.float32)
    assert env.step(away)[2:4] == (False, True)  # margin 0: not fooled
    env = env_of(line(), step=0.15, queries=1)
    env.reset(options={"image": 0})
    assert env.step(away)[2:4] == (True, False)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.3), ("l2", 0.5), ("l1", 0.6)])
def test_the_image_stays_in_ball_and_box(norm, eps):
    env = env_of(line(norm=norm, eps=eps), step=10.0, queries=100)
    observation, _ = env.reset(options={"image": 1})
    start, order = observation["image"], {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    sizes = []
    env.action_space.seed(0)
    for _ in range(50):
        observation = env.step(2 * env.action_space.sample())[0]
        assert env.observation_space.contains(observation)
        sizes.append(np.linalg.norm(observation["image"] - start, order))
    assert max(sizes) <= eps + 1e-6 and max(sizes) > 0.9 * eps
    expected = env.game.threat.project(env.game.images[1], torch.tensor([-10.0, 10.0]))  # box: -0.1 and 0.1 at most
    env.reset(options={"image": 1})
    image = env.step(np.array([-1.0, 1.0], np.float32))[0]["image"]
    np.testing.assert_allclose(image, start + expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(image, [0.0, 1.0], atol=1e-6)


def test_actions_outside_their_space_count_as_its_border():
    env = env_of(line(), step=0.1)
    env.reset(options={"image": 0})
    image = env.step(np.array([-7.0, 0.0], np.float32))[0]["image"]
    np.testing.assert_allclose(image, [0.5, 0.4], rtol=1e-6)


@pytest.mark.parametrize(("action", "said"), [([0.1], r"of shape \(1,\)"), ([0.1, np.nan], "not a number")])
def test_an_action_of_another_shape_or_without_a_value_is_refused_and_costs_no_query(action, said):
    env = env_of(line(), step=0.1)
    env.reset(options={"image": 0})
    with pytest.raises(GameError, match=said):
        env.step(np.array(action, np.float32))
    assert env.step(np.zeros(2, np.float32))[-1]["queries"] == 1


def test_one_number_moves_one_patch():
    env = gym.make("robustgames/DigitsBlackBox-v0", patch=4, step=0.05, count=20).unwrapped
    assert env.action_space.shape == (4,)
    start = env.reset(seed=1)[0]["image"].reshape(8, 8)
    image = env.step(np.array([0, 1, 0, -1], np.float32))[0]["image"].reshape(8, 8)
    expected = start.copy()
    expected[:4, 4:] += 0.05
    expected[4:, 4:] -= 0.05
    np.testing.assert_allclose(image, expected.clip(0, 1), atol=1e-6)


def test_the_default_step_is_the_radius():
    env = env_of(line(eps=0.2))
    env.reset(options={"image": 0})
    np.testing.assert_allclose(env.step(np.array([-1.0, 1.0], np.float32))[0]["image"], [0.4, 0.6], rtol=1e-6)


def test_only_images_that_are_classified_correctly_are_played():
    env = env_of(line())
    assert {env.reset(seed=seed)[1]["label"] for seed in range(20)} == {0, 1}
    first = {tuple(env.reset(seed=seed)[0]["image"].round(1).tolist()) for seed in range(40)}
    assert len(first) == 2 and (0.2, 0.8) not in {tuple(round(v, 1) for v in image) for image in first}
    assert not any(env.reset(seed=seed)[1]["fooled"] for seed in range(5))


def test_a_seed_gives_the_same_images_again():
    env = gym.make("robustgames/DigitsBlackBox-v0", count=100)
    one = [env.reset(seed=3)[0]["image"], *(env.reset()[0]["image"] for _ in range(4))]
    two = [env.reset(seed=3)[0]["image"], *(env.reset()[0]["image"] for _ in range(4))]
    other = [env.reset(seed=4)[0]["image"], *(env.reset()[0]["image"] for _ in range(4))]
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert len({image.tobytes() for image in one}) > 2


def test_a_game_in_float64_is_observed_in_float32():
    env = env_of(line(dtype=F64))
    observation, _ = env.reset(seed=0)
    assert observation["image"].dtype == observation["logits"].dtype == np.float32
    check_env(env, skip_render_check=True)


def test_observations_do_not_share_memory_with_the_env():
    env = env_of(line(), step=0.1)
    observation, _ = env.reset(options={"image": 0})
    observation["image"][:] = 0
    observation["logits"][:] = 9
    np.testing.assert_allclose(env.step(np.zeros(2, np.float32))[0]["image"], [0.6, 0.4], rtol=1e-6)
    np.testing.assert_allclose(env.game.images[0], [0.6, 0.4], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BlackBoxAttack(Bilinear), r"Bilinear\(\) has no fixed classifier: use a ClassifierAttack"),
        (lambda: BlackBoxAttack(DigitsAttack, noise=0.1), "has no fixed classifier"),
        (lambda: BlackBoxAttack(DigitsAttack, esp=0.1), "unknown setting of DigitsAttack 'esp': did you mean"),
        (
            lambda: BlackBoxAttack(line(), eps=0.1),
            "settings eps cannot be changed on .*, which already exists: pass its class instead",
        ),
        (lambda: env_of(line(), step=0), "step is 0 and queries 50: both must be positive"),
        (lambda: env_of(line(eps=0)), "step is 0 and queries 50: both must be positive"),
        (lambda: env_of(line(), queries=0), "queries 0: both must be positive"),
        (lambda: env_of(line(), patch=2), "patch is 2: it must divide the side 1 of square images, or be 1"),
        (lambda: gym.make("robustgames/DigitsBlackBox-v0", patch=3), "patch is 3: it must divide the side 8"),
        (lambda: env_of(line(), patch=0), "patch is 0"),
        (lambda: env_of(line()).reset(options={"image": 2}), "image 2 is not one of the 2 classified correctly: 0, 1"),
        (lambda: env_of(line()).reset(options={"image": 3}), "image 3 is not one of the 2 classified correctly"),
        (lambda: env_of(line()).reset(options={"image": -1}), "image -1 is not one of the 2 classified correctly"),
        (lambda: rg.GameAgent("robustgames/DigitsBlackBox-v0"), "DigitsBlackBox-v0 is not a game"),
    ],
)
def test_wrong_input_is_refused_in_one_line(make, message):
    with pytest.raises(rg.GameError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_a_classifier_that_is_always_wrong_cannot_be_attacked():
    game = line()
    wrong = ClassifierAttack(game.images[2:], game.labels[2:], MLP((2, 1)), game.network.weights)
    with pytest.raises(rg.GameError, match="the classifier is wrong on every image: there is nothing to attack"):
        BlackBoxAttack(wrong)


# -- learning ---------------------------------------------------------------------------------------------------
SETTINGS = {"eps": 0.3, "patch": 2, "queries": 10, "step": 0.1}


def fooled_per_query(act, episodes=150):
    env = gym.make("robustgames/DigitsBlackBox-v0", **SETTINGS)
    env.action_space.seed(0)
    fooled = queries = 0
    for episode in range(episodes):
        observation, info = env.reset(seed=episode)
        ended = cut = False
        while not (ended or cut):
            observation, _, ended, cut, info = env.step(act(observation, env))
        fooled, queries = fooled + ended, queries + info["queries"]
    return fooled / queries


def test_a_reinforcement_learner_fools_more_often_than_chance():
    by_chance = fooled_per_query(lambda _, env: env.action_space.sample())
    env = gym.make("robustgames/DigitsBlackBox-v0", **SETTINGS)
    agent = PPO("MultiInputPolicy", env, 1e-3, n_steps=512, batch_size=128, device="cpu", seed=0).learn(4096)
    learned = fooled_per_query(lambda observation, _: agent.predict(observation, deterministic=True)[0])
    print(f"fooled per query: by chance {by_chance:.4f}, PPO {learned:.4f}")
    assert learned > 1.4 * by_chance  # measured: 0.034 against 0.017
