"""The zoo: its files, its table, its page and its names on the command line."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from in_process import command, in_an_empty_folder  # noqa: F401 (a fixture)

import robustgames as rg
from robustgames.cli.listing import list_all
from robustgames.data import mnist
from robustgames.data.labeled import VARIABLE
from robustgames.games.small_networks import small_cnn
from robustgames.zoo import ZOO, Entry, entry, load, loading, table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from behind import withstand  # noqa: E402  # pyright: ignore[reportMissingImports]

PAGE = ROOT / "docs" / "explain" / "zoo.md"
MNIST = [name for name, one in ZOO.items() if one.data != table.FASHION]


def images(count):
    data = mnist()
    return data.test_images[:count], data.test_labels[:count]


@pytest.fixture(autouse=True)
def shipped_images(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A zoo of one classifier with random weights, and these."""
    torch.manual_seed(0)
    network = small_cnn((2, 3), 4)
    loading.store(network, tmp_path / "tiny.safetensors")
    monkeypatch.setattr(loading, "FOLDER", tmp_path)
    line = {"norm": "l2", "eps": 1.5, "minutes": 1.0, "images": 300, "clean": 90.0, "robust": 50.0, "command": ""}
    monkeypatch.setitem(ZOO, "tiny", Entry(table.MNIST, **line, channels=(2, 3), hidden=4))
    monkeypatch.setitem(ZOO, "dress", Entry(table.FASHION, **line, channels=(2, 3), hidden=4))
    return network


def test_what_is_stored_is_loaded_in_half_precision(small):
    loaded, x = load("tiny"), images(20)[0]
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    for mine, given in zip(loaded.parameters(), small.parameters(), strict=True):
        assert torch.equal(mine, given.half().float())
    assert torch.equal(loaded(x), load("zoo:tiny")(x)) and loaded(x).shape == (20, 10)


def test_unknown_names_are_answered_with_close_ones(small):
    with pytest.raises(rg.GameError, match="unknown classifier of the zoo 'tinny': did you mean tiny"):
        entry("tinny")
    assert command("attack zoo:tinny --attack fgsm") == 2
    assert command("attack --model zoo:tinny --attack fgsm") == 2


@pytest.mark.parametrize("words", ["zoo:tiny", "--model zoo:tiny"])
def test_the_command_takes_norm_and_radius_from_the_table(small, words, capsys):
    assert command(f"attack {words} --attack fgsm --images 30 --out found") == 0
    found = json.loads(Path("found/attack.json").read_text())
    assert (found["norm"], found["eps"], found["images"]) == ("l2", 1.5, 30)
    (warning,) = [line for line in found["warnings"] if "training set" in line]
    assert "on which zoo:tiny was trained: give its test images, --data with the folder" in warning
    x, y = images(30)
    assert found["clean_accuracy"]["mean"] == pytest.approx(float((load("tiny")(x).argmax(-1) == y).double().mean()))


def test_norm_and_radius_can_be_others(small):
    assert command("attack zoo:tiny --attack fgsm --images 9 --eps 0.5 --out a") == 0
    assert command("attack zoo:tiny --attack fgsm --images 9 --norm linf --eps 0.1 --out b") == 0
    found = [json.loads(Path(name, "attack.json").read_text()) for name in "ab"]
    assert [(one["norm"], one["eps"]) for one in found] == [("l2", 0.5), ("linf", 0.1)]
    assert command("attack zoo:tiny --attack fgsm --images 9 --norm l1") == 2  # without a radius


def test_other_data_must_be_given(small, capsys):
    assert command("attack zoo:dress --attack fgsm --images 9") == 2
    assert "zoo:dress is attacked on Fashion-MNIST: give --data with the folder" in capsys.readouterr().err


def test_every_line_of_the_table_has_a_small_file_and_every_file_a_line():
    sizes = {path.stem: path.stat().st_size for path in loading.FOLDER.glob("*.safetensors")}
    assert set(sizes) == set(ZOO) and all(size < 2e6 for size in sizes.values())


@pytest.mark.parametrize("name", ZOO)
def test_the_page_shows_the_table(name):
    one = ZOO[name]
    (row,) = re.findall(rf"^\| `zoo:{name}` \|.*$", PAGE.read_text(), flags=re.M)
    norm = {"linf": "ℓ∞", "l2": "ℓ2", "l1": "ℓ1"}[one.norm]
    shown = [
        one.data,
        f"{norm} {one.eps:g}",
        f"{one.minutes:g}",
        f"{one.images:,}",
        f"{one.clean:.1f}",
        f"**{one.robust:.1f}**",
    ]
    assert [cell.strip() for cell in row.split("|")[2 : 2 + len(shown)]] == shown
    words = " ".join(PAGE.read_text().replace("\\\n", " ").split())
    assert f"robustgames train {one.command}" in words


@pytest.mark.parametrize("name", MNIST)
def test_a_classifier_of_the_zoo_withstands_a_short_attack_on_the_shipped_images(name):
    one, (x, y) = ZOO[name], images(100)
    report = rg.attacks.evaluate(load(name), x, y, one.eps, one.norm, attacks=("apgd-ce",), self_checks=False)
    assert report.clean_accuracy >= one.clean / 100 - 0.04
    assert report.robust_accuracy >= one.robust / 100 - 0.07  # 3 standard errors of 100 images


def test_the_list_names_the_zoo(small, capsys):
    list_all([])
    out = capsys.readouterr().out
    assert "zoo:tiny" in out and "MNIST, 60,000 images, l2 1.5: 90.0 % clean, 50.0 % under AutoAttack." in out


@pytest.mark.parametrize("slope", [20.0, 200.0])
@pytest.mark.parametrize("aimed", [False, True])
def test_the_attack_behind_a_threshold_finds_all_that_a_linear_classifier_leaves(slope, aimed):
    """The exact robust accuracy is that of the worst corner of each image."""
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.rand(200, 784, generator=generator), torch.randn(784, generator=generator)
    labels = torch.randint(2, (200,), generator=generator)
    side = weight * (1 - 2 * labels.unsqueeze(-1))  # the margin of the class is the sum of side * h

    def network(images):
        score = torch.sigmoid(slope * (images - 0.5)) @ weight
        return torch.stack([score, -score], -1) + torch.tensor([0.0, 2.0])

    worst = torch.where(side > 0, (x - 0.02).clamp(0, 1), (x + 0.02).clamp(0, 1))
    exact = network(worst).argmax(-1) == labels
    assert 0.05 < exact.double().mean() < (network(x).argmax(-1) == labels).double().mean() - 0.1
    threat, goals = rg.games.threat.ThreatModel("linf", 0.02), 1 - labels if aimed else None
    found = withstand(network, x, labels, threat, 0.5, generator, 10, slope, goals)
    assert torch.equal(found, exact)
