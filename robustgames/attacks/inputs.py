"""What people pass to an attack, checked and brought to one form: inputs, labels, radii, bounds and targets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from robustgames.attacks.narrow import widen
from robustgames.errors import GameError

Radius = float | Tensor | Sequence[float]  # one, or one per input
Bounds = tuple[float | Tensor, float | Tensor]


def check_inputs(x: Tensor, bounds: Bounds) -> None:
    """Refuse inputs that are not floating point, not finite or outside their bounds."""
    if not isinstance(x, Tensor) or x.dim() == 0:
        raise GameError(f"inputs are a {type(x).__name__}: a tensor of shape (N, ...) is needed")
    if not x.is_floating_point():
        raise GameError(f"inputs are {x.dtype}: scale them to floating point first, e.g. x.float() / 255")
    low, high = _check_bounds(bounds, x)
    if x.numel() == 0:
        return
    if not bool(torch.isfinite(x).all()):
        raise GameError(f"{int((~torch.isfinite(x)).sum())} values of the inputs are not finite")
    if not bool(((x >= low) & (x <= high)).all()):
        raise GameError(
            f"inputs lie in [{float(x.min()):g}, {float(x.max()):g}], outside their bounds: scale them, put a "
            "normalization into the model, or pass bounds=(low, high)"
        )


def _check_bounds(bounds: Bounds, x: Tensor) -> Bounds:
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise GameError(f"bounds are {bounds!r}: a pair (low, high) is needed, e.g. (0, 1)")
    for bound in bounds:
        if isinstance(bound, Tensor) and not _broadcasts(bound, x):
            shape = tuple(bound.shape)
            raise GameError(f"a bound has shape {shape} for inputs of shape {tuple(x.shape)}: it must broadcast to it")
    low, high = (torch.as_tensor(bound, dtype=torch.float64, device=x.device) for bound in bounds)
    if not bool((low <= high).all()):  # also refuses NaN
        pair = f"({float(low):g}, {float(high):g})" if low.numel() == high.numel() == 1 else "tensors with low > high"
        raise GameError(f"bounds are {pair}: low <= high is needed, e.g. (0, 1)")
    return bounds


def _broadcasts(bound: Tensor, x: Tensor) -> bool:
    pairs = zip(bound.shape[::-1], x.shape[::-1], strict=False)
    return bound.dim() <= x.dim() and all(size in (1, whole) for size, whole in pairs)


def flat_bound(bound: float | Tensor, x: Tensor) -> float | Tensor:
    """Return a bound as a number, as one row (1, p) for all inputs, or as rows (N, p)."""
    if not isinstance(bound, Tensor) or bound.dim() == 0:
        return bound if not isinstance(bound, Tensor) else float(bound)
    rows = len(x) if bound.dim() == x.dim() and len(bound) == len(x) else 1
    return widen(bound.to(x)).expand(rows, *x.shape[1:]).reshape(rows, -1)


def check_labels(name: str, y: Tensor, x: Tensor) -> int:
    """Return the least number of classes that contains all labels."""
    if not isinstance(y, Tensor) or y.dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8):
        kind = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise GameError(f"{name} are {kind}: a tensor of class numbers is needed, e.g. y.long()")
    if y.shape != (len(x),):
        raise GameError(f"{name} have shape {tuple(y.shape)} for {len(x)} inputs: ({len(x)},) is needed")
    least, most = (int(y.min()), int(y.max())) if len(y) > 0 else (0, 0)
    if least < 0:
        raise GameError(f"{name} go down to {least}: class numbers 0, 1, ... are needed")
    return most + 1


def check_targets(targets: Tensor, y: Tensor, x: Tensor) -> int:
    """Return the least number of classes that contains all targets; refuse those that are the labels themselves."""
    classes = check_labels("targets", targets, x)
    if same := int((targets.cpu().long() == y.cpu().long()).sum()):
        raise GameError(
            f"targets are the labels of {same} of {len(x)} inputs: a target is a wrong class to lead to, e.g. "
            "(y + 1) % classes"
        )
    return classes


def check_batch_size(batch_size: int) -> None:
    """Refuse a number of inputs that pass through the model together below 1."""
    if not batch_size >= 1:
        raise GameError(f"batch_size is {batch_size}: at least 1 input passes through the model at a time")


def per_row(name: str, value: Any, shape: Sequence[int]) -> float | Tensor:
    """Return a number as it is, and one number per input, (N,) or (N, 1, ...), as a column (N, 1).

    Args:
        name: Name of the argument, for the message.
        value: Number, tensor, or sequence of numbers.
        shape: Shape of the inputs, (N, ...).

    Raises:
        GameError: If the shape is another one, e.g. (3, 1, 1), which broadcasting would read as one per channel.
    """
    if not isinstance(value, Tensor) and not hasattr(value, "__len__"):
        return value
    if not isinstance(value, Tensor):
        value = torch.as_tensor(value, dtype=torch.float64)
    count = shape[0]
    if value.dim() == 0 or value.numel() == 1:
        return value.reshape(()) if value.dim() == 0 else value.reshape(1, 1)
    if value.dim() == 1 and len(value) != count:
        raise GameError(f"{name} has {len(value)} values for {count} inputs: one for all or one for each is needed")
    if value.dim() > 1 and tuple(value.shape) != (count, *(1 for _ in shape[1:])):
        each = (count, *(1 for _ in shape[1:]))
        raise GameError(
            f"{name} has shape {tuple(value.shape)} for inputs of shape {tuple(shape)}: one for all or one for each is "
            f"needed, of shape ({count},) or {each}"
        )
    return value.reshape(-1, 1)


def warn_of_wide_balls(radius: float | Tensor, norm: str, bounds: Bounds, x: Tensor, stacklevel: int) -> None:
    """Warn if an ℓ∞ ball covers the whole box of the inputs."""
    if norm != "linf" or x.numel() == 0 or any(isinstance(bound, Tensor) for bound in bounds):
        return
    low, high, largest = float(bounds[0]), float(bounds[1]), float(torch.as_tensor(radius).max())
    if not 0 < high - low <= largest < float("inf"):
        return
    levels = f"; for {largest:g} of 255 levels pass {(high - low) * largest / 255:.4g}"
    levels += f", eps={largest:g}/255" if high - low == 1 else ""
    warnings.warn(
        f"eps is {largest:g}, which covers the box [{low:g}, {high:g}]: every input is allowed"
        + (levels if 1 < largest <= 255 and largest > high - low else ""),
        stacklevel=stacklevel,
    )
