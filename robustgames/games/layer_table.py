"""The layers of torch whose bounds are known. A new one is one line of `MODULES` or `FUNCTIONS`."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import nn

from robustgames.games.activations import ELU, RELU, SIGMOID, TANH, MaxPool, Rectifier
from robustgames.games.layers import AveragePool, Convolution, Dense, Layer, Scale
from robustgames.games.normalization import Normalize

Parameters = Callable[[str], Any]
"""Path of a parameter or buffer of the module, e.g. "0.weight" -> its value, None if the layer has none."""

Build = Callable[[Parameters], Layer]


def always(layer: Layer) -> Build:
    """Return the function of a layer without parameters."""
    return lambda parameters: layer


def _dense(module: Any, path: str) -> Build:
    return lambda parameters: Dense(parameters(f"{path}.weight"), parameters(f"{path}.bias"))


def _convolution(module: Any, path: str) -> Build | None:
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    geometry = (module.stride, module.padding, module.dilation, module.groups)
    return lambda parameters: Convolution(parameters(f"{path}.weight"), parameters(f"{path}.bias"), *geometry)


def _batch_norm(module: Any, path: str) -> Build | None:
    """Return the layer with the running statistics; those of the batch would tie its images to each other."""
    if module.running_mean is None:
        return None
    shape = (-1, 1, 1) if isinstance(module, nn.BatchNorm2d) else (-1,)

    def build(parameters: Parameters) -> Layer:
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (parameters(f"{path}.{name}") for name in names)
        factor = (variance + module.eps).rsqrt() * (1 if weight is None else weight)
        shift = torch.zeros_like(mean) if bias is None else bias
        parts = (factor, shift - factor * mean, (factor * mean).abs() + shift.abs())
        return Scale(*(part.view(shape) for part in parts))

    return build


def _normalize(module: Any, path: str) -> Build:
    def build(parameters: Parameters) -> Layer:
        mean, std = parameters(f"{path}.mean"), parameters(f"{path}.std")
        return Scale(1 / std, -mean / std, 2 * (mean / std).abs())

    return build


def _pool(module: Any, path: str) -> Build:
    k = module.kernel_size
    window = k**2 if isinstance(k, int) else prod(k)
    return always(MaxPool(module) if isinstance(module, nn.MaxPool2d) else AveragePool(module, window))


IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout)  # in evaluation mode
MODULES: dict[type[nn.Module], Callable[[Any, str], Build | None]] = {
    nn.Linear: _dense,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    Normalize: _normalize,
    nn.AvgPool2d: _pool,
    nn.MaxPool2d: _pool,
    nn.ReLU: lambda module, path: always(RELU),
    nn.LeakyReLU: lambda module, path: always(Rectifier(module.negative_slope)),
    nn.Tanh: lambda module, path: always(TANH),
    nn.Sigmoid: lambda module, path: always(SIGMOID),
    nn.ELU: lambda module, path: always(ELU) if module.alpha == 1 else None,
}
RESHAPES = (nn.Flatten, nn.Unflatten)
RESHAPING = ("flatten", "view", "reshape", "unflatten", "unsqueeze", "squeeze")
FUNCTIONS: dict[str, Callable[..., Layer | None]] = {
    "relu": lambda: RELU,
    "tanh": lambda: TANH,
    "sigmoid": lambda: SIGMOID,
    "elu": lambda alpha=1.0: ELU if alpha == 1 else None,
    "leaky_relu": lambda negative_slope=0.01: Rectifier(negative_slope),
}
KNOWN = f"{', '.join(kind.__name__ for kind in (*MODULES, *RESHAPES))} and sums of branches"
