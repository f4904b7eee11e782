"""A solver of the user's own is trained, evaluated, resumed and swept by its module:function."""

import sys

import pytest
import torch
import yaml
from in_process import command, in_an_empty_folder, only_run, users_module  # noqa: F401 (a fixture)

import robustgames as rg
from robustgames.experiment import load

MODULE = '''
from robustgames.solvers import SGD, Lookahead, Simultaneous


def mine(lr: float = 0.1, every: int = 5):
    """Lookahead around GDA.

    Args:
        lr: Learning rate.
        every: Steps of a round.
    """
    return Lookahead(Simultaneous(SGD(lr)), every)


def untyped(lr=0.1):
    return mine(lr)


def no_solver(lr: float = 0.1):
    return lr


number = 3
'''
module = users_module("own_solvers", MODULE)
TRAIN = "train own_solvers:mine robustgames/Bilinear-v0 --steps 40 --runs 2 --lr 0.3 --every 4 --seed 1"


def test_it_is_trained_and_the_run_knows_it(tmp_path):
    assert command(TRAIN + " --average linear --average-lookaheads") in (0, None)
    folder = only_run(tmp_path)
    assert folder.parent.name == "mine"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["agent"], config["settings"]) == ("own_solvers:mine", {"lr": 0.3, "every": 4})
    assert (config["average"], config["average_lookaheads"]) == ("linear", True)
    _, agent = load(folder)
    env = rg.GameVectorEnv(rg.games.Bilinear(), 2)
    alone = rg.GameAgent(env, rg.make_solver(sys.modules["own_solvers"].mine, lr=0.3, every=4), seed=1).learn(40)
    assert torch.equal(agent.z, alone.z)


def test_it_is_resumed_and_its_module_is_asked_for(tmp_path):
    command(TRAIN)
    folder = only_run(tmp_path)
    assert command(f"train --resume {folder} --steps 80") in (0, None)
    assert load(folder)[1].num_timesteps == 80


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_solvers:untyped", "argument 'lr' of untyped has no type: write lr: float"),
        ("own_solvers:no_solver", "own_solvers:no_solver returned a float: return a solver"),
        ("own_solvers:number", "own_solvers:number is a int: give a function that returns a solver"),
        ("own_solvers:mone", "unknown name in own_solvers 'mone': did you mean mine?"),
        ("no_module_of_mine:mine", "no module 'no_module_of_mine' for the agent"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(name, message, capsys, tmp_path):
    assert command(f"train {name} robustgames/Bilinear-v0 --steps 5") != 0
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()
