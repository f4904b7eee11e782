"""Examples of fooled images with their perturbations, for the report of `robustgames attack`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from math import isfinite

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from robustgames.attacks.report import Report
from robustgames.experiment.classifiers import Classifiers
from robustgames.figures.digits import first_of_each_class, square_side
from robustgames.figures.style import SIGNED
from robustgames.games.threat import ThreatModel

MOST, FEWEST, TOGETHER = 10, 3, 40  # examples of one classifier, and roughly of all together
LARGEST = 128  # pixels: larger images are shown smaller


@dataclass(frozen=True, eq=False)
class Example:
    """An image and its perturbed copy.

    Attributes:
        index: Number of the image among those attacked.
        label: True class.
        predicted: Class predicted for the perturbed image.
        size: Norm of the perturbation.
        clean, change, attacked: Pictures in 8 bits, (height, width) or (height, width, 3).
    """

    index: int
    label: int
    predicted: int
    size: float
    clean: np.ndarray
    change: np.ndarray
    attacked: np.ndarray


def examples_of(
    subject: Classifiers, reports: Mapping[str, Report], predictions: Mapping[str, Tensor]
) -> dict[str, list[Example]]:
    """Return a few fooled images of each classifier, from the classes in turn; none if the inputs are not images."""
    are_images, low, high = pictures(subject.images[:1]) is not None, *_range(subject)
    most = max(FEWEST, min(MOST, TOGETHER // max(len(reports), 1)))
    found: dict[str, list[Example]] = {}
    for name, report in reports.items():
        kept = len(predictions[name])  # inputs whose examples are in memory
        fooled = (report.clean & ~report.robust)[:kept].nonzero().squeeze(-1)
        if not are_images or len(fooled) == 0:
            found[name] = []
            continue
        rows = fooled[first_of_each_class(subject.labels[fooled], most)]
        shown = [pictures((x[rows].double() - low) / (high - low)) for x in (subject.images, report.x_adv)]
        eta = report.x_adv[rows].double() - subject.images[rows].double()
        sizes = ThreatModel(subject.threat.norm, 0.0).size(eta.flatten(1)).tolist()
        own = zip(rows.tolist(), sizes, *(part for part in shown if part is not None), strict=True)
        labels, guesses = subject.labels.tolist(), predictions[name].tolist()
        found[name] = [
            Example(i, labels[i], guesses[i], size, _levels(a), _signed(b - a), _levels(b)) for i, size, a, b in own
        ]
    return found


def _range(subject: Classifiers) -> tuple[float, float]:
    """Return the values that are drawn black and white: the bounds, or the limits of the inputs without finite ones."""
    x, ends = subject.images, [torch.as_tensor(bound).double() for bound in subject.bounds]
    low, high = float(ends[0].min()), float(ends[1].max())
    if not (isfinite(low) and isfinite(high)):
        low, high = float(x.min()), float(x.max())
    return low, high if high > low else low + 1


def pictures(x: Tensor) -> Tensor | None:
    """Return images (N, height, width) or (N, height, width, 3) of inputs (N, ...); None if they are not images."""
    x = x.detach().float().cpu()
    if x.dim() == 4 and x.shape[1] in (1, 3):
        return x[:, 0] if x.shape[1] == 1 else x.permute(0, 2, 3, 1)
    if x.dim() == 3:
        return x
    side = square_side(x)
    return None if side is None or side < 4 else x.reshape(-1, side, side)


def data_uri(picture: np.ndarray) -> str:
    """Return a picture in 8 bits as PNG in a data URI; pictures above `LARGEST` pixels are shrunk."""
    image, buffer = Image.fromarray(picture), BytesIO()
    if max(image.size) > LARGEST:
        image.thumbnail((LARGEST, LARGEST))
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"


def _levels(image: Tensor) -> np.ndarray:
    return (255 * image.clamp(0, 1)).round().to(torch.uint8).numpy()


def _signed(change: Tensor) -> np.ndarray:
    """Return a perturbation from blue (less) to red (more), in color around gray; its largest entry ends the scale."""
    scaled = 0.5 + 0.5 * (change / (float(change.abs().max()) or 1.0)).numpy()
    return (255 * (scaled if change.dim() == 3 else colormaps[SIGNED](scaled)[..., :3])).round().astype(np.uint8)
