"""A run folder is self-contained: the weights from which its runs start are copied into it."""

import json
import os
import shutil

import pytest
import torch
import yaml
from in_process import command, in_an_empty_folder, only_run  # noqa: F401 (a fixture)
from safetensors.torch import save_file

from robustgames import experiment
from robustgames.experiment.publishing import publishable
from robustgames.games.small_networks import small_cnn

NETWORK = "channels=[1,1] hidden=4 batch_size=4"
TRAIN = f"train gda robustgames/MnistAdversarial-v0 --runs 1 --lr 0.01 --set {NETWORK}"


@pytest.fixture
def started(tmp_path):
    """Train a few steps from weights in a file; return the run folder, moved, without the file."""
    torch.manual_seed(1)
    start = small_cnn((1, 1), 4)
    save_file(start.state_dict(), "first.safetensors")
    assert command(f"{TRAIN} weights=first.safetensors --steps 8 --out runs") == 0
    (tmp_path / "first.safetensors").unlink()
    moved = tmp_path / "elsewhere"
    shutil.move(only_run(tmp_path / "runs"), moved)
    return moved, start


def test_a_run_from_weights_is_resumed_evaluated_and_attacked_without_their_file(started):
    folder, _ = started
    began = json.loads((folder / "result.json").read_text())["start"]
    assert command(f"evaluate {folder}") == 0
    assert command(f"attack {folder} --attack fgsm --images 20") == 0
    assert command(f"train --resume {folder} --steps 16") == 0
    result, config = (
        json.loads((folder / "result.json").read_text()),
        yaml.safe_load((folder / "config.yaml").read_text()),
    )
    assert {"weights.safetensors", "checkpoint.safetensors"} <= publishable(folder).keys()
    assert result["start"] == began and result["timesteps"] >= 16
    assert config["env_settings"]["weights"] == "first.safetensors"  # what was typed


def test_the_copy_is_where_the_runs_started(started):
    folder, start = started
    made, agent = experiment.load(folder)
    weights = torch.cat([p.detach().flatten() for p in start.parameters()])
    assert torch.equal(agent.game.network.initial((), torch.Generator(), torch.float32), weights)
    assert made.env_settings["weights"] == "first.safetensors"


def test_a_run_of_an_earlier_version_without_a_copy_needs_the_file(started, capsys):
    folder, _ = started
    (folder / "weights.safetensors").rename("first.safetensors")
    assert command(f"evaluate {folder}") == 0
    os.remove("first.safetensors")
    assert command(f"evaluate {folder}") == 2
    assert "weights first.safetensors cannot be read" in capsys.readouterr().err
