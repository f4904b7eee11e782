"""Ids and views in Stable-Baselines3, and whatever can be an opponent."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import robustgames as rg
from robustgames.envs.parallel import ParallelGame
from robustgames.evaluation.rollouts import play
from robustgames.games.attack import DigitsAttack

PENDULUM = "robustgames/ActionRobustPendulum-v0"
IDS = [id for id in gym.registry if id.startswith("robustgames/")]
ONE_PLAYER = [id for id in IDS if id.endswith("BlackBox-v0")]
SETTINGS = {"robustgames/ActionRobust-v0": {"env_id": "Pendulum-v1"}}


@pytest.mark.parametrize("id", IDS)
def test_every_id_can_be_handed_to_an_algorithm_or_names_the_view(id):
    if id in ONE_PLAYER:
        assert A2C("MultiInputPolicy", id, n_steps=2, device="cpu").learn(2).num_timesteps == 2
        assert make_vec_env(id).reset()["image"].shape[0] == 1
        return
    with pytest.raises((AssertionError, rg.GameError), match=r"robustgames.PlayerView\(env, .*, opponent\)") as caught:
        A2C("MlpPolicy", id, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("id", IDS)
def test_every_spec_can_be_written_as_json_and_read(id):
    spec = gym.spec(id)
    assert EnvSpec.from_json(spec.to_json()) == spec


class Saddle(rg.ZeroSumGame):
    """Φ = x² - y²."""

    sizes = (1, 1)

    def payoff(self, x, y, sample):
        return (x * x - y * y).sum(-1)


def test_the_spec_of_a_users_class_can_be_written_as_json():
    rg.register("mine/JsonSaddle-v0", Saddle)
    spec = EnvSpec.from_json(gym.spec("mine/JsonSaddle-v0").to_json())
    assert type(gym.make(spec).unwrapped.game) is Saddle
    local = type("Local", (Saddle,), {})  # cannot be imported: the class itself is kept
    rg.register("mine/Local-v0", local)
    assert type(gym.make("mine/Local-v0").unwrapped.game) is local


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({"x": [1.0, 2.0], "y": []}, r"the strategy of 'x' has shape \(2,\): expected \(1,\)"),
        ({"x": 1.0, "y": [0.0]}, r"the strategy of 'x' has shape \(\): expected \(1,\)"),
        ({"x": [1.0]}, "the action has no strategy of 'y': pass a dict {'x': …, 'y': …}"),
        ([1.0, 2.0], "the action has no strategy of 'x'"),
    ],
)
def test_an_action_that_is_not_one_strategy_per_player_is_refused(action, message):
    """Two numbers of x and none of y would be played as one of each."""
    env = gym.make("robustgames/Quadratic-v0", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    with pytest.raises(rg.GameError, match=message):
        env.step(action)


def test_the_flags_of_a_batch_are_those_of_the_caller():
    env = gym.make_vec("robustgames/Quadratic-v0", num_envs=3)
    _, info = env.reset(seed=0)
    _, _, terminated, truncated, _ = env.step(info["strategy"])
    terminated |= True
    assert not truncated.any()
    assert not any(flags.any() for flags in env.step(info["strategy"])[2:4])


def test_the_reward_of_a_batch_is_that_of_the_caller():
    env = gym.make_vec("robustgames/Quadratic-v0", num_envs=2)
    env.reset(seed=0)
    _, reward, _, _, info = env.step({"x": torch.ones(2, 1), "y": torch.zeros(2, 1)})
    before = {player: rewards.clone() for player, rewards in info["rewards"].items()}
    assert torch.equal(reward, before["x"]) and reward.all()
    reward *= 0.1  # to scale it in place changed info["rewards"], which views and counters read
    assert all(torch.equal(info["rewards"][player], before[player]) for player in before)


def test_an_action_that_is_refused_draws_no_sample():
    rewards = []
    for wrong in (False, True):
        env = gym.make_vec("robustgames/DigitsAdversarial-v0", num_envs=1, hidden=(4,), batch_size=8)
        _, info = env.reset(seed=0)
        if wrong:
            with pytest.raises(rg.GameError, match="the action has no strategy of 'attacker'"):
                env.step({"classifier": info["strategy"]["classifier"]})
        rewards.append(env.step(info["strategy"])[1])
    assert torch.equal(*rewards)


@pytest.mark.parametrize("bound", [float("inf"), float("nan"), 0.0])
def test_the_bound_of_a_view_is_a_positive_number(bound):
    """An infinite box would stretch every action to NaN."""
    with pytest.raises(rg.GameError, match=r"bound is .*: the half-width of the action box is a positive number"):
        rg.PlayerView("robustgames/Quadratic-v0", "x", opponent=[0.5], bound=bound)


def test_the_bound_of_a_view_leaves_strategies():
    game = Saddle()
    game.sets = (rg.Box(2.0, 5.0), rg.Box(-1.0, 1.0))
    env = rg.envs.GameEnv(game)
    view = rg.PlayerView(env, "x", opponent=[0.0], bound=3.0)
    view.reset(seed=0)
    assert view.step([1.0])[1] == -9.0
    with pytest.raises(rg.GameError, match="no strategy of 'x'"):
        rg.PlayerView(env, "x", opponent=[0.0], bound=1.0)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_view_keeps_the_strategy_of_its_opponent_when_the_array_changes(kind):
    strategy = np.array([0.5], kind)
    view = rg.PlayerView("robustgames/Quadratic-v0", "x", opponent=strategy, bound=2.0)
    strategy += 1
    view.reset(seed=0)
    assert view.step([0.5])[1] == -0.75


def test_an_env_of_one_player_has_no_views():
    for build in (lambda: rg.PlayerView("CartPole-v1", "x", [0.0]), lambda: ParallelGame("CartPole-v1")):
        with pytest.raises(rg.GameError, match="CartPole-v1 is not an env of two players"):
            build()


def test_the_black_box_shows_the_image_that_is_attacked():
    env = gym.make("robustgames/DigitsBlackBox-v0", render_mode="rgb_array", count=5)
    observation, _ = env.reset(seed=0)
    observation = env.step(np.ones(64, np.float32))[0]
    picture = env.render()
    assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8
    expected = np.round(observation["image"].reshape(8, 8) * 255)
    assert np.array_equal(picture[::16, ::16, 1], expected)
    with pytest.raises(rg.GameError, match="unknown render_mode 'ansi'"):
        rg.envs.BlackBoxAttack(DigitsAttack, render_mode="ansi", count=5)


# -- opponents -------------------------------------------------------------------------------------------
class Constant:
    """A model that always plays the same action of its own box."""

    def __init__(self, action, low, high):
        self.action = np.asarray(action, np.float32)
        self.action_space = gym.spaces.Box(low, high, self.action.shape, np.float32)
        self.calls = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.calls.append((state, bool(episode_start[0]), deterministic))
        return self.action, (0 if state is None else state + 1)


class Tube(rg.ZeroSumGame):
    """Φ = x y, x in [-1, 1] and y in [0, 10]."""

    sizes = (1, 1)
    sets = (rg.Box(-1.0, 1.0), rg.Box(0.0, 10.0))

    def payoff(self, x, y, sample):
        return (x * y).sum(-1)


@pytest.mark.parametrize(("own", "low", "high", "played"), [(0.0, -1, 1, 5.0), (1.0, -2, 2, 7.5), (4.0, 0, 10, 4.0)])
def test_the_actions_of_a_model_are_stretched_from_its_own_box(own, low, high, played):
    view = rg.PlayerView(rg.GameEnv(Tube), "x", Constant([own], low, high))
    view.reset(seed=0)
    assert view.step([1.0])[1] == pytest.approx(-played)  # -Φ = -x y at x = 1


def test_a_recurrent_model_begins_with_every_episode():
    model = Constant([0.0], -1, 1)
    view = rg.PlayerView(
        gym.make("robustgames/Quadratic-v0", max_episode_steps=9), "x", lambda o: np.zeros(1), bound=1.0
    )
    with pytest.raises(
        rg.GameError, match=r"cannot be stretched from .*: pass a function observation -> action of 'y'"
    ):
        view.set_opponent(model)
    view = rg.PlayerView(PENDULUM, "protagonist", model)
    for _ in range(2):
        view.reset(seed=0)
        for _ in range(2):
            view.step([0.0])
    assert model.calls == [(None, True, True), (0, False, True)] * 2


def test_models_of_stable_baselines_and_agents_are_opponents():
    trained = PPO("MlpPolicy", rg.PlayerView(PENDULUM, "adversary", lambda o: np.zeros(1)), seed=1, device="cpu")
    agent = rg.RobustDDPG(PENDULUM, seed=2)
    for model, policy in (
        (trained, lambda o: trained.predict(o, deterministic=True)[0]),
        (trained.policy, lambda o: trained.predict(o, deterministic=True)[0]),
        (agent, agent.policy(player="adversary")),
    ):
        views = [rg.PlayerView(gym.make(PENDULUM, alpha=0.5), "protagonist", other) for other in (model, policy)]
        for view in views:
            view.reset(seed=0)
        for _ in range(5):
            first, second = (view.step([0.3]) for view in views)
            np.testing.assert_allclose(first[0], second[0], rtol=1e-5)
            assert first[1] == pytest.approx(second[1], rel=1e-5)
    one, other = (
        play(gym.make(PENDULUM, alpha=0.5), agent, 1, adversary=p) for p in (agent, agent.policy(0, "adversary"))
    )
    assert one.returns == pytest.approx(other.returns, rel=1e-4)


def test_a_model_observes_what_it_was_trained_on():
    """A model in a VecNormalize gets normalized observations."""
    view = rg.PlayerView(PENDULUM, "adversary", lambda o: np.zeros(1))
    normalized = VecNormalize(DummyVecEnv([lambda: view]))
    model = PPO("MlpPolicy", normalized, n_steps=64, batch_size=64, seed=1, device="cpu").learn(64)
    played = rg.PlayerView(gym.make(PENDULUM, alpha=1.0), "protagonist", model)
    observation, _ = played.reset(seed=0)
    expected = model.predict(normalized.normalize_obs(observation), deterministic=True)[0]
    executed = played.step([0.0])[4]["executed_action"]
    np.testing.assert_allclose(executed, expected, rtol=1e-6)
    assert abs(expected - model.predict(observation, deterministic=True)[0]).max() > 1e-4


def test_an_agent_of_a_game_plays_its_strategy_and_one_of_several_runs_is_named():
    agent = rg.GameAgent("robustgames/MatchingPennies-v0", "extragradient", seed=0)
    view = rg.PlayerView("robustgames/MatchingPennies-v0", "x", agent)
    view.reset(seed=0)
    y = agent.predict()[0]["y"].reshape(-1)
    heads = 2 * y[0] - 1 if isinstance(y, np.ndarray) else float(2 * y[0] - 1)
    assert abs(view.step([1.0, -1.0])[1]) == pytest.approx(abs(heads), rel=1e-5)
    several = rg.GameAgent(gym.make_vec("robustgames/MatchingPennies-v0", num_envs=3), "extragradient")
    view.set_opponent(several)
    with pytest.raises(rg.GameError, match="of several runs, pass the strategy of one"):
        view.step([1.0, -1.0])
    view.set_opponent(torch.tensor([1.0, 0.0]))
    assert abs(view.step([1.0, -1.0])[1]) == pytest.approx(1.0)


def test_a_model_with_other_actions_is_refused():
    class Coin:
        action_space = gym.spaces.Discrete(2)

        def predict(self, observation):
            return 0, None

    with pytest.raises(rg.GameError, match=r"the model acts in Discrete\(2\): pass a function observation -> action"):
        rg.PlayerView(PENDULUM, "protagonist", Coin())
