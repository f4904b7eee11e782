"""Data sets: labeled digits, and sources of images for generators."""

from robustgames.data.images import (
    ImageArray,
    ImageSource,
    StreamedImages,
    digits_images,
    image_folder,
    lsun,
    mnist_images,
)
from robustgames.data.labeled import VARIABLE, Split, digits, mnist

__all__ = [
    "VARIABLE",
    "ImageArray",
    "ImageSource",
    "Split",
    "StreamedImages",
    "digits",
    "digits_images",
    "image_folder",
    "lsun",
    "mnist",
    "mnist_images",
]
