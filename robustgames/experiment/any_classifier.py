"""A user's own classifier on a user's own data, ready for an attack."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustgames.attacks.victim import Model
from robustgames.data.classified import Classified, real
from robustgames.data.corruptions import as_images
from robustgames.errors import GameError, shorten
from robustgames.experiment.classifiers import Classifiers
from robustgames.experiment.fitting import Fit, as_module, check_one_output, fitted, normalized
from robustgames.experiment.user_data import load_data
from robustgames.experiment.user_networks import load_network, modules_of
from robustgames.games.threat import ThreatModel
from robustgames.tensors import choose_device

DEFAULT_EPS = {"digits": 0.1}  # else 0.3 for MNIST and data in its layout
KEPT = 2**27  # bytes of inputs whose examples are kept
PART = 2**25  # bytes of inputs that are in memory together: an attack holds about twenty copies of them
FEW = 2  # inputs that show in which shape a network takes them
SOME = 250  # inputs that show whether one output is a probability


@dataclass(frozen=True)
class DataOptions:
    """How inputs are read.

    Attributes:
        data: See `robustgames.experiment.user_data.load_data`.
        count: Largest number of inputs.
        kept: Number of inputs whose examples are kept; by default as many as fit into `KEPT` bytes.
        resize: Height and width of the images of a folder.
        bounds: Least and largest value of an input, and values of the levels 0 and 255; by default 0 and 1, and for a
            table the limits of each feature.
        mean, std: Numbers per channel of a normalization that is put before the network.
        shift: Number that is added to the labels.
        classes: The network's number of each class of the data; by default their own numbers.
    """

    data: str = "mnist"
    count: int = 1000
    kept: int | None = None
    resize: tuple[int, int] | None = None
    bounds: tuple[float, float] | None = None
    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    shift: int = 0
    classes: Sequence[int] = ()


@dataclass(frozen=True)
class NetworkOptions:
    """Which network: see `robustgames.experiment.user_networks.load_network`."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    trust: bool = False


def from_module(
    network: NetworkOptions,
    options: DataOptions,
    eps: float | None = None,
    norm: str | None = None,
    device: str = "auto",
) -> Classifiers:
    """Return a user's network, with inputs in the shape and data type that it takes.

    Images are tried as (N, C, H, W), flat, and, if they are gray, as sequences (N, H, W). For one output z, the logits
    are [-z, z].

    Args:
        network: The network.
        options: The inputs.
        eps: Radius of the attack; by default 0.1 on digits, 0.3 on MNIST and data in its layout; needed for others.
        norm: "linf" (default), "l2" or "l1".
        device: "auto", "cpu" or "cuda".

    Raises:
        GameError: A network or data that cannot be loaded, that do not fit together, or without a radius.
    """
    place, name = choose_device(device), network.name
    if eps is None and norm not in (None, "linf"):
        raise GameError(f"--norm {norm} needs its radius: give --eps too, e.g. --eps 1")
    model = _frozen(network, place)
    data = load_data(options.data, options.count, options.resize)
    data = data.renumbered(options.classes) if options.classes else data
    eps = DEFAULT_EPS.get(data.place, 0.3 if data.shuffled else None) if eps is None else eps
    if eps is None:
        example = "8/255" if data.limits is None else "0.1"
        raise GameError(f"--data {shorten(options.data)} needs the radius of the attack: give --eps, e.g. {example}")
    low, high = options.bounds or data.limits or (0.0, 1.0)
    if data.limits is not None and options.bounds is None:
        warnings.warn(
            "each feature is bounded by its least and largest value in the data; --bounds sets others", stacklevel=2
        )
    chosen = data.chosen(options.count)
    labels = _labels(data, chosen, options.shift)
    parameters = (p for module in modules_of(model) for p in module.parameters() if p.is_floating_point())
    dtype = next((p.dtype for p in parameters), torch.float32)
    levels = options.bounds or (0.0, 1.0)
    first = _floats(data, chosen[:FEW], levels, dtype).to(place)
    fit = fitted(name, model, first, Path(options.data).is_dir())
    model = normalized(fit.model, (options.mean, options.std), fit.shape, data.shape, first)

    def read(rows: slice) -> Tensor:
        x = _floats(data, chosen[rows], levels, dtype)
        return _inside(x, low, high, options).reshape(-1, *fit.shape).to(place)

    _check_classes(data, labels, fit, bool(options.classes) or options.shift != 0)
    threat = ThreatModel(norm or "linf", eps, *(_bound(b, dtype, place) for b in (low, high)))
    kept, part = (max(limit // (first[:1].numel() * dtype.itemsize), 1) for limit in (KEPT, PART))
    images = read(slice(0, min(options.kept or kept, len(chosen))))
    if fit.one_output:
        check_one_output(name, model, images[:SOME])
    if options.kept is None and len(images) < len(chosen):
        counts = f"{len(images):,} of {len(chosen):,}"
        warnings.warn(
            f"the examples of the first {counts} images are saved: --save-examples N saves more", stacklevel=2
        )
    return Classifiers(
        name,
        {name: model},
        images,
        labels.to(place),
        threat,
        Path("attacks") / name.replace(":", "-").replace("/", "-"),
        _shifted(data.names, options.shift),
        read if len(images) < len(chosen) else None,
        None if torch.equal(chosen, torch.arange(len(chosen))) else chosen,
        part,
    )


def another_network(network: NetworkOptions, options: DataOptions, x: Tensor) -> Model:
    """Return a network for inputs that are there already, in whatever shape it takes them.

    Args:
        network: The network.
        options: How the inputs are read: a normalization is put before the network.
        x: The inputs (N, ...); flat ones of square images are tried as images too.

    Raises:
        GameError: A network that cannot be loaded, or does not take the inputs.
    """
    model = _frozen(network, x.device)
    few = x[:FEW]
    images = as_images(few)
    few = few if images is None else images
    fit = fitted(network.name, model, few, of_folder=False)
    model = normalized(fit.model, (options.mean, options.std), fit.shape, tuple(few.shape[1:]), few)
    return nn.Sequential(nn.Flatten(), nn.Unflatten(1, fit.shape), as_module(model)).eval()


def _frozen(network: NetworkOptions, place: torch.device) -> Model:
    model = load_network(network.name, network.settings, network.trust)
    for module in modules_of(model):
        module.to(place).eval()
        for parameter in module.parameters():  # requires_grad_ of a module of TorchScript is refused
            parameter.requires_grad_(False)
    return model


def _bound(bound: float | Tensor, dtype: torch.dtype, place: torch.device) -> float | Tensor:
    return bound.to(place, dtype) if isinstance(bound, Tensor) else bound


def _floats(data: Classified, numbers: Tensor, levels: tuple[float, float], dtype: torch.dtype) -> Tensor:
    return real(data.read(numbers), *levels).to(dtype)


def _inside(x: Tensor, low: float | Tensor, high: float | Tensor, options: DataOptions) -> Tensor:
    """Return inputs; refuse those outside of their bounds, and say what to type."""
    low, high = (torch.as_tensor(b).to(x) for b in (low, high))
    if bool(torch.isfinite(x).all()) and not bool(((x >= low) & (x <= high)).all()):
        least, most = float(x.min()), float(x.max())
        usual = ((0, 1), (-1, 1), (0, 255), (floor(least), ceil(most)))
        wanted = next(f"{a},{b}" for a, b in usual if a <= least and most <= b)
        lies = "the bounds are --bounds low,high, e.g." if options.bounds else "for inputs in other units give"
        raise GameError(
            f"inputs of {shorten(options.data)} lie in [{least:g}, {most:g}], outside of their bounds: {lies} --bounds "
            f"{wanted}; for normalized images give the images, and --mean and --std"
        )
    return x


def _labels(data: Classified, chosen: Tensor, shift: int) -> Tensor:
    labels = data.labels[chosen] + shift
    if int(labels.min()) < 0:
        raise GameError(
            f"labels of {data.place} go down to {int(labels.min())}: class numbers 0, 1, ... are needed; "
            "--labels N adds N to them"
        )
    return labels


def _shifted(names: tuple[str, ...], shift: int) -> tuple[str, ...]:
    """Return the names by the numbers of the classes after the shift."""
    return (*map(str, range(shift)), *names) if names and shift > 0 else names[-shift:] if shift < 0 else names


def _check_classes(data: Classified, labels: Tensor, fit: Fit, chosen: bool) -> None:
    """Refuse labels above the outputs of the network; warn if it has more outputs than there are named classes."""
    most, least, classes = int(labels.max()), int(labels.min()), fit.classes
    if most >= classes:
        one = ", one output z being the logits [-z, z]" if fit.one_output else ""
        shift = f"; if they begin at {least}, add --labels -{least}" if least > 0 and most - least < classes else ""
        raise GameError(
            f"labels or targets go up to {most}, but the model has {classes} classes{one}: class numbers 0 … "
            f"{classes - 1} are allowed{shift}"
        )
    if data.names and len(data.names) < classes and not chosen:
        few = ", ".join(f"{name} = {k}" for k, name in enumerate(data.names[:3]))
        warnings.warn(
            f"the data have {len(data.names)} classes and the network {classes}: {few}; if its numbers are others, "
            "list them, --labels 243,559,...",
            stacklevel=2,
        )
