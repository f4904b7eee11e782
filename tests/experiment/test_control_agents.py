"""Runs of the agents that train against forces and shifted observations: train, continue, evaluate."""

import json

import numpy as np
import pytest
import torch

from robustgames import experiment
from robustgames.cli import main
from robustgames.experiment.control import ControlExperiment

PENDULUM, INVERTED = "robustgames/ActionRobustPendulum-v0", "robustgames/ActionRobustInvertedPendulum-v0"
SMALL = {"hidden": [8, 8], "learning_starts": 20, "batch_size": 8}
RUNS = [
    ("atla", PENDULUM, {"turn": 30}, {"eps": 0.1}),
    ("rap", INVERTED, {"turn": 15, "adversaries": 2}, {}),
    ("sa_td3", PENDULUM, {"sa_ramp": 10, "sa_scale": [0.5, 0.5, 2.0]}, {}),
]


def made(agent, env, settings, env_settings, steps):
    return ControlExperiment(
        agent=agent,
        env=env,
        settings={**SMALL, **settings},
        env_settings=env_settings,
        steps=steps,
        runs=2,
        device="cpu",
    )


@pytest.mark.parametrize(("agent", "env", "settings", "env_settings"), RUNS)
def test_a_run_with_more_steps_is_the_longer_run(agent, env, settings, env_settings, tmp_path):
    long = made(agent, env, settings, env_settings, 100)
    whole, _ = experiment.train(long, tmp_path / "whole", False)
    part, _ = experiment.train(made(agent, env, settings, env_settings, 40), tmp_path / "part", False)
    experiment.resume(part, False, 100)
    ours, theirs = (long.load_agent(folder, long.make_agent()) for folder in (whole, part))
    for one, other in zip(ours.learners, theirs.learners, strict=True):
        assert torch.equal(one.z, other.z) and one.practice.replay.size == other.practice.replay.size
    values = json.loads((whole / "result.json").read_text())
    assert ("return_under_adversary" in json.dumps(values)) == (agent != "sa_td3")


def test_evaluation_attacks_the_observations_of_an_atla_run(tmp_path, capsys):
    folder, _ = experiment.train(made("atla", PENDULUM, {"turn": 30}, {"eps": 0.1}, 60), tmp_path, False)
    words = "--observation-attack mad critic --eps 0.2 --episodes 2 --grid mass=1"
    assert main(["evaluate", str(folder), *words.split()]) == 0
    out = capsys.readouterr().out
    assert "mad" in out and "critic" in out and "worst" in out


def test_the_settings_of_a_coupling_are_shown_once(tmp_path):
    long = made("atla", PENDULUM, {}, {"eps": 0.1}, 10)
    agent = long.make_agent()
    assert long._shown_settings(agent) == {"coupling": "observation(eps=0.1)"}
    env = long._make_env(agent.ongoing.alphas[0])
    assert env.unwrapped.coupling.eps == 0.1 and env.unwrapped.coupling.adversary_first
    seen = env.unwrapped.reset(seed=0)[0]
    assert np.allclose(env.unwrapped.perceived(np.ones(3)) - seen, 0.1, atol=1e-6) or seen.max() > 0.9
