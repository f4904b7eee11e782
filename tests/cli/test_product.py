"""The product as a user meets it: commands, run folders, kills, wrong input."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from in_process import command, in_an_empty_folder, only_run  # noqa: F401 (a fixture)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import robustgames as rg
from robustgames import experiment
from robustgames.checkpoints import load_checkpoint
from robustgames.cli import main

COMMAND = [sys.executable, "-m", "robustgames.cli"]
RIDGE = '''import torch
import robustgames as rg

@rg.register("mine/Ridge-v0")
class Ridge(rg.ZeroSumGame):
    """Ridge regression as a game."""
    sizes = (3, 6)
    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.A, self.b = torch.randn(6, 3, generator=g), torch.randn(6, generator=g)
    def payoff(self, x, y, sample):
        return (y * (x @ self.A.mT - self.b)).sum(-1) - y.square().sum(-1) / 2 + 0.05 * x.square().sum(-1)
'''


def test_train_writes_a_run_folder_and_prints_where(tmp_path, capsys):
    assert command("train extragradient robustgames/Forsaken-v0 --lr 0.01 --steps 400 --runs 3 --seed 7") == 0
    folder = only_run(tmp_path / "runs")
    printed = capsys.readouterr().out
    assert folder.parts[-3:-1] == ("Forsaken-v0", "extragradient") and folder.name.endswith("-seed7")
    assert f"{folder.relative_to(tmp_path)}" in printed and "tensorboard --logdir" in printed
    names = {p.name for p in folder.iterdir()}
    assert {"progress.csv", "config.yaml", "checkpoint.safetensors", "result.json", "figures"} <= names
    assert {p.name for p in (folder / "figures").iterdir()} == {"phase_portrait.png", "learning_curves.png"}
    result = json.loads((folder / "result.json").read_text())
    assert result["timesteps"] == 400 and result["diverged"] == 0 and len(result["metrics"]["residual"]["runs"]) == 3
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    assert [e.step for e in events.Scalars("game/residual")][-1] == 400
    assert events.Tags()["images"] == ["figures/phase_portrait"]


def test_config_yaml_is_enough_to_repeat_the_run(tmp_path):
    words = "train extra_adam robustgames/DiracGAN-v0 --lr 0.05 --betas 0.3 0.8 --steps 60 --runs 2 --average 0.9"
    assert main([*words.split(), "--set", "r1=0.5", "noise=1e-1"]) == 0
    folder = only_run(tmp_path)
    again, _ = experiment.train(experiment.read_experiment(folder), tmp_path / "again", progress_bar=False)
    first, second = (load_checkpoint(f) for f in (folder, again))
    assert torch.equal(first["z"], second["z"]) and torch.equal(first["state"]["mean"], second["state"]["mean"])
    assert "betas=(0.3, 0.8)" in repr(rg.solvers.config.from_config(first["solver"]))
    assert yaml.safe_load((folder / "config.yaml").read_text())["env_settings"] == {"r1": 0.5, "noise": 0.1}


def test_evaluate_recomputes_the_result(tmp_path, capsys):
    assert command("train gda robustgames/MatchingPennies-v0 --steps 50 --runs 2") == 0
    folder = only_run(tmp_path)
    capsys.readouterr()
    assert main(["evaluate", str(folder)]) == 0
    assert "duality gap" in capsys.readouterr().out
    result, evaluation = (json.loads((folder / f"{n}.json").read_text())["metrics"] for n in ("result", "evaluation"))
    assert result == evaluation


def test_a_users_game_trains_from_its_own_folder(tmp_path):
    """Fifteen lines, any folder. The saddle is the ridge solution x = (AᵀA + 0.1)⁻¹ Aᵀb."""
    assert len(RIDGE.splitlines()) <= 15
    (tmp_path / "my_games.py").write_text(RIDGE)
    words = "train extra_adam my_games:mine/Ridge-v0 --lr 0.01 --steps 4000 --runs 2 --average uniform"
    subprocess.run([*COMMAND, *words.split()], check=True, capture_output=True, timeout=120)
    z = load_checkpoint(only_run(tmp_path))["z"]
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(6, 3, generator=generator), torch.randn(6, generator=generator)
    ridge = torch.linalg.solve(a.T @ a + 0.1 * torch.eye(3), a.T @ b)
    assert (z[:, :3] - ridge).abs().max() < 0.05
    code = "import my_games; from robustgames.testing import check_game; check_game('mine/Ridge-v0')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_killed_run_resumes_bit_exactly(tmp_path):
    words = "train extra_adam robustgames/Forsaken-v0 --lr 0.01 --steps 20000 --runs 3 --set noise=0.2 --checkpoint 200"
    process = subprocess.Popen([*COMMAND, *words.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(tmp_path.rglob("previous.safetensors")):
        time.sleep(0.01)
        assert process.poll() is None
    time.sleep(int.from_bytes(os.urandom(1), "big") / 255 * 1.5)  # a random moment
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = only_run(tmp_path)
    assert 0 < load_checkpoint(folder)["timesteps"] < 20_000 and not (folder / "result.json").exists()
    assert main(["train", "--resume", str(folder)]) == 0
    resumed = load_checkpoint(folder)
    whole, _ = experiment.train(experiment.read_experiment(folder), tmp_path / "whole", progress_bar=False)
    uninterrupted = load_checkpoint(whole)
    assert resumed["timesteps"] == uninterrupted["timesteps"] == 20_000
    assert torch.equal(resumed["z"], uninterrupted["z"])
    assert torch.equal(resumed["state"]["m"], uninterrupted["state"]["m"])
    assert len(list(folder.glob("progress*.csv"))) == 2  # the first part of the curve is still there


def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(tmp_path):
    words = "train gda robustgames/Bilinear-v0 --lr 1e-6 --steps 10000000 --checkpoint 10000000"
    process = subprocess.Popen([*COMMAND, *words.split()], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not list(tmp_path.rglob("progress.csv")):
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    folder = only_run(tmp_path)
    assert process.returncode == 130 and "Traceback" not in error
    assert f"robustgames train --resume {folder.relative_to(tmp_path)}" in error
    assert 0 < load_checkpoint(folder)["timesteps"] < 10_000_000


def test_resuming_a_finished_run_changes_nothing(tmp_path, capsys):
    assert command("train gda robustgames/Quadratic-v0 --steps 50 --runs 2") == 0
    folder = only_run(tmp_path)
    table = capsys.readouterr().out
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert main(["train", "--resume", str(folder)]) == 0
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert capsys.readouterr().out.splitlines()[:8] == table.splitlines()[:8]


def refused(words, capsys, *, lines=1):
    """Run a command that must be refused: exit code 2, one line, no traceback. Returns the line."""
    assert main(words.split() if isinstance(words, str) else words) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == lines
    return error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("tarin", "unknown command 'tarin': did you mean train?"),
        ("train extra_adma robustgames/Bilinear-v0", "unknown agent 'extra_adma': did you mean extra_adam"),
        (
            "train gda robustgames/Bilnear-v0",
            "unknown env 'robustgames/Bilnear-v0': did you mean robustgames/Bilinear-v0",
        ),
        ("train gda nowhere:mine/Ridge-v0", "no module 'nowhere'"),
        ("train gda robustgames/Bilinear-v0 --steps -5", "steps is -5: it must be a whole number of at least 0"),
        ("train gda robustgames/Bilinear-v0 --runs 0", "runs is 0: it must be a whole number of at least 1"),
        ("train gda robustgames/Bilinear-v0 --lr -1", "lr is -1.0: a learning rate is a positive number"),
        ("train gda robustgames/Bilinear-v0 --device tpu0", "device 'tpu0' is not usable here"),
        ("train gda robustgames/Bilinear-v0 --set radius=-1", "the ball of radius -1 is empty"),
        (
            "train gda robustgames/Bilinear-v0 --set raduis=1",
            "setting of Bilinear 'raduis': did you mean radius",
        ),
        ("train gda robustgames/Bilinear-v0 --set radius", "--set takes key=value"),
        ("train gda robustgames/Bilinear-v0 --average mean", "--average is 'mean'"),
        ("train adversarial_training robustgames/DigitsAdversarial-v0 --set eps=-0.1", "eps is -0.1"),
        ("train pgd robustgames/MnistAttack-v0 --data no_folder", "no_folder"),
        ("train gda robustgames/Bilinear-v0 --data no_folder", "unknown setting of Bilinear 'data'"),
        (
            "train gda robustgames/Bilinear-v0 --patience 3",
            "patience is 3: robustgames/Bilinear-v0 has no held-out images",
        ),
        ("train gda robustgames/Bilinear-v0 --set radius=1 --set radius=2", "--set has radius twice"),
        ("train gda robustgames/Bilinear-v0 --set device=cpu", "--set cannot change device"),
        ("train gda robustgames/Bilinear-v0 --set n=abc", "cannot be made with n='abc'"),
        (
            "train gda robustgames/Bilinear-v0 --set matrix=[[1,2],[3]]",
            "the matrix [[1, 2], [3]] must have two dimensions",
        ),
        ("train gda robustgames/Bilinear-v0 --seed 99999999999999999999", "seed is 99999999999999999999"),
        ("train gda Pendulum-v1", "Pendulum-v1 is not a game"),
        ("train gda nothing", "unknown env 'nothing': `robustgames list` lists all"),
        ("train robustgames/Bilinear-v0 gda", "the agent comes first: robustgames train gda robustgames/Bilinear-v0"),
        ("train my:mine/Ridge-v0", "the agent comes first: robustgames train extragradient my:mine/Ridge-v0"),
        ("train PPO robustgames/Bilinear-v0", 'PPO("MlpPolicy", rg.PlayerView('),
        ("train nothing robustgames/Bilinear-v0", "unknown agent 'nothing': `robustgames list` lists all"),
        ("train gda robustgames/Forsaken-v0 --set offset=abc", "made with offset='abc': it must be a number (float)"),
        ("train gda robustgames/Forsaken-v0 --set noise=abc", "made with noise='abc': it must be a number (float)"),
        ("train gda robustgames/Bilinear-v0 --learning-rate 1", "unknown flag --learning-rate: did you mean --lr?"),
        ("train gda robustgames/Bilinear-v0 -lr 1", "unknown flag -lr: did you mean --lr?"),
        ("train gda robustgames/Bilinear-v0 --stpes=1", "unknown flag --stpes: did you mean --steps?"),
        ("train gda robustgames/Bilinear-v0 --radius 1", "write --set radius=...; `robustgames train gda --help`"),
        ("train --n-envs 3", "unknown flag --n-envs: did you mean --runs?"),
        ("train gda robustgames/Bilinear-v0 --runs 1e12", "1,000,000,000,000 runs take about 59,604.6 GiB: about"),
        ("train gda robustgames/Bilinear-v0 --threads 0", "threads is '0': it must be a whole number from 1"),
        ("list games", "list takes no further words"),
        ("train mirror_prox robustgames/Forsaken-v0", "entropic steps need simplices"),
        ("train --resume nothing", "nothing is not the folder of a run"),
        ("evaluate nothing", "nothing is not the folder of a run"),
    ],
)
def test_wrong_input_gets_one_line_and_exit_code_2(words, says, capsys, tmp_path):
    assert says in refused(words, capsys)
    assert list(tmp_path.iterdir()) == []  # and leaves nothing behind


def test_a_folder_that_cannot_be_written_is_named(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    error = refused("train gda robustgames/Bilinear-v0 --out file/runs", capsys)
    assert "cannot write to file/runs" in error and "--out" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(capsys, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "permission denied" in refused("train gda robustgames/Bilinear-v0 --out locked", capsys)


def test_two_processes_in_one_run_folder(capsys, tmp_path):
    assert command("train gda robustgames/Bilinear-v0 --steps 20") == 0
    folder = only_run(tmp_path)
    before = (folder / "checkpoint.safetensors").read_bytes()
    capsys.readouterr()
    code = "import sys, time, pathlib\nfrom robustgames.experiment.folder import locked\n"
    code += "with locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline().strip() == "held"
        assert "is in use by another process" in refused(["train", "--resume", str(folder)], capsys)
    finally:
        other.kill()
    assert (folder / "checkpoint.safetensors").read_bytes() == before


def test_a_payoff_of_the_wrong_shape_is_explained(capsys, tmp_path):
    wrong = RIDGE.replace("mine/Ridge", "mine/Wrong").replace(".sum(-1) -", ".sum(-1, keepdim=True) -")
    (tmp_path / "wrong.py").write_text(wrong)
    error = refused("train gda wrong:mine/Wrong-v0", capsys)
    assert "payoff of Ridge returned shape" in error and "did you forget .squeeze(-1) or .sum(-1)?" in error


def test_a_module_that_fails_is_named(capsys, tmp_path):
    (tmp_path / "needs.py").write_text("import a_module_that_is_not_there")
    error = refused("train gda needs:mine/Ridge-v0", capsys)
    assert "importing 'needs' failed with ModuleNotFoundError: No module named 'a_module_that_is_not_there'" in error


@pytest.mark.parametrize("line", ["steps: abc", "runs: null", "settings: 5", "agent: 7", "env: null"])
def test_a_broken_config_is_named(capsys, tmp_path, line):
    assert command("train gda robustgames/Quadratic-v0 --steps 20 --runs 2") == 0
    folder = only_run(tmp_path)
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + line)
    capsys.readouterr()
    refused(["train", "--resume", str(folder)], capsys)


def test_settings_may_be_given_in_several_places(tmp_path):
    assert command("train gda robustgames/Bilinear-v0 --set noise=1e-1 --steps 10 --set radius=1 bias=[1e-3,0]") == 0
    config = yaml.safe_load((only_run(tmp_path) / "config.yaml").read_text())
    assert config["env_settings"] == {"noise": 0.1, "radius": 1, "bias": [0.001, 0]}


def test_settings_with_an_equals_sign_are_taken_too(tmp_path):
    assert command("train gda robustgames/Forsaken-v0 --set=offset=0.3 --set noise=0.1 --steps 10 --runs 2") == 0
    config = yaml.safe_load((only_run(tmp_path) / "config.yaml").read_text())
    assert config["env_settings"] == {"offset": 0.3, "noise": 0.1}


def test_whole_numbers_may_be_written_with_an_exponent(tmp_path, capsys):
    assert command("train gda robustgames/Bilinear-v0 --steps 1e2 --runs 2.0 --checkpoint 1E1") == 0
    config = yaml.safe_load((only_run(tmp_path) / "config.yaml").read_text())
    assert (config["steps"], config["runs"], config["checkpoint"]) == (100, 2, 10)
    assert command("train gda robustgames/Bilinear-v0 --steps 1.5") == 2
    assert "--steps is '1.5': it must be a whole number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "variable", "threads"), [("", None, 1), ("", "2", 2), ("--threads 2", "1", 2), ("--threads=2", None, 2)]
)
def test_threads(words, variable, threads, tmp_path):
    (tmp_path / "my_games.py").write_text(f"{RIDGE}\nprint('threads', torch.get_num_threads())")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": variable} if variable else {}
    train = ["train", "gda", "my_games:mine/Ridge-v0", "--steps", "1", *words.split()]
    done = subprocess.run([*COMMAND, *train], env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert f"threads {threads}\n" in done.stdout


def test_a_diverging_run_stops_with_its_last_good_checkpoint(capsys, tmp_path):
    assert command("train gda robustgames/Forsaken-v0 --lr 2.0 --steps 400 --runs 2 --checkpoint 1") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "of 2 diverged (non-finite values) at step" in error
    folder = only_run(tmp_path)
    assert torch.isfinite(load_checkpoint(folder)["z"]).all(-1).any()
    assert not (folder / "result.json").exists()


def test_diverged_runs_are_counted_in_the_result(capsys, tmp_path):
    assert command("train gda robustgames/Forsaken-v0 --lr 0.3 --steps 300 --runs 40 --seed 1") == 0
    result = json.loads((only_run(tmp_path) / "result.json").read_text())
    assert 0 < result["diverged"] < 40
    assert result["metrics"]["residual"]["mean"] is not None  # over the finite runs
    assert f"{result['diverged']} of 40" in capsys.readouterr().out


def test_list_names_every_game_and_agent_in_one_line_each(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in [*(i for i in rg.game_ids() if i.startswith("robustgames/")), *rg.solvers.RECIPES]:
        assert sum(line.strip().startswith(f"{name} ") for line in lines) == 1


@pytest.mark.parametrize("words", ["--help", "--version", "list"])
def test_short_commands_do_not_import_torch(words):
    code = f"import sys; from robustgames.cli import main; main({words.split()}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("columns", [80, 100])
def test_list_wraps_between_words_on_a_terminal(columns, monkeypatch, capsys):
    assert main(["list"]) == 0
    whole = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns < max(map(len, whole.splitlines()))
    assert " ".join(lines).split() == whole.split()


def test_every_public_name_is_there_at_first_use():
    code = "import sys, robustgames as rg; assert 'torch' not in sys.modules and set(rg.__all__) <= set(dir(rg))\n"
    code += "for name in rg.__all__: getattr(rg, name)\nfrom robustgames import *; assert Game is rg.games.Game\n"
    code += "assert 'robustgames/Bilinear-v0' in rg.game_ids() and rg.solvers.RECIPES and not hasattr(rg, 'nothing')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_version_is_that_of_the_package(capsys):
    assert command("--version") == 0
    assert capsys.readouterr().out == f"robustgames {rg.__version__}\n"


def test_help_shows_hyper_parameters_with_defaults_and_sources(capsys):
    with pytest.raises(SystemExit) as stop:
        command("train extra_adam --help")
    text = capsys.readouterr().out
    assert stop.value.code == 0
    for part in ("--betas", "0.5 0.9", "Gidel et al. 2019", "--steps", "--set"):
        assert part in text


def train_both(standard_steps, adversarial_steps, runs):
    """Return the final metrics of standard and adversarial training on digits."""
    steps = {"standard_training": standard_steps, "adversarial_training": adversarial_steps}
    jobs = [
        experiment.GameExperiment(agent, "robustgames/DigitsAdversarial-v0", steps=n, runs=runs)
        for agent, n in steps.items()
    ]
    return [experiment.train(job, progress_bar=False)[1]["metrics"] for job in jobs]


def test_digits_quick():
    """After a fifth of the main job, adversarial training is ahead under attack."""
    standard, robust = train_both(200, 800, runs=2)
    assert robust["pgd40_accuracy"]["mean"] > standard["pgd40_accuracy"]["mean"] + 0.2
    assert standard["clean_accuracy"]["mean"] > 0.85


@pytest.mark.slow
def test_digits_main_job():
    """Five seeds as one batch: standard training falls below 25 % under PGD-40, adversarial training keeps 80 %."""
    standard, robust = train_both(1000, 4000, runs=5)
    assert standard["pgd40_accuracy"]["mean"] < 0.25 and standard["clean_accuracy"]["mean"] > 0.94
    assert robust["pgd40_accuracy"]["mean"] > 0.80 and robust["clean_accuracy"]["mean"] > 0.97
    assert len(robust["pgd40_accuracy"]["runs"]) == 5
