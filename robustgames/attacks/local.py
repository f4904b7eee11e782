"""Logits of images that change in a window only: of each layer, only what the window reaches is computed.

A window of 3 x 3 pixels of 28 x 28 reaches a fifth of the second layer of a small network. This is for chains of layers
(`nn.Sequential`) on a CPU; the values are those of the model up to rounding, which is tested before the first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustgames.attacks.victim import Victim
from robustgames.attacks.windows import Window

Sliding = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d
POINTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus,
    nn.BatchNorm2d, nn.Identity, nn.Dropout, nn.Dropout2d,
)  # fmt: skip
KNOWN = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.Flatten, nn.Linear, *POINTWISE)
MOST = 2**28  # bytes of the layers that are kept
ALIKE = 1e-5  # of the largest logit, by which rounding may move one


class Update(NamedTuple):
    """The new values of a kept layer in a window, one per row of a proposal."""

    layer: int
    window: Window
    values: Tensor


class Local:
    """The layers of a chain at images (N, c, h, w), kept from query to query.

    Args:
        victim: Classifier whose passes are counted; its model is the chain.
        layers: Layers of the chain: sliding windows and pointwise functions, then flattened ones.
        images: Images in the layout of the first layer.
    """

    def __init__(self, victim: Victim, layers: Sequence[nn.Module], images: Tensor) -> None:
        self.victim, self.layers = victim, layers
        self.flat = next(k for k, layer in enumerate(layers) if isinstance(layer, nn.Flatten))
        self.weights = {  # in the order in which the convolutions of windows take them
            k: layer.weight.detach().contiguous(memory_format=torch.channels_last)
            for k, layer in enumerate(layers)
            if isinstance(layer, nn.Conv2d)
        }
        self.kept: dict[int, Tensor] = {}  # {layer: its input, or the output of the first flattened one}
        x = images
        for k, layer in enumerate(layers[: self.flat]):
            if isinstance(layer, Sliding):
                self.kept[k] = x.contiguous(memory_format=torch.channels_last)  # a window of it is copied in long runs
            x = _plain(layer, x)
        self.kept[self.flat] = x.clone()
        self.kept[self.flat + 1] = _plain(layers[self.flat + 1], x.flatten(1))

    def logits(self, window: Window, values: Tensor) -> tuple[Tensor, list[Update]]:
        """Return (logits, updates) of new values (N, c, height, width) in a window; it counts no passes."""
        updates: list[Update] = []
        for k, layer in enumerate(self.layers[: self.flat]):
            if isinstance(layer, Sliding):
                updates.append(Update(k, window, values))
                values, window = _slide(layer, self.weights.get(k), self.kept[k], window, values)
            else:
                values = _plain(layer, values)
        updates.append(Update(self.flat, window, values))
        first, before = self.layers[self.flat + 1], self.kept[self.flat]
        assert isinstance(first, nn.Linear)
        columns = window.of(first.weight.view(-1, *before.shape[1:])).flatten(1)
        change = (values - window.of(before)).flatten(1)
        z = torch.addmm(self.kept[self.flat + 1], change, columns.T)
        for layer in self.layers[self.flat + 2 :]:
            z = _plain(layer, z)
        return z, updates

    def accept(self, rows: Tensor, updates: list[Update]) -> None:
        """Enter the updates of some rows, an index."""
        for layer, window, values in updates:
            window.of(self.kept[layer])[rows] = values[rows]
        flat = self.kept[self.flat][rows].flatten(1)
        self.kept[self.flat + 1][rows] = _plain(self.layers[self.flat + 1], flat)  # from scratch: errors do not add up

    def keep(self, rows: Tensor) -> None:
        """Keep some rows only, an index."""
        self.kept = {layer: part[rows] for layer, part in self.kept.items()}


def local_logits(victim: Victim, images: Tensor, shape: tuple[int, ...]) -> Local | None:
    """Return the local evaluation of a victim at images (N, c, h, w), or None if its model is not such a chain."""
    layers = _chain(victim.model)
    if images.is_cuda or victim.precision is not None or len(shape) != 3 or not layers or not _suits(layers):
        return None
    if len(images) * victim.row_bytes * len(layers) > MOST:
        return None
    few = images[:4]
    return Local(victim, layers, images) if _agrees(Local(victim, layers, few), few) else None


def _agrees(local: Local, images: Tensor) -> bool:
    """Return whether the logits are those of the model at the images, and with a window of them mirrored."""
    height, width = images.shape[-2:]
    window = Window(height // 3, width // 4, max(height // 4, 1), max(width // 4, 1))
    trial = images.clone()
    window.of(trial).copy_(window.of(images.flip(-1)))
    found = torch.cat([local.logits(window, window.of(part))[0] for part in (images, trial)])
    expected = torch.cat([local.victim.plain(part) for part in (images, trial)])
    rounding = ALIKE * expected.abs().max().clamp_min(1)
    return found.shape == expected.shape and bool((found - expected).abs().max() <= rounding)


def _chain(model: object) -> list[nn.Module]:
    """Return the layers of nested `nn.Sequential`s without hooks; none if something else is in there."""
    if type(model) is nn.Sequential and not _is_special(model):
        parts = [_chain(part) for part in model]
        return [layer for part in parts for layer in part] if all(parts) else []
    return [model] if isinstance(model, nn.Module) and type(model) in KNOWN and not _is_special(model) else []


def _is_special(module: nn.Module) -> bool:
    hooks = module._forward_hooks or module._forward_pre_hooks or nn.modules.module._has_any_global_hook()
    compiled = module._compiled_call_impl is not None
    return bool(hooks) or compiled or "forward" in module.__dict__ or module.training


def _suits(layers: list[nn.Module]) -> bool:
    """Return whether sliding and pointwise layers come first, then a flattened linear one, and the rest is known."""
    flat = next((k for k, layer in enumerate(layers) if isinstance(layer, nn.Flatten)), len(layers))
    if not any(isinstance(layer, Sliding | nn.Flatten) for layer in layers) or flat + 1 >= len(layers):
        return False
    start = layers[flat]
    assert isinstance(start, nn.Flatten)
    return (
        (start.start_dim, start.end_dim) == (1, -1)
        and isinstance(layers[flat + 1], nn.Linear)
        and all(_slides(layer) for layer in layers[:flat])
        and all(isinstance(layer, (nn.Linear, *POINTWISE)) for layer in layers[flat + 1 :])
    )


def _slides(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, nn.BatchNorm2d):
        return layer.running_mean is not None
    if isinstance(layer, nn.MaxPool2d):
        return not layer.return_indices and not layer.ceil_mode
    if isinstance(layer, nn.AvgPool2d):
        return not layer.ceil_mode and _pair(layer.padding) == (0, 0)
    return isinstance(layer, POINTWISE)


def _plain(layer: nn.Module, x: Tensor) -> Tensor:
    inplace = getattr(layer, "inplace", False)
    return layer(x.clone() if inplace else x)


def _slide(
    layer: Sliding, weight: Tensor | None, before: Tensor, window: Window, values: Tensor
) -> tuple[Tensor, Window]:
    """Return (values, window) of the output of a layer that the new values of its input in a window reach."""
    kernel, stride = _pair(layer.kernel_size), _pair(layer.stride)
    padding = (0, 0) if isinstance(layer.padding, str) else _pair(layer.padding)  # `_slides` refuses strings
    spread = _pair(1 if isinstance(layer, nn.AvgPool2d) else layer.dilation)
    down, right = (
        _reach(before.shape[-2 + i], window[i], window[2 + i], kernel[i], stride[i], padding[i], spread[i])
        for i in (0, 1)
    )
    source = Window(down[2], right[2], down[3], right[3])
    block = source.of(before).clone(memory_format=torch.channels_last)
    here, there = _overlap(window, source), _overlap(source, window)
    if here.height > 0 and here.width > 0:
        there.of(block).copy_(here.of(values))
    edges = (*right[4], *down[4])
    if any(edges):
        block = functional.pad(block, edges, value=-float("inf") if isinstance(layer, nn.MaxPool2d) else 0.0)
    if isinstance(layer, nn.Conv2d):
        assert weight is not None
        out = functional.conv2d(block, weight, layer.bias, stride, 0, spread, layer.groups)
    elif isinstance(layer, nn.MaxPool2d):
        out = functional.max_pool2d(block, kernel, stride, 0, spread)
    else:
        out = functional.avg_pool2d(block, kernel, stride, divisor_override=layer.divisor_override)
    return out, Window(down[0], right[0], down[1], right[1])


def _reach(
    size: int, start: int, count: int, kernel: int, stride: int, padding: int, spread: int
) -> tuple[int, int, int, int, tuple[int, int]]:
    """Return, in one dimension, (first output, outputs, first input, inputs, padding at both ends) around a window.

    Outputs are those that the window reaches, at least one; inputs those that they need, with the window itself.
    """
    width = spread * (kernel - 1) + 1
    last = (size + 2 * padding - width) // stride  # the last output
    low = min(max(-(-(start + padding - width + 1) // stride), 0), last)
    high = min(max((start + count - 1 + padding) // stride, low), last)
    begin, end = low * stride - padding, high * stride - padding + width
    first, stop = max(begin, 0), min(end, size)
    return low, high - low + 1, first, stop - first, (first - begin, end - stop)


def _overlap(window: Window, other: Window) -> Window:
    """Return the part of a window inside another one, from the corner of the window."""
    top, left = max(window.top, other.top), max(window.left, other.left)
    below = min(window.top + window.height, other.top + other.height)
    beside = min(window.left + window.width, other.left + other.width)
    return Window(top - window.top, left - window.left, max(below - top, 0), max(beside - left, 0))


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
