"""What is made is in the folder that was named: no run leaves files among those for temporary use."""

import tempfile

import pytest
from stable_baselines3.common.logger import HumanOutputFormat

import robustgames as rg
from robustgames import cli
from robustgames.agents import RobustDDPG
from robustgames.evaluation.adversaries import best_response

SMALL = {"learning_starts": 5, "batch_size": 4, "hidden": (4,)}


def learn_a_game(folder):
    rg.GameAgent("robustgames/Quadratic-v0", verbose=0).learn(20)


def learn_control(folder):
    RobustDDPG(**SMALL).learn(20)


def log_before_learning(folder):
    agent = RobustDDPG(**SMALL, verbose=1)
    assert [type(output) for output in agent.logger.output_formats] == [HumanOutputFormat]


def train_an_adversary(folder):
    def policy(observation):
        return [0.0]

    best_response(policy, "robustgames/ActionRobustPendulum-v0", "TD3", steps=20, episodes=1)


def run_the_commands(folder):
    words = ["--steps", "20", "--runs", "1", "--learning-starts", "5", "--batch-size", "4", "--out", str(folder)]
    assert cli.main(["train", "robust_ddpg", "robustgames/ActionRobustPendulum-v0", *words]) == 0
    run = next(folder.glob("*/*/*"))
    words = ["--grid", "mass=1,2", "--episodes", "1", "--best-response", "10", "--video", str(folder / "episode.gif")]
    assert cli.main(["evaluate", str(run), *words]) == 0


@pytest.mark.parametrize(
    "work", [learn_a_game, learn_control, log_before_learning, train_an_adversary, run_the_commands]
)
def test_nothing_is_left_among_temporary_files(work, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    work(tmp_path / "runs")
    left = {path.name for path in (tmp_path / "temporary").iterdir()}
    assert not [name for name in left if not name.startswith("torchinductor_")]  # PyTorch's cache, one for all runs
    assert {path.name for path in tmp_path.iterdir()} <= {"temporary", "runs"}


def test_event_files_are_written_where_they_are_wanted(tmp_path):
    agent = RobustDDPG(**SMALL, tensorboard_log=str(tmp_path)).learn(10, tb_log_name="first")
    agent.learn(10, tb_log_name="first", reset_num_timesteps=False)
    assert [path.name for path in tmp_path.iterdir()] == ["first_1"]
