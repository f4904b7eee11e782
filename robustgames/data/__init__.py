"""Data sets: labeled digits, inputs with their classes, and sources of images for generators."""

from robustgames.data.class_folder import class_folder
from robustgames.data.classified import Classified, from_arrays
from robustgames.data.from_dataset import from_dataset
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
    "Classified",
    "ImageArray",
    "ImageSource",
    "Split",
    "StreamedImages",
    "class_folder",
    "digits",
    "digits_images",
    "from_arrays",
    "from_dataset",
    "image_folder",
    "lsun",
    "mnist",
    "mnist_images",
]
