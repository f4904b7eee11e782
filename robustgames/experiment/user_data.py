"""The word of `--data`: digits, mnist, a folder or file, or module:function in a file of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from robustgames.data import array_files
from robustgames.data.class_folder import class_folder
from robustgames.data.classified import Classified, from_arrays
from robustgames.data.from_dataset import from_dataset, is_dataset
from robustgames.data.labeled import digits, mnist
from robustgames.errors import GameError
from robustgames.experiment.user_code import call, import_object, kind_of

READERS = {".npz": array_files.npz, ".safetensors": array_files.safetensors}
KINDS = (
    "digits, mnist, a folder of images by class, a folder of IDX files, a file .npz, .safetensors or "
    "*-images-idx3-ubyte, or my_data:load"
)
EXAMPLE = "--data my_data:load for load() in my_data.py"


def load_data(word: str, count: int, resize: tuple[int, int] | None = None) -> Classified:
    """Return the data that a word names; files and folders take precedence over names.

    Args:
        word: One of `KINDS`. module:function returns (inputs, labels), a dictionary with both, or a torch Dataset.
        count: Number of inputs that are needed.
        resize: Height and width to which the images of a folder are resized.

    Raises:
        GameError: No such data, or of another form.
    """
    path = Path(word).expanduser()
    if path.is_dir() and not array_files.is_idx(path):
        return class_folder(path, resize, count)
    if resize is not None:
        raise GameError(f"--resize is for a folder of images by class: resize those of {word} where they are made")
    if path.exists():
        reader = READERS.get(path.suffix) or (array_files.idx if array_files.is_idx(path) else None)
        if reader is None:
            raise GameError(f"--data {word} is of an unknown kind: {KINDS} are read")
        return reader(path)
    if word in ("digits", "mnist", "openml", "shipped"):
        return _shipped(word)
    if ":" in word:
        return _of_user(word, count)
    raise GameError(f"no data {word!r}: {KINDS} are known")


def _shipped(word: str) -> Classified:
    data = digits() if word == "digits" else mnist(None if word == "mnist" else word)
    x, y = data.test_images, data.test_labels
    side = round(x.shape[1] ** 0.5)
    return Classified(word, (1, side, side), y, lambda numbers: x[numbers].view(-1, 1, side, side), shuffled=True)


def _of_user(word: str, count: int) -> Classified:
    found: Any = import_object(word, "--data", EXAMPLE)
    if callable(found) and not is_dataset(found):
        found = call(word, found, {}, "")
    if isinstance(found, dict):
        return array_files.of_mapping(word, found)
    if isinstance(found, tuple | list) and len(found) == 2:
        return from_arrays(word, found[0], found[1])
    if is_dataset(found) or (not isinstance(found, Tensor | tuple | list | str) and hasattr(found, "__getitem__")):
        return from_dataset(word, found, count)
    raise GameError(
        f"{word} gives an object of type {kind_of(found)}: (inputs, labels), a dictionary with both, or a torch "
        "Dataset is needed"
    )
