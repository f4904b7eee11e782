"""Data of the user with classes: folders of images, datasets whose items are pictures of Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from robustgames.data import class_folder, from_dataset
from robustgames.errors import GameError

COLORS = torch.tensor([[255, 0, 0], [0, 128, 255]], dtype=torch.uint8)  # left and right pixel of a picture
GRAYS = torch.tensor([76, 104], dtype=torch.uint8)  # 0.299 R + 0.587 G + 0.114 B


class Pictures(Dataset):
    """Two items of one picture, or other inputs, with the labels 0 and 1."""

    def __init__(self, picture, labels=(0, 1)):
        self.picture, self.labels = picture, labels

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return self.picture, self.labels[i]


def colored():
    return Image.fromarray(COLORS.numpy().reshape(1, 2, 3))


@pytest.mark.parametrize("mode", ["RGB", "P", "CMYK"])
def test_pictures_of_a_dataset_are_colors_not_indices_of_a_palette_or_ink(mode):
    picture = colored().quantize(4) if mode == "P" else colored().convert(mode)
    found = from_dataset("here", Pictures(picture))
    assert found.shape == (3, 1, 2)
    assert torch.equal(found.read(torch.tensor([1]))[0], COLORS.T.reshape(3, 1, 2))


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_gray_pictures_of_a_dataset_have_one_channel(mode):
    found = from_dataset("here", Pictures(colored().convert(mode)))
    assert torch.equal(found.read(torch.tensor([0])), GRAYS.view(1, 1, 1, 2))


def test_pictures_of_one_bit_are_black_and_white():
    picture = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert from_dataset("here", Pictures(picture)).read(torch.tensor([0])).flatten().tolist() == [0, 255]


@pytest.mark.parametrize("labels", [(0, 1.5), (torch.tensor(0.5), 1), (0, float("nan"))])
def test_a_fraction_is_not_a_class(labels):
    with pytest.raises(GameError, match="an array or picture and a class number are needed"):
        from_dataset("here", Pictures(torch.zeros(3, 2, 2), labels))


def test_whole_numbers_of_any_type_are_classes():
    for labels in ((0, 1.0), (torch.tensor(0), torch.tensor([1])), (np.int64(0), np.float32(1)), (False, True)):
        assert from_dataset("here", Pictures(torch.zeros(3, 2, 2), labels)).labels.tolist() == [0, 1]


@pytest.mark.parametrize("file", [None, "1.avif", "._1.png"])
def test_a_class_without_images_is_named_instead_of_renumbering_the_others(file, tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
        colored().save(tmp_path / name / "1.png")
    (tmp_path / ".cache").mkdir()
    assert class_folder(tmp_path).labels.tolist() == [0, 1, 2]
    (tmp_path / "b" / "1.png").unlink()
    if file:
        (tmp_path / "b" / file).write_bytes(b"")
    with pytest.raises(GameError, match=r"b holds no image \(.*put its images there, or move it elsewhere"):
        class_folder(tmp_path)
