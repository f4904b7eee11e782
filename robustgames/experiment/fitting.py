"""A user's network as a classifier: the shape in which it takes inputs, its normalization, and its one output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustgames.attacks.victim import Model
from robustgames.errors import GameError
from robustgames.experiment.user_code import in_words, parameters_of, required
from robustgames.games.normalization import Normalize

SAID = 100  # characters of the error of a network


class Fit(NamedTuple):
    """A network as a classifier: the shape of one input, its classes, and whether it has one output z for two."""

    model: Model
    shape: tuple[int, ...]
    classes: int
    one_output: bool = False


def fitted(name: str, model: Model, x: Tensor, of_folder: bool) -> Fit:
    """Return the network as a classifier, in the shape in which it takes inputs.

    Inputs are tried as they are, flat, and, if they are gray images, as sequences (N, H, W). One output z, (N,) or
    (N, 1), is passed as the logits [-z, z].

    Args:
        name: Name of the network, for messages.
        model: The network.
        x: A few inputs (n, ...) as they are stored.
        of_folder: Whether they are images of a folder, which --resize resizes.

    Raises:
        GameError: It does not map inputs in any of these shapes to logits.
    """
    shapes = [tuple(x.shape[1:]), (x[0].numel(),)]
    if x.dim() == 4 and x.shape[1] == 1:
        shapes.append(tuple(x.shape[2:]))
    problems = []
    for shape in dict.fromkeys(shapes):
        inputs = x.reshape(-1, *shape)
        try:
            with torch.no_grad():
                scores = model(inputs.clone())  # it may change its input in place
        except Exception as error:
            problems.append(f"{tuple(inputs.shape)} {in_words(error, SAID)}")
            continue
        if isinstance(scores, Tensor) and scores.dim() == 2 and len(scores) == len(x) and scores.shape[1] > 1:
            return Fit(model, shape, scores.shape[1])
        if isinstance(scores, Tensor) and tuple(scores.shape) in ((len(x),), (len(x), 1)):
            return Fit(_with_two(model, scores), shape, 2, True)
        found = tuple(scores.shape) if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
        problems.append(f"{tuple(inputs.shape)} {found}")
    raise GameError(
        f"{name} does not map images to logits (N, classes >= 2): it gave for {'; for '.join(problems[:2])}"
        + _taken_for_a_classifier(model)
        + ("; --resize H or HxW gives it images of another size" if of_folder else "")
    )


def normalized(
    model: Model,
    scaling: tuple[Sequence[float], Sequence[float]],
    shape: tuple[int, ...],
    stored: tuple[int, ...],
    x: Tensor,
) -> Model:
    """Return the network behind a normalization, if there is one.

    Args:
        model: The network.
        scaling: Mean and standard deviation, numbers per channel; () for none.
        shape: Shape of one input that the network takes.
        stored: Shape in which it is stored, which shows its channels.
        x: Inputs of the network's data type and device.
    """
    mean, std = scaling
    if not mean and not std:
        return model
    channels = stored[0] if len(stored) != 2 else 1
    layer = Normalize(mean or (0.0,), std or (1.0,), shape, channels)
    return nn.Sequential(layer.to(x.device, x.dtype), as_module(model)).eval()


def as_module(model: Model) -> nn.Module:
    """Return a function of images as a module."""
    return model if isinstance(model, nn.Module) else _Function(model)


def check_one_output(name: str, model: Model, x: Tensor) -> None:
    """Refuse a network whose one output seems to be a probability, which is never negative, at inputs (n, ...)."""
    with torch.no_grad():
        z = model(x.clone())[:, 1]
    if bool(((z >= 0) & (z <= 1)).all()):
        raise GameError(
            f"the one output of {name} lies in [0, 1] at all of {len(x):,} inputs: if it is a probability, return its "
            "logit, before the sigmoid; if it is a logit, return [-z, z]"
        )


def _with_two(model: Model, z: Tensor) -> nn.Module:
    """Return a network with one output z, (N,) or (N, 1), as one with the logits [-z, z], in layers with bounds."""
    both = nn.Linear(1, 2, bias=False).to(z.device, z.dtype).requires_grad_(False)
    both.weight.copy_(torch.tensor([[-1.0], [1.0]]))
    axis = [nn.Unflatten(0, (-1, 1))] if z.dim() == 1 else []
    return nn.Sequential(as_module(model), *axis, both).eval()


class _Function(nn.Module):
    """A function of images as a module."""

    def __init__(self, function: Model) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _taken_for_a_classifier(model: Model) -> str:
    """Return a hint for a function that builds a network and needs an argument."""
    parameters = None if isinstance(model, nn.Module) else parameters_of(model)
    names = required(parameters or {})
    return f"; if it returns the network, give --model-set {names[0]}=..." if len(names) == 1 else ""
