"""Data that the package can always load: scikit-learn's digits, shipped with that dependency."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Split(NamedTuple):
    """Images (N, p) in [0, 1] as float32 and labels (N,) as int64, for training and held out."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@cache
def digits() -> Split:
    """Return the 1,797 8x8 digits of scikit-learn, divided by 16: 1,437 to train, 360 held out.

    The split is stratified and fixed. Source: Alpaydin and Kaynak 1998, UCI test set of optical digits.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16.0, labels, test_size=360, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = (torch.from_numpy(np.ascontiguousarray(p)) for p in parts)
    return Split(train_images.float(), train_labels, test_images.float(), test_labels)
