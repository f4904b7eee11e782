"""`robustgames attack` on networks and data of every kind: exact answers, and one line for what cannot be."""

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import in_an_empty_folder, users_module  # noqa: F401 (a fixture)
from PIL import Image
from safetensors.torch import save_file

from robustgames.attacks import evaluate, linear_worst_case
from robustgames.attacks.checks import black_box_wins
from robustgames.attacks.saving import load_examples
from robustgames.cli import main
from robustgames.data import from_arrays
from robustgames.experiment import any_classifier
from robustgames.experiment.user_data import load_data

MODULE = """
import warnings
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, DataLoader, TensorDataset

class Scaled(nn.Module):
    def forward(self, x):
        return (x - 0.5) / 0.25

def linear(inputs=192, classes=3, scaled=False, dtype="float32"):
    torch.manual_seed(0)
    net = nn.Sequential(Scaled() if scaled else nn.Identity(), nn.Flatten(), nn.Linear(inputs, classes))
    return net.to(getattr(torch, dtype))

def cnn(width=4, classes=3):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4 * width, classes))

class Recurrent(nn.Module):
    def __init__(self, features=8, classes=10):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = nn.GRU(features, 12, batch_first=True), nn.Linear(12, classes)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])

def binary():
    net = linear(classes=1)
    return lambda x: torch.cat([-net(x), net(x)], 1)

weights = torch.sin(torch.arange(30.0)).view(10, 3)

def plain(x):
    return x @ weights

def halved(x, by=2.0):
    return x @ weights / by

def old():
    warnings.warn("old name", DeprecationWarning)
    warnings.warn("look")
    return linear()

def two(depth, width):
    return linear()

def table():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(200, 10, generator=generator) * torch.arange(1.0, 11.0)
    return x, plain(x).argmax(1)

class Photos(Dataset):
    classes = ["cat", "dog", "owl"]
    def __len__(self):
        return 12
    def __getitem__(self, i):
        return torch.full((3, 8, 8), i / 12), i % 3

def photos():
    return Photos()

def growing():
    class Growing(Photos):
        def __getitem__(self, i):
            return torch.zeros(3, 8 + i, 8), i % 3
    return Growing()

def loader():
    return DataLoader(Photos())

def tensors():
    return TensorDataset(torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3)

def words():
    return {"x": np.zeros((4, 8, 8, 3), np.uint8), "y": np.array(["dog", "cat", "cat", "owl"])}

class Transformed(Photos):
    targets = [5] * 12  # target_transform has the last word
    target_transform = staticmethod(lambda y: y % 3)

def transformed():
    return Transformed()

class Others(Photos):
    targets = ["words"] * 12

def others():
    return Others()

read = []

class Torchvision(Photos):
    targets, target_transform = [0, 1, 2] * 4, None
    def __getitem__(self, i):
        read.append(i)
        return super().__getitem__(i)

def torchvision():
    return Torchvision()

def integers():
    return np.zeros((4, 3, 8, 8), int), np.zeros(4, int)

def normalized():
    return torch.randn(9, 3, 8, 8), torch.arange(9) % 3

def signed():
    return 1.99 * torch.rand(9, 3, 8, 8) - 1, torch.arange(9) % 3

def one_based():
    return torch.rand(9, 3, 8, 8), torch.arange(9) % 3 + 1

def onehot():
    return torch.rand(3, 3, 8, 8), torch.eye(3)

def short():
    return torch.rand(3, 3, 8, 8), torch.zeros(2)

def number():
    return 3

def asks(path):
    return 3
"""


def photo(path, seed, size=(8, 8), mode="RGB"):
    """Write a random picture; return its pixels (C, H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size, 3) if mode == "RGB" else size
    pixels = np.random.RandomState(seed).randint(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return torch.from_numpy(pixels.reshape(*size, -1)).permute(2, 0, 1)


def folder(home, count=5, classes=("ant", "bee", "cow"), **settings):
    """Write `count` pictures for each class; return all pixels in the order of their paths."""
    return torch.stack(
        [
            photo(home / name / f"{i}.png", 10 * k + i, **settings)
            for k, name in enumerate(classes)
            for i in range(count)
        ]
    )


written = users_module("mine", MODULE)


def attack(words, capsys, code=0):
    assert main(["attack", *words.split(), "--device", "cpu"]) == code
    return capsys.readouterr()


def results(out="found"):
    """Return (examples, attack.json, the report of its classifier)."""
    content = json.loads(Path(out, "attack.json").read_text())
    return load_examples(f"{out}/examples.safetensors"), content, next(iter(content["classifiers"].values()))


def ten_images_at_once(monkeypatch):
    for limit in ("KEPT", "PART"):
        monkeypatch.setattr(any_classifier, limit, 10 * 192 * 4)


def mine():
    return sys.modules["mine"]


@torch.no_grad()
def exact(model, x, y, eps, classes=3):
    """Return the robust accuracy of a linear network under ℓ∞, without the box: no wrong class wins in the ball."""
    zero = model(torch.zeros_like(x[:1]))[0].double()
    basis = torch.eye(x[0].numel()).view(-1, *x.shape[1:]).to(x)
    w = (model(basis).double() - zero).T  # (classes, p)
    z = x.double().flatten(1) @ w.T + zero
    margins = z.gather(1, y[:, None]) - z - eps * (w[y][:, None] - w[None]).abs().sum(-1)
    margins[torch.arange(len(y)), y] = float("inf")
    return float((margins.amin(1) > 0).double().mean())


def test_a_folder_by_class_is_read_in_the_order_of_names_and_attacked_in_pixels(capsys, tmp_path):
    pixels = folder(tmp_path / "photos")
    words = "--model mine:linear --data photos --eps 8/255 --attack apgd-ce --out found"
    printed = attack(words, capsys)
    found, content, row = results()
    assert "linf eps 0.0313725, 15 images" in printed.out
    assert torch.equal(found.clean, pixels.float() / 255) and found.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert found.about["class_names"] == ["ant", "bee", "cow"] and content["eps"] == 8 / 255
    assert (found.adversarial - found.clean).abs().max() <= 8 / 255 + 1e-6
    guess = mine().linear()(found.adversarial).argmax(1)
    assert float((guess == found.labels).double().mean()) == row["robust_accuracy"]


def test_mean_and_std_are_inside_the_network_and_eps_is_in_pixels(capsys, tmp_path):
    folder(tmp_path / "photos")
    base = "--data photos --eps 0.02 --attack apgd-ce fab-t --out"
    attack(f"--model mine:linear --mean 0.5,0.5,0.5 --std 0.25 {base} flags", capsys)
    attack(f"--model mine:linear --model-set scaled=true {base} own", capsys)  # the layer is its own
    flags, own = results("flags"), results("own")
    assert flags[2]["clean_accuracy"] == own[2]["clean_accuracy"] and torch.equal(flags[0].clean, own[0].clean)
    assert torch.equal(flags[0].predictions, own[0].predictions)
    x, y = flags[0].clean, flags[0].labels
    assert flags[2]["robust_accuracy"] == own[2]["robust_accuracy"] <= flags[2]["clean_accuracy"]
    assert (flags[0].adversarial - x).abs().max() <= 0.02 + 1e-6
    assert flags[2]["robust_accuracy"] >= exact(mine().linear(scaled=True), x, y, 0.02)


def test_channels_are_normalized_each_by_its_own_number_and_certified(capsys, tmp_path):
    folder(tmp_path / "photos")
    words = "--model mine:linear --mean 0.1,0.5,0.9 --std 0.2,0.3,0.4 --data photos --eps 0.001 --attack apgd-ce"
    attack(f"{words} --certify ibp linear --out found", capsys)
    found, _, row = results()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.1, 0.5, 0.9], [0.2, 0.3, 0.4]))
    net = mine().linear()
    clean = float((net((found.clean - mean) / std).argmax(1) == found.labels).double().mean())
    assert row["clean_accuracy"] == clean
    whole = exact(lambda x: net((x - mean) / std), found.clean, found.labels, 0.001)
    assert row["certificates"]["ibp"]["certified"] / 15 <= whole <= row["robust_accuracy"]
    assert row["certificates"]["linear"]["certified"] == round(15 * row["robust_accuracy"])


def test_parts_give_what_one_part_gives_and_keep_few_examples(capsys, tmp_path, monkeypatch):
    folder(tmp_path / "photos", count=8)
    words = "--model mine:linear --data photos --eps 0.01 --attack fgsm deepfool --norm linf --batch 5 --out"
    words = words.replace("deepfool ", "apgd-ce ")
    attack(f"{words} whole", capsys)
    ten_images_at_once(monkeypatch)
    printed = attack(f"{words} parts", capsys).out
    assert "warning: the examples of the first 10 of 24 images are saved: --save-examples N saves more" in printed
    whole, parts = results("whole"), results("parts")
    for key in ("clean_accuracy", "robust_accuracy", "examples", "inputs", "unfinished"):
        assert whole[2][key] == parts[2][key]
    for one, two in zip(whole[2]["attacks"], parts[2]["attacks"], strict=True):
        assert [one[k] for k in ("name", "attacked", "fooled", "forwards")] == [
            two[k] for k in ("name", "attacked", "fooled", "forwards")
        ]
    assert parts[1]["images"] == 24 and len(parts[0].clean) == 10
    assert torch.equal(parts[0].clean, whole[0].clean[:10]) and parts[0].images is not None
    assert parts[0].images.shape == (10, 3, 8, 8)
    attack(f"{words} more --save-examples 17", capsys)
    assert torch.equal(results("more")[0].clean, whole[0].clean[:17])
    assert results("more")[2]["robust_accuracy"] == whole[2]["robust_accuracy"]


def test_the_images_in_memory_do_not_grow_with_their_number(capsys, tmp_path, monkeypatch):
    folder(tmp_path / "photos", count=30)
    ten_images_at_once(monkeypatch)
    sizes = []
    read = any_classifier.real

    def counted(x, low, high):
        sizes.append(len(x))
        return read(x, low, high)

    monkeypatch.setattr(any_classifier, "real", counted)
    attack("--model mine:linear --data photos --eps 0.01 --attack fgsm --batch 10 --out found", capsys)
    assert max(sizes) == 10 and sum(sizes) >= 90 and results()[1]["images"] == 90


def test_ctrl_c_in_a_later_part_keeps_the_parts_before(capsys, tmp_path, monkeypatch):
    folder(tmp_path / "photos", count=10)
    ten_images_at_once(monkeypatch)
    calls = []

    def second(*arguments, **settings):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments, **settings)

    monkeypatch.setattr("robustgames.cli.attack_run.evaluate", second)
    attack("--model mine:linear --data photos --eps 0.01 --attack fgsm --batch 10 --out found", capsys, 130)
    _, content, row = results()
    assert content["interrupted"] and row["inputs"] == content["images"] == 10


def test_a_choice_of_a_sorted_folder_has_all_classes_and_names_its_images(capsys, tmp_path):
    pixels = folder(tmp_path / "photos", count=8)
    attack("--model mine:linear --data photos --eps 0.01 --attack fgsm --images 9 --out found", capsys)
    found, _, _ = results()
    numbers = torch.tensor(found.about["numbers"])
    assert torch.equal(found.clean, pixels[numbers] / 255) and set(found.labels.tolist()) == {0, 1, 2}
    assert torch.equal(found.labels, numbers // 8)


def test_a_folder_is_resized_and_gray_if_all_of_it_is(capsys, tmp_path):
    for i, size in enumerate([(8, 10), (16, 16), (30, 8), (8, 8)]):
        photo(tmp_path / "mixed" / "ab"[i % 2] / f"{i}.png", i, size)
        photo(tmp_path / "gray" / "ab"[i % 2] / f"{i}.png", i, mode="L")
    assert load_data("mixed", 10, (8, 6)).shape == (3, 8, 6) and load_data("gray", 10).shape == (1, 8, 8)
    attack("--model mine:cnn --data mixed --resize 8x6 --eps 0.1 --attack fgsm --out found", capsys)
    assert results()[0].clean.shape == (4, 3, 8, 6)
    photo(tmp_path / "gray" / "a" / "9.png", 9)
    assert load_data("gray", 10).shape == (3, 8, 8)


@pytest.mark.parametrize(
    "kind", ["npz", "npz-last", "npz-flat", "safetensors", "safetensors-last", "idx", "idx-folder"]
)
def test_files_of_arrays_hold_the_same_images(kind, tmp_path):
    x = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (12, 3, 8, 8), dtype=np.uint8))
    y, word = torch.arange(12) % 3, f"data.{kind.partition('-')[0]}"
    if kind == "npz-flat":
        np.savez(word, x_test=x.flatten(1).numpy(), y_test=y.numpy()[:, None])
    elif kind.startswith("npz"):
        np.savez(word, images=(x.movedim(1, -1) if "last" in kind else x).numpy(), labels=y.numpy())
    elif kind.startswith("safetensors"):
        save_file({"x": (x.movedim(1, -1) if "last" in kind else x).contiguous(), "y": y}, word)
    else:
        x, word = x[:, :1], "half" if "folder" in kind else "half/t10k-images-idx3-ubyte"
        Path("half").mkdir()
        head = b"".join(n.to_bytes(4, "big") for n in (2051, 12, 8, 8))
        Path("half/t10k-images-idx3-ubyte").write_bytes(head + x.numpy().tobytes())
        Path("half/t10k-labels-idx1-ubyte").write_bytes(
            b"".join(n.to_bytes(4, "big") for n in (2049, 12)) + y.to(torch.uint8).numpy().tobytes()
        )
    data = load_data(word, 12)
    numbers = torch.tensor([0, 5, 11])
    assert torch.equal(data.read(numbers).reshape(3, -1), x[numbers].flatten(1)) and torch.equal(data.labels, y)
    assert data.shape == ((192,) if "flat" in kind else tuple(x.shape[1:])) and data.limits is None


def test_datasets_and_dictionaries_of_the_user(capsys):
    for word, count in (("photos", 12), ("tensors", 9), ("words", 4)):
        attack(f"--model mine:linear --data mine:{word} --eps 0.05 --attack apgd-ce --out {word}", capsys)
        assert results(word)[1]["images"] == count
    photos, words = results("photos")[0], results("words")[0]
    assert photos.about["class_names"] == ["cat", "dog", "owl"] and photos.labels.tolist() == [0, 1, 2] * 4
    assert photos.clean[:, 0, 0, 0].tolist() == pytest.approx([i / 12 for i in range(12)])
    assert words.about["class_names"] == ["cat", "dog", "owl"] and words.labels.tolist() == [1, 0, 0, 2]


def test_a_table_is_attacked_inside_the_limits_of_its_features(capsys):
    words = "--model mine:plain --data mine:table --eps 0.4 --attack apgd-ce fab-t --out"
    printed = attack(f"{words} own", capsys).out
    assert "warning: each feature is bounded by its least and largest value in the data" in printed
    assert "8-bit" not in printed
    found, _, row = results("own")
    x, _ = mine().table()
    assert ((found.adversarial >= x.amin(0)) & (found.adversarial <= x.amax(0))).all()
    attack(f"{words} wide --bounds -100,100", capsys)
    whole = exact(mine().plain, x, found.labels, 0.4)
    assert results("wide")[2]["robust_accuracy"] == whole <= row["robust_accuracy"] < row["clean_accuracy"] == 1
    assert 0.1 < whole < 0.9


def test_a_binary_model_meets_the_closed_form(capsys):
    words = "--model mine:binary --data mine:tensors --eps 0.01 --attack apgd-ce --out found"
    error = attack(words, capsys, 2).err
    assert "labels or targets go up to 2, but the model has 2 classes: class numbers 0 … 1 are allowed" in error
    data = mine().tensors()
    np.savez("two.npz", x=data.tensors[0], y=data.tensors[1] % 2)
    attack(words.replace("mine:tensors", "two.npz"), capsys)
    found, _, row = results()
    net = mine().linear(classes=1)
    x, y, w = found.clean, found.labels, net[2].weight
    both = torch.cat([-w, w])
    bias = torch.cat([-net[2].bias, net[2].bias])
    worst = linear_worst_case(both, x, y, 0.01, bias=bias)
    assert row["robust_accuracy"] == float((mine().binary()(worst).argmax(1) == y).double().mean())


def test_a_recurrent_network_takes_gray_images_as_sequences(capsys):
    attack("--model mine:Recurrent --data digits --images 40 --eps 0.1 --attack apgd-ce --out found", capsys)
    found, _, row = results()
    assert found.adversarial.shape == (40, 8, 8) and row["robust_accuracy"] <= row["clean_accuracy"]


def test_a_network_in_half_precision_is_attacked_in_its_own(capsys, tmp_path):
    folder(tmp_path / "photos")
    words = "--model mine:linear --model-set dtype=bfloat16 --mean 0.5 --std 0.5 --data photos --eps 8/255"
    attack(f"{words} --attack apgd-ce --out found", capsys)
    found, _, _ = results()
    assert found.adversarial.dtype == torch.bfloat16
    assert (found.adversarial.double() - found.clean.double()).abs().max() <= 8 / 255 + 1e-9
    with torch.no_grad():
        net = mine().linear(dtype="bfloat16")
        assert torch.equal(net((found.adversarial - 0.5) / 0.5).argmax(1), found.predictions)


def test_arguments_of_the_function_reach_it(capsys):
    words = "--data mine:table --eps 0.1 --bounds -100,100 --attack fgsm --out found"
    attack(f"--model mine:linear --model-set inputs=10 {words}", capsys)
    assert results()[0].clean.shape == (200, 10)
    says = {
        "--model mine:linear --model-set widht=3": "unknown argument of mine:linear() 'widht': known: classes, dtype,",
        "--model mine:linear --model-set input=3": "unknown argument of mine:linear() 'input': did you mean inputs?",
        "--model mine:two": "mine:two() needs depth and width: give --model-set depth=... width=...",
        "--model mine:two --model-set depth=2": "mine:two() needs width: give --model-set width=...",
        "--model mine:linear --model-set depth": "--model-set takes key=value, got 'depth': e.g. --model-set width=64",
        "--model mine:linear --model-set inputs=many": "mine:linear(inputs='many') failed with TypeError",
        "--model mine:weights --model-set a=3": "mine:weights gives an object of type Tensor",
    }
    for model, wanted in says.items():
        assert wanted in attack(f"{model} {words}", capsys, 2).err


def test_torchscript_needs_trust_and_gives_the_same_logits(capsys, tmp_path):
    pixels = folder(tmp_path / "photos")
    sys.path.insert(0, str(tmp_path))
    import mine as own  # pyright: ignore[reportMissingImports]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(own.linear(), pixels[:2].float()), "model.pt")
    words = "--model model.pt --data photos --eps 0.02 --attack apgd-ce --out"
    error = attack(f"{words} found", capsys, 2).err
    assert "model.pt is a program in TorchScript" in error and "add --trust" in error
    attack(f"{words} script --trust", capsys)
    attack(f"{words.replace('model.pt', 'mine:linear')} module", capsys)
    script, module = results("script"), results("module")
    assert script[2]["robust_accuracy"] == module[2]["robust_accuracy"]
    assert torch.equal(script[0].predictions, module[0].predictions)
    torch.save({"a": torch.zeros(1)}, "weights.pt")
    error = attack("--model weights.pt --trust --data photos --eps 0.1", capsys, 2).err
    assert "weights.pt is not TorchScript" in error and "--model-set path=..." in error


def test_labels_that_begin_at_1_are_shifted(capsys):
    words = "--model mine:linear --data mine:one_based --eps 0.05 --attack fgsm --out found"
    error = attack(words, capsys, 2).err
    assert "go up to 3, but the model has 3 classes: class numbers 0 … 2 are allowed; if they begin at 1, add" in error
    assert "--labels -1" in error
    attack(f"{words} --labels -1", capsys)
    assert results()[0].labels.tolist() == [0, 1, 2] * 3


def test_names_of_classes_move_with_their_numbers(capsys, tmp_path):
    folder(tmp_path / "photos")
    words = "--model mine:linear --model-set classes=4 --data photos --eps 0.01 --attack fgsm --out found --labels 1"
    printed = attack(words, capsys).out
    found, content, _ = results()
    assert found.labels.tolist() == [1] * 5 + [2] * 5 + [3] * 5 and "the data have" not in printed
    assert content["class_names"] == ["0", "ant", "bee", "cow"]
    assert any_classifier._shifted(("none", "ant", "bee"), -1) == ("ant", "bee")


def test_labels_of_a_dataset_are_those_of_its_items(capsys):
    for word in ("transformed", "others"):
        attack(f"--model mine:linear --data mine:{word} --eps 0.05 --attack fgsm --out {word}", capsys)
        assert results(word)[0].labels.tolist() == [0, 1, 2] * 4
    assert torch.equal(load_data("mine:torchvision", 12).labels, torch.arange(12) % 3) and mine().read == [0, 0, 11]


def test_words_that_are_numbers_in_another_order_are_warned_of():
    with pytest.warns(UserWarning, match="in the order of words, as torchvision and scikit-learn do: 0, 1, 10, 2 ..."):
        found = from_arrays("here", np.zeros((4, 3, 8, 8), np.uint8), np.array(["0", "1", "2", "10"]))
    assert found.labels.tolist() == [0, 1, 3, 2]


def test_gray_images_of_16_bits_keep_their_upper_8_and_32_bits_are_refused(capsys, tmp_path):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for name in ("a", "b"):
        (tmp_path / "deep" / name).mkdir(parents=True)
        (tmp_path / "deep" / name / "1.pgm").write_bytes(b"P5 8 8 65535\n" + values.astype(">u2").tobytes())
        Image.fromarray(values).save(tmp_path / "deep" / name / "2.png")
    found = load_data("deep", 4).read(torch.arange(4))
    assert torch.equal(found, torch.from_numpy((values >> 8).astype(np.uint8)).expand(4, 1, 8, 8))
    for mode, kind in (("I", np.int32), ("F", np.float32)):
        Image.fromarray(values.astype(kind)).save(tmp_path / "deep" / "a" / "0.tif")
        words = "--model mine:linear --model-set inputs=64 classes=2 --data deep --eps 0.1 --out found"
        error = attack(words, capsys, 2).err
        assert (
            f"0.tif cannot be read (pixels of 32 bits, whose range is not known ({mode}): store 8 or 16 bits)" in error
        )


def test_parts_are_judged_together_where_a_black_box_wins(capsys, tmp_path, monkeypatch):
    folder(tmp_path / "photos", count=8)
    ten_images_at_once(monkeypatch)
    words = "--model mine:linear --data photos --eps 0.02 --attack fgsm square --batch 10 --out found"
    tallies = iter([(5, 1), (4, 0), (1, 0)])

    def few(*arguments, **settings):
        report = evaluate(*arguments, **settings)
        one, two = next(tallies)
        won = [replace(tally, fooled=count) for tally, count in zip(report.attacks, (one, two), strict=True)]
        for note in black_box_wins([(tally.name, tally.fooled) for tally in won], len(report.clean)):
            warnings.warn(note, stacklevel=1)
        return replace(report, attacks=tuple(won), warnings=())

    monkeypatch.setattr("robustgames.cli.attack_run.evaluate", few)
    monkeypatch.setattr("robustgames.attacks.checks.GAIN", 0.05)
    attack(words, capsys)
    assert not [note for note in results()[1]["warnings"] if "without gradients" in note]  # 1 of 10, but of 24
    tallies = iter([(5, 1), (4, 1), (1, 2)])
    attack(words, capsys)
    _, content, row = results()
    for found in (content["warnings"], row["warnings"]):
        assert [note[:60] for note in found if "without gradients" in note] == [
            "Square, without gradients, fooled 4 of 24 inputs that the at"
        ]


def test_norms_are_written_as_in_python(capsys):
    words = "--model mine:linear --model-set inputs=64 classes=10 --data digits --attack fgsm --images 20 --out found"
    attack(f"{words} --norm Linf", capsys)
    assert (results()[1]["norm"], results()[1]["eps"]) == ("linf", 0.1)  # "Linf needs its radius" before


def test_classes_of_a_folder_get_the_numbers_that_the_network_has_for_them(capsys, tmp_path):
    folder(tmp_path / "photos")
    words = "--model mine:linear --model-set classes=9 --data photos --eps 0.01 --attack fgsm --out found"
    printed = attack(words, capsys).out
    assert "the data have 3 classes and the network 9: ant = 0, bee = 1, cow = 2; if its numbers are others," in printed
    printed = attack(f"{words} --labels 4,0,7", capsys).out
    found, content, row = results()
    assert "the data have" not in printed and found.labels.tolist() == [4] * 5 + [0] * 5 + [7] * 5
    assert content["class_names"][:5] == ["bee", "1", "2", "3", "ant"] and content["class_names"][7] == "cow"
    guess = mine().linear(classes=9)(found.clean).argmax(1)
    assert row["clean_accuracy"] == float((guess == found.labels).double().mean())
    assert [one["label"] for one in row["classes"]] == [0, 4, 7]


def test_deprecations_in_code_of_the_user_are_not_warnings_of_the_evaluation(capsys):
    printed = attack("--model mine:old --data mine:tensors --eps 0.01 --attack fgsm --out found", capsys).out
    assert "warning: look" in printed and "old name" not in printed


BAD = {
    "--data empty": "holds no image: files ending in",
    "--data flat": "holds 1 images outside of sub-folders: make one sub-folder for each class, e.g. flat/cat",
    "--data alone": "has one class, cat: a sub-folder for each of 2 or more is needed",
    "--data halves": "has the sub-folders test, train, which are not classes: give one of them, e.g. --data",
    "--data sizes": "has 8 x 8 pixels, b/1.png 9 x 7; add --resize H or HxW, e.g. --resize 224",
    "--data broken": "b/1.png cannot be read (not an image): copy it again, or take it out",
    "--data cut": "b/1.png cannot be read (",
    "--data wrong.npz": "wrong.npz holds a, b: images and labels, x and y,",
    "--data objects.npz": "objects.npz cannot be read as .npz (Object arrays cannot be loaded",
    "--data text.npz": "text.npz cannot be read as .npz",
    "--data text.safetensors": "text.safetensors cannot be read as safetensors",
    "--data mine.py": "--data mine.py is of an unknown kind",
    "--data x-images-idx3-ubyte": "looked for in x-labels-idx1-ubyte, which is not there",
    "--data mine:growing": "have shapes (3, 8, 8) and (3, 9, 8): one shape is needed",
    "--data mine:loader": "is a DataLoader: return a Dataset with len() and items (input, label)",
    "--data mine:integers": "are torch.int64: store images as uint8 in 0..255, or as floating-point numbers",
    "--data mine:normalized": "outside of their bounds: for inputs in other units give --bounds -",
    "--data mine:signed": "give --bounds -1,1; for normalized images give the images, and --mean and --std",
    "--data good --model mine:linear --model-set inputs=9": "; --resize H or HxW gives it images of another size",
    "--data mine:onehot": "have shape (3, 3): class numbers (N,) are needed, e.g. y.argmax(1)",
    "--data mine:short": "has 3 inputs and 2 labels: one label for each is needed",
    "--data mine:number": "gives an object of type int: (inputs, labels), a dictionary with both, or a torch Dataset",
    "--data mine:asks": "mine:asks() needs path: it is called without arguments, give them defaults",
    "--data mine:nothing": "unknown name in mine 'nothing'",
    "--data yours:load": "no module 'yours' for --data yours:load: run from the folder of yours.py",
    "--data good --labels -1": "go down to -1: class numbers 0, 1, ... are needed",
    "--data good --labels x": "--labels is 'x': it must be numbers with commas between them, e.g. --labels -1 or",
    "--data good --labels 1.5": "--labels is '1.5': it must be a whole number that is added, or several different",
    "--data good --labels 1,1,2": "--labels is '1,1,2': it must be a whole number that is added, or several different",
    "--data good --labels 1,-2,0": "--labels is '1,-2,0': it must be a whole number that is added, or several",
    "--data good --labels 1,2": "good has 3 classes (ant, bee, cow ...): give one for each",
    "--data good --labels 0,1,3": "go up to 3, but the model has 3 classes: class numbers 0 … 2 are allowed",
    "--data good --model mine:Recurrent": "does not map images to logits (N, classes >= 2): it gave for (2, 3, 8, 8)",
    "--data good --model mine:asks": "if it returns the network, give --model-set path=...",
    "--data good --bounds 1,0": "--bounds is '1,0': it must be the least and the largest value, e.g. --bounds 0,1",
    "--data good --bounds 0": "--bounds is '0': it must be the least and the largest value, e.g. --bounds 0,1",
    "--data good --bounds a,b": "--bounds is 'a,b': it must be numbers with commas between them, e.g. --bounds 0,1",
    "--data good --mean 0.5,0.5": "mean has 2 numbers for 3 channels: give one for each, or one for all",
    "--data good --mean x": "--mean is 'x': it must be numbers with commas between them, e.g. --mean 0.5,0.5,0.5",
    "--data good --std 0": "--std is '0': it must be positive numbers, e.g. --std 0.5",
    "--data good --resize big": "--resize is 'big': it must be pixels H or HxW, e.g. --resize 224 or --resize 32x48",
    "--data good --eps 8/0": "--eps is '8/0': it must be a number",
    "--data good --eps x/255": "--eps is 'x/255': it must be a number",
    "--data good --save-examples 0": "save_examples is 0: it must be a whole number of at least 1",
    "--data mine:photos --resize 9": "--resize is for a folder of images by class",
    "--data good --no-eps": "needs the radius of the attack: give --eps, e.g. 8/255",
}


@pytest.fixture
def bad(tmp_path):
    """Write the folders and files of `BAD`."""
    folder(tmp_path / "good", count=2)
    photo(tmp_path / "flat" / "1.png", 0)
    photo(tmp_path / "alone" / "cat" / "1.png", 0)
    (tmp_path / "empty").mkdir()
    for part in ("train", "test"):
        photo(tmp_path / "halves" / part / "cat" / "1.png", 0)
    for name in ("sizes", "broken", "cut"):
        photo(tmp_path / name / "a" / "1.png", 0)
        photo(tmp_path / name / "b" / "1.png", 1, (9, 7) if name == "sizes" else (8, 8))
    (tmp_path / "broken" / "b" / "1.png").write_text("not a picture")
    whole = (tmp_path / "cut" / "b" / "1.png").read_bytes()
    (tmp_path / "cut" / "b" / "1.png").write_bytes(whole[: len(whole) // 2])
    np.savez("wrong.npz", a=np.zeros(3), b=np.zeros(3))
    np.savez("objects.npz", x=np.array([{}], object), y=np.zeros(1))
    for name in ("text.npz", "text.safetensors", "x-images-idx3-ubyte"):
        (tmp_path / name).write_text("hello")


@pytest.mark.parametrize("words", BAD)
def test_bad_data_is_one_line(words, bad, capsys, tmp_path):
    model = "" if "--model" in words else "--model mine:linear "
    eps = "" if "--eps" in words or "--no-eps" in words else " --eps 0.1"
    before = set(tmp_path.rglob("*"))
    error = attack(f"{model}{words.replace(' --no-eps', '')}{eps}", capsys, 2).err
    assert BAD[words] in error and len(error.strip().splitlines()) == 1 and len(error) <= 430
    assert {path for path in set(tmp_path.rglob("*")) - before if "__pycache__" not in path.parts} == set()


def test_flags_of_a_network_of_the_user_are_refused_with_a_run(capsys):
    for words in ("--bounds 0,1", "--mean 0", "--std 1", "--resize 8", "--labels 1", "--model-set a=1"):
        error = attack(f"runs/x {words}", capsys, 2).err
        assert f"{words.split()[0]} is for a network of yours: leave it out" in error


def test_l0_counts_changed_values_and_its_curve_has_whole_radii(capsys, tmp_path):
    pixels = folder(tmp_path / "photos")
    attack("--model mine:linear --data photos --norm l0 --eps 5 --attack fmn --out found", capsys)
    found, content, row = results()
    assert content["norm"] == "l0" and row["examples"] > 0
    changed = (found.adversarial != found.clean).flatten(1).sum(-1)
    assert changed.max() <= 5 and (changed > 0).sum() == row["examples"]
    curve = row["curve"]
    assert curve["eps"] == [0, 1, 2, 3, 4, 5]
    assert curve["accuracy"][0] == row["clean_accuracy"] and curve["accuracy"][-1] == row["robust_accuracy"]
    levels = (found.images.int() - pixels.view(found.images.shape).int()).flatten(1)
    assert ((levels != 0).sum(-1) <= 5).all()
    page = Path("found/report.html").read_text()
    assert "ℓ0 perturbations of at most 5 coordinates" in page


def test_what_has_no_meaning_in_l0_is_refused_in_one_line(capsys, tmp_path):
    folder(tmp_path / "photos")
    base = "--model mine:linear --data photos --norm l0"
    for words, message in (
        ("--attack fmn", "--norm l0 needs its radius: give --eps too"),
        ("--attack fmn --eps 0", "eps is 0: in l0 it is the number of coordinates that may change, at least 1"),
        ("--attack fmn --eps 1.5", "eps is 1.5: in l0 it is the number of coordinates that may change, a whole"),
        ("--attack fmn --eps 3 --curve", "--curve sweeps the radii with APGD"),
        ("--eps 3", "apgd-ce attacks in linf and l2 and l1, not in l0: use fmn"),
        ("--attack hop-skip-jump --eps 3", "hop-skip-jump attacks in linf and l2, not in l0: use fmn"),
        ("--attack fmn --eps 3 --certify crown", "crown certifies in linf and l2 and l1, not in l0"),
    ):
        assert message in attack(f"{base} {words}", capsys, 2).err


def test_black_box_attacks_report_their_queries(capsys, tmp_path):
    folder(tmp_path / "photos")
    attack("--model mine:linear --data photos --norm l2 --eps 0.1 --attack nes hop-skip-jump --out found", capsys)
    nes, jump = results()[2]["attacks"]
    assert nes["name"] == "nes" and nes["backwards"] == 0 and 1 <= nes["forwards"] <= 5001
    assert jump["backwards"] == 0 and 4900 <= jump["forwards"] <= 5001
