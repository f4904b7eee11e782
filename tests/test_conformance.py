"""Every game and every solver keeps its contract; new ones are picked up from the tables without a new line here."""

import inspect
import re
import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test, parallel_seed_test
from PIL import Image
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import robustgames as rg
from robustgames.envs.parallel import ParallelGame
from robustgames.games import Simplex
from robustgames.solvers import RECIPES, Entropic, Rule, Scheme, TorchRule
from robustgames.solvers.config import _subclasses
from robustgames.testing import check_game, check_solver

IDS = [id for id in rg.game_ids() if id.startswith("robustgames/")]
ON_SIMPLICES = re.compile("Entropic|Magnetic|RegretMatching|DoubleOracle")
ENTROPIC = [name for name in RECIPES if ON_SIMPLICES.search(repr(rg.make_solver(name)))]
EXACT = [name for name in RECIPES if "start='exact'" in repr(rg.make_solver(name))]
REFUSALS = re.compile("without constraints|zero-sum games with a payoff|whole derivative|needs a box")


PLANAR = {"hidden": (4,), "batch_size": 4}
HOLDER = tempfile.TemporaryDirectory()  # removed when Python ends
PHOTOS = Path(HOLDER.name)
for i in range(4):
    Image.fromarray(np.random.default_rng(i).integers(0, 255, (9, 12, 3), np.uint8)).save(PHOTOS / f"{i}.png")
SMALL = {
    "robustgames/GaussianMixture-v0": PLANAR,
    "robustgames/GaussianRing-v0": PLANAR,
    "robustgames/SwissRoll-v0": PLANAR,
    "robustgames/DigitsGAN-v0": {**PLANAR, "latent": 3},
    "robustgames/MnistGAN-v0": {"width": 2, "latent": 3, "batch_size": 2},
    "robustgames/ImageGAN-v0": {"data": str(PHOTOS), "side": 8, "width": 2, "latent": 3, "batch_size": 2},
    "robustgames/MnistAdversarial-v0": {"channels": (2, 2), "hidden": 8, "batch_size": 4, "validation": 10},
    "robustgames/MnistAttack-v0": {"count": 2},
    "robustgames/DigitsAttack-v0": {"count": 5},
}


@pytest.mark.parametrize("id", IDS)
def test_game_keeps_its_contract(id):
    check_game(gym.make(id, **SMALL.get(id, {})).unwrapped.game)


@pytest.mark.parametrize("name", RECIPES)
def test_solver_keeps_its_contract(name):
    check_solver(rg.make_solver(name))
    check_solver(rg.make_solver(name, average="uniform"))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("id", IDS)
def test_every_solver_takes_steps_on_every_game(id, name):
    env = gym.make_vec(id, num_envs=2, dtype="float64", **SMALL.get(id, {}))
    if name in ENTROPIC and not all(isinstance(s, Simplex) for s in env.unwrapped.game.sets):
        pytest.skip("these steps live on simplices")
    game = env.unwrapped.game
    if name in EXACT and game.best_response(game.initial((2,), torch.Generator()), 1) is None:
        pytest.skip("the game does not know its best responses")
    lr = 1e-5 if name == "consensus" else 1e-3  # its stable steps are of order 1 / |DV|²
    rate = {"lr": lr} if "lr" in inspect.signature(RECIPES[name]).parameters else {}
    try:
        agent = rg.GameAgent(env, rg.make_solver(name, **rate), seed=0)
    except rg.GameError as error:
        if not REFUSALS.search(str(error)):
            raise
        pytest.skip(str(error))
    start = agent.z.clone()
    agent.learn(12, log_interval=1000)  # a look at images takes longer than the steps
    assert agent.z.shape == start.shape and torch.isfinite(agent.z).all()
    assert agent.num_timesteps >= 12
    projected = agent.game.project(agent.z, agent.oracle.sample)
    assert torch.allclose(projected, agent.z, atol=1e-12)
    assert not torch.equal(agent.z, start)


def test_the_tables_hold_every_rule_and_scheme():
    used = " ".join(repr(rg.make_solver(name)) for name in RECIPES)
    tested_elsewhere = {"BlockAdam", "FusedAdam", "Momentum", "Partitioned", "Steepest", "TorchRule"}
    for cls in [*_subclasses(Rule), *_subclasses(Scheme)]:
        if cls.__module__.startswith("robustgames."):
            assert cls.__name__ in used or cls.__name__ in tested_elsewhere, cls


@pytest.mark.parametrize("id", IDS)
def test_gymnasium_accepts_the_env(id, recwarn):
    check_env(gym.make(id, **SMALL.get(id, {})).unwrapped)
    unexpected = [str(w.message) for w in recwarn if "Box" not in str(w.message)]
    assert unexpected == []


@pytest.mark.parametrize("id", IDS)
def test_stable_baselines_accepts_both_views(id):
    env = gym.make(id, max_episode_steps=20, **SMALL.get(id, {}))
    first, second = env.unwrapped.players
    for player, other in ((first, second), (second, first)):
        opponent = np.zeros(env.action_space[other].shape)
        sb3_check_env(rg.PlayerView(env, player, opponent, bound=2.0))


@pytest.mark.parametrize("id", ["robustgames/Forsaken-v0", "robustgames/MatchingPennies-v0"])
def test_pettingzoo_accepts_the_parallel_game(id):
    parallel_api_test(ParallelGame(gym.make(id, max_episode_steps=30)), num_cycles=100)
    parallel_seed_test(lambda: ParallelGame(gym.make(id, max_episode_steps=30)), num_cycles=50)


def test_parallel_rewards_are_zero_sum():
    game = ParallelGame("robustgames/Bilinear-v0")
    game.reset(seed=0)
    assert game.step({"x": np.array([2.0]), "y": np.array([3.0])})[1] == {"x": -6.0, "y": 6.0}


def test_ppo_learns_the_best_response_of_one_player():
    """Against y = 0.5, Φ = x² - y² + xy is least at x = -0.25. PPO sees rewards only; untrained, it is far off."""
    env = gym.make("robustgames/Quadratic-v0", max_episode_steps=32, coupling=1.0)
    view = rg.PlayerView(env, "x", opponent=np.array([0.5]), bound=2.0)
    model = PPO("MlpPolicy", view, n_steps=256, batch_size=64, learning_rate=3e-3, gamma=0.0, seed=0, device="cpu")

    def payoff():
        observation, _ = view.reset(seed=1)
        total = 0.0
        for _ in range(64):  # the stochastic policy, as it was trained
            observation, reward, *_ = view.step(model.predict(observation, deterministic=False)[0])
            total -= reward / 64
        return total

    best = -(0.25**2) - 0.5**2
    before = payoff() - best
    model.learn(5_000)
    assert payoff() - best < 0.2 * before
    observation, _ = view.reset(seed=1)
    observation, *_ = view.step(np.zeros(1, np.float32))
    assert abs(2.0 * model.predict(observation, deterministic=True)[0][0] - -0.25) < 0.3


def test_views_pay_each_player_its_own_reward():
    for player, expected in (("x", -0.75), ("y", 0.75)):
        view = rg.PlayerView("robustgames/Quadratic-v0", player, opponent=[1.0 if player == "y" else 0.5], bound=2.0)
        view.reset(seed=0)
        own = 0.5 if player == "x" else 0.25  # x = 1, y = 0.5: Φ = 1 - 0.25
        assert view.step(np.array([own], dtype=np.float32))[1] == pytest.approx(expected)


def test_a_view_follows_a_policy_of_the_opponent():
    seen = []

    def policy(observation):
        seen.append(observation.copy())
        return np.array([1.0])

    view = rg.PlayerView("robustgames/Bilinear-v0", "x", policy, bound=1.0)
    view.reset(seed=0)
    view.step(np.array([0.5]))
    view.step(np.array([0.5]))
    assert np.array_equal(seen, [[0.0], [0.5]])  # y sees nothing, then its own block of V: dΦ/dy = x


def test_view_errors_say_what_to_do():
    with pytest.raises(rg.GameError, match="unknown player 'z'"):
        rg.PlayerView("robustgames/Bilinear-v0", "z", [0.0])
    with pytest.raises(rg.GameError, match="unbounded: pass bound="):
        rg.PlayerView("robustgames/Bilinear-v0", "x", [0.0])
    with pytest.raises(rg.GameError, match=r"has shape \(2,\): 'y' plays \(1,\)"):
        rg.PlayerView("robustgames/Bilinear-v0", "x", [0.0, 1.0], bound=1.0)


def test_any_torch_optimizer_is_a_rule_of_any_scheme():
    rule = TorchRule(torch.optim.Adagrad, {"lr": 0.5})
    check_solver(rg.solvers.Extragradient(rule))
    check_solver(rg.solvers.Alternating(rule))


def test_entropic_steps_are_taken_per_player():
    game = rg.games.MatrixGame().to(dtype=torch.float64)
    z = game.initial((), torch.Generator().manual_seed(0))
    after = rg.trajectory(rg.solvers.Simultaneous(Entropic(0.1)), game, z, 1)[-1]
    assert torch.allclose(after.view(2, 2).sum(-1), torch.ones(2, dtype=torch.float64))
