"""Names of runs: what distinguishes them, and the command that repeats them."""

import shlex

import pytest

from robustgames.cli.train import parse
from robustgames.experiment import ControlExperiment, GameExperiment
from robustgames.experiment.naming import command, hparams, label, title

GAMES = [
    "extra_adam robustgames/DiracGAN-v0 --lr 0.05 --betas 0.3 0.8 --average uniform --no-anneal --set r1=0.3 noise=0.1",
    "adversarial_training robustgames/DigitsAdversarial-v0 --inner-steps 1 --inner-lr 0.1 --runs 2 --seed 3",
    "wgan robustgames/SwissRoll-v0 --rule adam --lr 1e-3 --anneal --set objective=wasserstein lipschitz=gp",
    "adam robustgames/GaussianMixture-v0 --average 0.995 --checkpoint 200 --device cpu --patience 3 --evaluations 8",
    "gda robustgames/MatrixGame-v0",
    "extra_adam robustgames/DigitsGAN-v0 --shards 4 --shard-optimizer --set batch_size=16 lipschitz=none",
]
CONTROL = [
    "robust_ddpg robustgames/ActionRobust-v0 --set env_id=Pendulum-v1 alpha=0.1 --hidden 8 8 --seed 7",
    "robust_td3 robustgames/RobustPendulum-v0 --solver extra_adam --lr 1e-4 --solver-set lr_y=3e-4 --normalize",
    "robust_td3 robustgames/RobustPendulum-v0 --no-twin --exploration parameter --noise 0.2 --runs 2",
]


def parsed(words):
    return parse(shlex.split(words))[0]


@pytest.mark.parametrize("words", [*GAMES, *CONTROL])
def test_the_command_of_a_run_repeats_it(words):
    experiment = parsed(words)
    program, verb, *rest = shlex.split(command(experiment))
    assert (program, verb) == ("robustgames", "train") and parsed(shlex.join(rest)) == experiment


def test_runs_are_named_by_what_distinguishes_them():
    assert label(parsed(GAMES[0])) == "lr=0.05-betas=0.3,0.8-average=uniform-r1=0.3-noise=0.1"
    assert label(parsed(CONTROL[0])) == "hidden=8,8-env_id=Pendulum-v1-alpha=0.1"
    assert label(parsed(GAMES[4])) == "lr=0.1"  # the rate always
    odd = GameExperiment("gda", "a:b/C-v0", env_settings={"data": "../x y/z", "long": "w" * 99})
    assert label(odd) == "data=.._x_y_z" and "/" not in label(odd)


def test_titles_hold_method_settings_and_runs():
    assert title(parsed(GAMES[0])) == (
        "extra_adam (lr=0.05, betas=0.3,0.8, average=uniform)\nDiracGAN-v0 (r1=0.3, noise=0.1), 5 runs, seed 0"
    )
    single = ControlExperiment("robust_td3", "robustgames/RobustPendulum-v0", runs=1)
    assert title(single) == "robust_td3\nRobustPendulum-v0, 1 run, seed 0"


def test_hyper_parameters_are_flat():
    found = hparams(parsed(GAMES[0]))
    assert (found["lr"], found["betas"], found["r1"], found["agent"]) == (0.05, "0.3,0.8", 0.3, "extra_adam")
    assert all(isinstance(value, bool | int | float | str) for value in found.values())
