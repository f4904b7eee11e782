"""Control from the command line: run folders, tables, resume, wrong input."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import fields

import pytest
import torch
import yaml
from in_process import command, in_an_empty_folder, only_run  # noqa: F401 (a fixture)
from stable_baselines3.common.callbacks import ConvertCallback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robustgames import experiment
from robustgames.agents import RAP, RobustDDPG, RobustSAC, RobustTD3, SoftM2TD3
from robustgames.checkpoints import load_checkpoint
from robustgames.cli import main
from robustgames.experiment.control import ControlExperiment

COMMAND = [sys.executable, "-m", "robustgames.cli"]
PENDULUM = "robustgames/ActionRobustPendulum-v0"
SMALL = "--hidden 8 8 --learning-starts 20 --batch-size 8"
ENVS = '''import gymnasium as gym
import numpy as np


class Wears(gym.Env):
    """Pulls a point to 0; the reward is no number from an instance's 450th step on."""

    observation_space = gym.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gym.spaces.Box(-2, 2, (1,), np.float32)
    steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 2)
        return self.x.astype(np.float32), {}

    def step(self, action):
        self.steps += 1
        self.x = np.clip(self.x + 0.1 * action, -9, 9)
        reward = float("nan") if self.steps == 450 else -float(abs(self.x).sum())
        return self.x.astype(np.float32), reward, False, False, {}


gym.register("mine/Wears-v0", Wears, max_episode_steps=20)
kwargs = {"env_id": "mine/Wears-v0"}
gym.register("mine/RobustWears-v0", "robustgames.envs:ActionRobustEnv", max_episode_steps=20, kwargs=kwargs)
'''


def told(folder, name="result"):
    return json.loads((folder / f"{name}.json").read_text())


def interrupt_at(monkeypatch, timestep):
    """Let Ctrl-C come after this timestep of the next training."""

    def stop(inside, _):
        if inside["self"].num_timesteps == timestep:
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(ControlExperiment, "watchers", lambda *_: [ConvertCallback(stop)])


def test_the_command_of_the_readme(tmp_path):
    words = f"train robust_ddpg robustgames/ActionRobust-v0 {SMALL} --steps 450 --runs 2 --seed 7"
    done = subprocess.run(
        [*COMMAND, *words.split(), "--set", "env_id=Pendulum-v1", "alpha=0.1"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "step/s" in done.stderr and "Traceback" not in done.stderr
    folder = only_run(tmp_path / "runs")
    assert folder.parts[-3:-1] == ("ActionRobust-v0", "robust_ddpg") and folder.name.endswith("-seed7")
    for part in (
        "robustgames/ActionRobust-v0 (env_id=Pendulum-v1, coupling=noisy, alpha=0.1), mean ± std over 2 runs",
        "return under adversary",
        "env steps",
        str(folder.relative_to(tmp_path)),
    ):
        assert part in done.stdout
    names = {p.name for p in folder.iterdir()}
    assert {"progress.csv", "config.yaml", "checkpoint.safetensors", "result.json", "figures"} <= names
    assert [p.name for p in (folder / "figures").iterdir()] == ["learning_curves.png"]
    result = told(folder)
    assert result["timesteps"] == 450 and result["timestep"] == "env step" and result["updates"] == 430
    for group in ("start", "metrics"):
        assert set(result[group]) == {"return", "return_under_adversary", "episode_length"}
        assert len(result[group]["return"]["runs"]) == 2 and result[group]["episode_length"]["mean"] == 200
    assert result["start"]["return"] != result["metrics"]["return"]
    events = EventAccumulator(str(folder)).Reload()
    returns = events.Scalars("rollout/ep_rew_mean")
    assert returns[0].step == 207 and returns[-1].step == 450 and all(-1900 < e.value < 0 for e in returns)
    assert events.Scalars("train/critic_loss")[-1].step == 450


@pytest.mark.parametrize("env", [PENDULUM, "robustgames/RobustPendulum-v0"])
@pytest.mark.parametrize(("agent", "settings"), [("robust_ddpg", ""), ("robust_td3", "--solver extra_adam --lr 3e-4")])
def test_a_resumed_run_equals_the_uninterrupted_one(agent, settings, env, tmp_path, monkeypatch, capsys):
    """Stopped between two episodes, of 25 steps each."""
    words = f"train {agent} {env} {SMALL} {settings} --steps 120 --runs 2 --set max_episode_steps=25"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 50)
        assert command(f"{words} --out part") == 130
    folder = only_run(tmp_path / "part")
    shown = capsys.readouterr().err
    assert f"interrupted; continue with: robustgames train --resume {folder.relative_to(tmp_path)}" in shown
    assert load_checkpoint(folder)["timesteps"] == 50 and not (folder / "result.json").exists()
    assert main(["train", "--resume", str(folder)]) == 0
    assert command(f"{words} --out whole") == 0
    whole = only_run(tmp_path / "whole")
    first, second = (load_checkpoint(f) for f in (folder, whole))
    assert first["timesteps"] == second["timesteps"] == 120 and torch.equal(first["z"], second["z"])
    assert first["solver"] == second["solver"]
    for name in ("start", "metrics"):
        assert told(folder)[name] == told(whole)[name]
    assert len(list(folder.glob("progress*.csv"))) == 2  # the first part of the curve is still there


def test_ctrl_c_keeps_a_checkpoint(tmp_path):
    words = f"train robust_ddpg {PENDULUM} {SMALL} --steps 1000000 --runs 1 --checkpoint 1000000"
    process = subprocess.Popen([*COMMAND, *words.split()], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not list(tmp_path.rglob("checkpoint.safetensors")):
        time.sleep(0.05)
        assert process.poll() is None
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    folder = only_run(tmp_path)
    assert process.returncode == 130 and "Traceback" not in error
    assert f"robustgames train --resume {folder.relative_to(tmp_path)}" in error
    assert 0 < load_checkpoint(folder)["timesteps"] < 1_000_000


def test_ctrl_c_before_the_training_says_that_nothing_is_written(tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ControlExperiment, "measure", stop)
    assert command(f"train robust_ddpg {PENDULUM}") == 130
    assert capsys.readouterr().err.strip() == "robustgames: interrupted: nothing is written"
    assert list(tmp_path.iterdir()) == []


def test_config_yaml_is_enough_to_repeat_the_run(tmp_path):
    words = f"train robust_td3 {PENDULUM} {SMALL} --steps 60 --runs 2 --smoothing 0.3 --solver adam --lr 2e-3"
    words += " --solver-set betas=[0.5,0.9] --set coupling=probabilistic --solver-set lr_y=1e-4 --set alpha=2e-1"
    assert command(words) == 0
    folder = only_run(tmp_path)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["env_settings"] == {"coupling": "probabilistic", "alpha": 0.2}
    assert config["solver_settings"] == {"lr": 2e-3, "betas": [0.5, 0.9], "lr_y": 1e-4}
    assert config["settings"]["smoothing"] == 0.3 and config["settings"]["twin"] is True
    again, _ = experiment.train(experiment.read(folder), tmp_path / "again", progress_bar=False)
    first, second = (load_checkpoint(f) for f in (folder, again))
    assert torch.equal(first["z"], second["z"]) and first["solver"] == second["solver"]
    assert told(folder)["settings"] == config["env_settings"]
    assert "coupling=probabilistic, alpha=0.2" in told(folder)["game"] and "betas=(0.5, 0.9)" in told(folder)["solver"]


def test_evaluate_recomputes_the_result(tmp_path, capsys):
    assert command(f"train robust_ddpg {PENDULUM} {SMALL} --steps 60 --runs 2 --normalize") == 0
    folder = only_run(tmp_path)
    capsys.readouterr()
    assert main(["evaluate", str(folder)]) == 0
    assert "return under adversary" in capsys.readouterr().out
    assert told(folder)["metrics"] == told(folder, "evaluation")["metrics"]


@pytest.mark.parametrize("words", ["--set alpha=0", "--adversary random --set alpha=0.5"])
def test_without_a_learned_adversary_there_is_no_return_under_it(words, tmp_path, capsys):
    assert command(f"train robust_ddpg {PENDULUM} {SMALL} --steps 40 --runs 1 {words}") == 0
    assert set(told(only_run(tmp_path))["metrics"]) == {"return", "episode_length"}
    assert "under adversary" not in capsys.readouterr().out


def test_every_run_may_have_a_share_of_its_own(tmp_path):
    assert command(f"train robust_ddpg {PENDULUM} {SMALL} --steps 40 --runs 3 --set alpha=[0,0.2,1]") == 0
    metrics = told(only_run(tmp_path))["metrics"]
    alone, against = (metrics[name]["runs"] for name in ("return", "return_under_adversary"))
    assert alone[0] == against[0] and alone[1] != against[1] and alone[2] != against[2]


def test_a_run_too_short_for_any_curve_has_no_figure(tmp_path):
    assert command(f"train robust_ddpg {PENDULUM} --steps 0 --runs 1") == 0
    folder = only_run(tmp_path)
    assert told(folder)["start"] == told(folder)["metrics"] and not (folder / "figures").exists()


def test_resuming_a_finished_run_changes_nothing(tmp_path, capsys):
    assert command(f"train robust_ddpg {PENDULUM} {SMALL} --steps 40 --runs 2") == 0
    folder = only_run(tmp_path)
    table = capsys.readouterr().out
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert main(["train", "--resume", str(folder)]) == 0
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert capsys.readouterr().out.splitlines()[:8] == table.splitlines()[:8]


@pytest.mark.parametrize(
    "env", ["my_envs:mine/RobustWears-v0", "robustgames/ActionRobust-v0 --set env_id=my_envs:mine/Wears-v0"]
)
def test_an_env_of_the_user_that_fails_says_where_and_how_to_go_on(env, tmp_path, capsys):
    (tmp_path / "my_envs.py").write_text(ENVS)
    assert command(f"train robust_ddpg {env} --steps 500 --runs 1 {SMALL}") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    folder = only_run(tmp_path)
    assert "timestep 449, run 0" in error and "returned reward nan" in error
    assert error.endswith(f"robustgames train --resume {folder.relative_to(tmp_path)}")
    assert load_checkpoint(folder)["timesteps"] == 449 and not (folder / "result.json").exists()
    assert main(["train", "--resume", str(folder)]) == 0  # with an env that is new
    assert told(folder)["timesteps"] == 500


def test_a_run_of_control_has_no_classifier_to_attack(tmp_path, capsys):
    assert command(f"train robust_ddpg {PENDULUM} --steps 0 --runs 1") == 0
    capsys.readouterr()
    assert main(["attack", str(only_run(tmp_path))]) == 2
    assert "is a run of robust_ddpg, which is control: give a run of a solver on a game" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (f"{PENDULUM} --set alpha=2", "alpha is 2: the adversary's share lies in [0, 1]"),
        (f"{PENDULUM} --set alpha=abc", f"{PENDULUM} cannot be made with alpha='abc'"),
        (f"{PENDULUM} --set alpha=[0.1,0.2]", "alpha has 2 values for 5 runs"),
        (f"{PENDULUM} --set max_episode_steps=abc", "cannot be made with max_episode_steps='abc'"),
        (f"{PENDULUM} --set coupling=observation", "it must be noisy or probabilistic"),
        ("robustgames/ActionRobustPendulm-v0", "did you mean robustgames/ActionRobustPendulum-v0"),
        (
            "robustgames/ActionRobust-v0 --set env_id=gymnasium_robotics:None-v0",
            "for 'gymnasium_robotics:None-v0': pip install gymnasium-robotics",
        ),
        (f"{PENDULUM} --solver mixed_ne_ld --solver-set published=maybe", "published is 'maybe': it must be true or"),
        (f"{PENDULUM} --set coupling=observation", "let the players learn in turns, robustgames train rarl or atla"),
        ("nowhere:mine/Car-v0", "no module 'nowhere' for 'nowhere:mine/Car-v0'"),
        (
            "robustgames/ActionRobust-v0 --set env_id=Pendulm-v1",
            "unknown env_id 'Pendulm-v1': did you mean",
        ),
        (
            "robustgames/ActionRobust-v0 --set env_id=CartPole-v1",
            "CartPole-v1 has actions Discrete(2)",
        ),
        (
            "Pendulum-v1",
            "has no adversary; to give it one: "
            "robustgames train robust_ddpg robustgames/ActionRobust-v0 --set env_id=Pendulum-v1",
        ),
        (
            "robustgames/Bilinear-v0",
            "is a game, which solvers train: robustgames train extragradient robustgames/Bilinear-v0; "
            f"robust_ddpg trains control: robustgames train robust_ddpg {PENDULUM}",
        ),
        (f"{PENDULUM} --runs 0", "runs is 0: it must be a whole number of at least 1, e.g. --runs 1"),
        (f"{PENDULUM} --steps -1", "steps is -1"),
        (f"{PENDULUM} --checkpoint 0", "checkpoint is 0"),
        (f"{PENDULUM} --solver adma", "unknown solver 'adma': did you mean adam"),
        (f"{PENDULUM} --solver mirror_prox", "entropic steps need simplices"),
        (f"{PENDULUM} --lr -1", "lr is -1.0: a learning rate is a positive number"),
        (f"{PENDULUM} --solver-set betta=1", "unknown setting of adam 'betta': did you mean betas?"),
        (f"{PENDULUM} --solver-set betas=abc", "betas is 'abc': it must be two numbers in [0, 1)"),
        (f"{PENDULUM} --solver-set betas", "--solver-set takes key=value, got 'betas': e.g. --solver-set lr_y=3e-4"),
        (f"{PENDULUM} --solver-set lr=1", "--solver-set cannot change lr: it has a flag, --lr 1"),
        (f"{PENDULUM} --batch-size 0", "batch_size is 0"),
        (f"{PENDULUM} --device tpu0", "device 'tpu0' is not usable here"),
        (f"{PENDULUM} --set device=cpu", "--set cannot change device"),
    ],
)
def test_wrong_input_gets_one_line_and_exit_code_2(words, says, capsys, tmp_path):
    assert command(f"train robust_ddpg {words}") == 2
    error = capsys.readouterr().err
    assert says in error and len(error.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []  # and leaves nothing behind


def test_a_solver_given_control_names_the_agent_for_it(capsys, tmp_path):
    assert command(f"train extra_adam {PENDULUM}") == 2
    assert f"is control, not a game: robustgames train robust_ddpg {PENDULUM}" in capsys.readouterr().err
    assert command("train robust_dpg") == 2
    assert "unknown agent 'robust_dpg': did you mean robust_ddpg" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["steps: abc", "settings: 5", "solver: 7", "solver_settings: [1]", "env: null"])
def test_a_broken_config_is_named(capsys, tmp_path, line):
    assert command(f"train robust_ddpg {PENDULUM} --steps 0 --runs 1") == 0
    folder = only_run(tmp_path)
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + line)
    capsys.readouterr()
    assert main(["train", "--resume", str(folder)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


HELPED = {
    "robust_ddpg": RobustDDPG,
    "robust_td3": RobustTD3,
    "robust_sac": RobustSAC,
    "soft_m2td3": SoftM2TD3,
    "rap": RAP,
}


@pytest.mark.parametrize(("name", "agent"), HELPED.items())
def test_help_lists_every_setting_with_the_agents_own_default(name, agent, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")  # wider help has columns, whose lines alternate
    with pytest.raises(SystemExit) as stop:
        command(f"train {name} --help")
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert stop.value.code == 0
    for f in fields(agent.preset):
        value = getattr(agent.preset, f.name)
        default = " ".join(map(str, value)) if isinstance(value, tuple) else value
        flag = text.partition(f"--{f.name.replace('_', '-')}")[2]
        assert flag.partition("(default: ")[2].startswith(f"{default})"), f.name
    for flag in (
        "--solver STR",
        "--lr {None}|FLOAT",
        "--solver-set",
        "--steps",
        "--runs",
        "--set",
        "--checkpoint",
        "ENV",
    ):
        assert flag in text
    assert "Widths of the hidden layers" in text


def test_list_names_the_agents_of_control(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in experiment.CONTROL_AGENTS:
        assert sum(line.strip().startswith(f"{name} ") for line in lines) == 1
