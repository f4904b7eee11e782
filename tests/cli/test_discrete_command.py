"""`robustgames train robust_dqn` on an env with finitely many actions, resumed and evaluated."""

import json

import torch

from robustgames import cli
from robustgames.checkpoints import load_checkpoint

CARTPOLE = "robustgames/ActionRobust-v0 --set env_id=CartPole-v1 coupling=probabilistic alpha=0.2"
SMALL = "--hidden 8 8 --learning-starts 20 --batch-size 8 --exploration-steps 50 --train-freq 4 --gradient-steps 3"


def trained(out, steps, *more):
    words = f"train robust_dqn {CARTPOLE} {SMALL} --steps {steps} --runs 2".split()
    assert cli.main([*words, "--out", str(out), *more]) == 0
    return next(out.glob("*/*/*"))


def test_a_run_of_finitely_many_actions_resumes_bit_for_bit_and_is_evaluated(tmp_path, capsys):
    folder = trained(tmp_path / "part", 60)
    assert cli.main(["train", "--resume", str(folder), "--steps", "120"]) == 0
    whole = load_checkpoint(trained(tmp_path / "whole", 120))
    assert torch.equal(load_checkpoint(folder)["z"], whole["z"]) and whole["agent"] == "RobustDQN"
    assert whole["updates"] == 75
    words = ["--grid", "gravity=0.5,1", "gain=1,2", "--episodes", "2", "--eps", "0.2", "--certify-episodes", "20"]
    asked = ["--observation-attack", "random", "mad", "critic", "--certify", "all"]
    assert cli.main(["evaluate", str(folder), *words, *asked]) == 0
    shown = capsys.readouterr().out
    for part in ("return under adversary", "gravity 0.5…1 x gain 1…2", "attack critic", "certified returns"):
        assert part in shown
    found = json.loads((folder / "evaluation.json").read_text())
    assert found["robustness"]["idle"] == {}
    bounds = found["policy_certificates"]["returns"]["per_run"]["certified_mean"][0]
    assert bounds[0] > 0 and bounds == sorted(bounds, reverse=True)  # no reward of CartPole is negative
    assert "bounds of actions left out" in shown  # the largest of several outputs is not a layer
