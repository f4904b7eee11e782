"""The fingerprint of a game: every setting counts, and nothing that is computed or that only says where it is."""

import copy
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import robustgames as rg
from robustgames import checkpoints
from robustgames.games import (
    GAN,
    MLP,
    FiniteSumBilinear,
    Forsaken,
    KuhnPoker,
    MatrixGame,
    MnistAdversarial,
    Network,
    Noisy,
    RandomMatrixGame,
    RatioGame,
    RobustRegression,
)
from robustgames.games.densities import GaussianMixture, SwissRoll
from robustgames.games.identity import fingerprint, former_fingerprint
from robustgames.games.planar_gans import GaussianMixtureGAN
from robustgames.games.sets import Box
from robustgames.games.toy import AlmostBilinear


@dataclass(frozen=True)
class Config:
    power: int = 2


class Held(rg.ZeroSumGame):
    """A game that keeps a setting under a name."""

    sizes = (1, 1)
    levels = (1, 2)

    def __init__(self, value=None, name="setting"):
        setattr(self, name, value)

    def payoff(self, x, y, sample):
        return (x * y).sum(-1)


SETTINGS = {
    "tuple": ((64, 64), (32, 32)),
    "nested tuple": (((1, 2), 3), ((1, 3), 3)),
    "list": ([0.1], [0.2]),
    "dictionary": ({"a": (1,)}, {"a": (2,)}),
    "set": ({1, 2}, {1, 3}),
    "number of numpy": (np.int64(1), np.int64(2)),
    "array": (np.arange(3), np.arange(3)[::-1]),
    "dataclass": (Config(), Config(3)),
    "function": (torch.tanh, torch.relu),
    "game": (AlmostBilinear(0.1), AlmostBilinear(0.2)),
    "network": (MLP((2, 4, 1)), MLP((2, 4, 1), "tanh")),
    "module": (Network(nn.Sequential(nn.ReLU())), Network(nn.Sequential(nn.Tanh()))),
    "source": (SwissRoll(0.1), SwissRoll(0.2)),
    "set of strategies": ((Box(-1, 1), Box(-1, 1)), (Box(-1, 1), Box(-1, 2))),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_kind_of_setting_counts(kind):
    one, other = (Held(value).fingerprint() for value in SETTINGS[kind])
    assert one != other and one == Held(SETTINGS[kind][0]).fingerprint()
    assert one == Held(SETTINGS[kind][0]).to("cpu", torch.float32).fingerprint()


def test_games_of_the_package_differ_by_their_widths_thresholds_and_data():
    def gan(std, activation="relu"):
        source = GaussianMixture.grid(std=std)
        return GAN(MLP((2, 8, 2), activation), MLP((2, 8, 1)), source).fingerprint()

    games = [
        *(GaussianMixtureGAN(hidden=hidden).fingerprint() for hidden in ((64, 64), (32, 32), (5, 3), (3, 5))),
        *(MnistAdversarial(channels=(2, 3), hidden=4, threshold=t).fingerprint() for t in (None, 0.3, 0.4)),
        *(gan(std) for std in (0.05, 0.1)),
        gan(0.05, "tanh"),
        *(Noisy(AlmostBilinear(eps), std=0.1).fingerprint() for eps in (0.1, 0.2)),
    ]
    assert len(set(games)) == len(games)


def test_what_is_off_or_of_the_class_or_a_place_does_not_count():
    plain = Held().fingerprint()
    assert Held(()).fingerprint() == Held((1, 2), "levels").fingerprint() == plain
    assert Held("here", "data").fingerprint() == Held("there", "data").fingerprint() == plain
    assert Held((3,), "data").fingerprint() != plain  # not the place of images
    assert Held((1, 2, 3), "levels").fingerprint() != plain


SOLVED = {
    "equilibrium": (MatrixGame(), KuhnPoker(), RandomMatrixGame(3)),
    "saddle": (RatioGame(), FiniteSumBilinear(3), RobustRegression(features=[[0.0], [1.0]], target=[1.0, 0.0])),
    "critical": (Forsaken(),),
}


@pytest.mark.parametrize("name", SOLVED)
def test_a_solution_that_a_game_computes_does_not_count(name, tmp_path):
    """Its last digits, and of several equilibria the one that is found, depend on the libraries and the processor."""
    for game in SOLVED[name]:
        there = copy.copy(game)
        setattr(there, name, getattr(game, name) * (1 + 1e-15) + 1e-17)
        assert there.fingerprint() == game.fingerprint() == game.to("cpu", torch.float64).fingerprint()
        assert Noisy(there, 0.1).fingerprint() == Noisy(game, 0.1).fingerprint()
        assert fingerprint(there, computed=True) != fingerprint(game, computed=True)
    agent = rg.GameAgent(rg.GameVectorEnv(game, num_envs=2), rg.make_solver("extragradient", lr=0.1)).learn(4)
    agent.save(tmp_path)  # an earlier version counted it
    content = checkpoints.load_checkpoint(tmp_path) | {"fingerprint": fingerprint(agent.oracle.whole, computed=True)}
    checkpoints.save_checkpoint(tmp_path, content)
    assert torch.equal(rg.GameAgent.load(tmp_path, rg.GameVectorEnv(game, num_envs=2)).z, agent.z)


def test_a_shape_counts():
    assert Held(torch.zeros(2, 3)).fingerprint() != Held(torch.zeros(3, 2)).fingerprint()
    assert Held(torch.zeros(2, dtype=torch.bfloat16)).fingerprint() != Held(torch.ones(2).bfloat16()).fingerprint()


@pytest.fixture
def saved(tmp_path):
    """Return a folder with a checkpoint of a game of thresholds 1 and 2, and a function that changes its digest."""
    agent = rg.GameAgent(rg.GameVectorEnv(Held((1, 2)), num_envs=2), rg.make_solver("gda", lr=0.1)).learn(5)
    agent.save(tmp_path)

    def change(fingerprint):
        checkpoints.save_checkpoint(tmp_path, {**checkpoints.load_checkpoint(tmp_path), "fingerprint": fingerprint})

    return tmp_path, change, agent


def test_a_checkpoint_of_another_tuple_is_refused(saved):
    folder, _, _ = saved
    with pytest.raises(rg.GameError, match="make the env as in the run"):
        rg.GameAgent.load(folder, rg.GameVectorEnv(Held((1, 3)), num_envs=2))


def test_a_checkpoint_of_an_earlier_version_loads_by_its_former_fingerprint(saved):
    folder, change, agent = saved
    change(former_fingerprint(Held((1, 2))))
    loaded = rg.GameAgent.load(folder, rg.GameVectorEnv(Held((1, 2)), num_envs=2))
    assert torch.equal(loaded.z, agent.z)
    change("0" * 64)
    with pytest.raises(rg.GameError, match="their settings or data differ"):
        rg.GameAgent.load(folder, rg.GameVectorEnv(Held((1, 2)), num_envs=2))


def test_a_fingerprint_is_the_same_in_every_process():
    text = (
        "import robustgames as rg; from robustgames.games import GaussianMixtureGAN;"
        "game = GaussianMixtureGAN(hidden=(4, 5)); game.words = {'a', 'b', 'c', 'd'}; print(game.fingerprint())"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", text], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1] and len(found[0].strip()) == 64
