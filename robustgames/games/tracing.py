"""The layers of a `torch.nn.Module`, listed by torch.fx: what bounds are computed from.

A new layer is one line of `MODULES` or `FUNCTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from robustgames.errors import GameError
from robustgames.games.layers import (
    AveragePool,
    Convolution,
    Dense,
    Interval,
    Layer,
    MaxPool,
    Rectifier,
    Reshape,
    Scale,
    Smooth,
    Sum,
)

Parameters = Callable[[str], Any]
"""Path of a parameter or buffer of the module, e.g. "0.weight" -> its value, None if the layer has none."""

RELU = Rectifier()
TANH = Smooth(torch.tanh, lambda x: 1 - torch.tanh(x) ** 2)
SIGMOID = Smooth(torch.sigmoid, lambda x: torch.sigmoid(x) * (1 - torch.sigmoid(x)))
ELU = Smooth(functional.elu, lambda x: x.clamp_max(0).exp())
IDENTITY = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout)  # in evaluation mode

Build = Callable[[Parameters], Layer]


@dataclass(frozen=True)
class Step:
    """A layer of a module: its name, its inputs (0 is the module's input, i + 1 the output of step i), and the layer.

    Args:
        name: Name for messages, e.g. "Conv2d (0)".
        inputs: Indices of its inputs.
        build: Function of the parameters' values that returns the layer.
    """

    name: str
    inputs: tuple[int, ...]
    build: Build


@dataclass(frozen=True)
class Graph:
    """The layers of a module in order.

    Args:
        steps: Layers.
        last: Index of the value that the module returns.
        names: Names of the module's parameters, in order.
        shapes: Shape of every value for one input.
    """

    steps: tuple[Step, ...]
    last: int
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def layers(self, parameters: Parameters) -> list[Layer]:
        """Return the layers with these values of the parameters."""
        return [step.build(parameters) for step in self.steps]

    def bounds(self, layers: list[Layer], low: Tensor, high: Tensor, unit: float = 0.0) -> list[Interval]:
        """Return intervals that contain the input and the output of every layer, see `Layer.bounds`.

        Args:
            layers: Result of `layers`.
            low: Lower bounds of the input, (N, ...).
            high: Upper bounds of the input, (N, ...).
            unit: Unit roundoff of the model; 0 stands for exact arithmetic.
        """
        values: list[Interval] = [(low, high)]
        for step, layer in zip(self.steps, layers, strict=True):
            values.append(layer.bounds(unit, *(values[i] for i in step.inputs)))
        return values


def trace(model: nn.Module, example: Tensor) -> Graph:
    """Return the layers that a module consists of in evaluation mode.

    Args:
        model: Module; layers may branch and be added, but their order must not depend on the input.
        example: Inputs (N, ...), from which the shapes are found.

    Raises:
        GameError: The layers cannot be listed, or one of them has no bounds here; the message names it.
    """
    root = nn.Sequential(model)  # a lone layer is then a layer, not its own graph
    try:
        traced = fx.symbolic_trace(root)
        shapes = _Shapes(traced)
        with torch.no_grad():
            shapes.run(example)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise GameError(
            f"the layers of {type(model).__name__} cannot be listed ({type(error).__name__}: {reason}): use a network "
            "without branches that depend on the input, or smoothing, which certifies every network in l2"
        ) from error
    return _Reader(root, shapes.found).read(traced.graph)


class _Shapes(fx.Interpreter):
    """Runs a module and keeps the shape of every value."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.found: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.found[n] = tuple(value.shape)
        return value


class _Reader:
    """Turns the nodes of torch.fx into steps."""

    def __init__(self, root: nn.Module, shapes: dict[fx.Node, tuple[int, ...]]) -> None:
        self.root, self.shapes = root, shapes
        self.steps: list[Step] = []
        self.place: dict[fx.Node, int] = {}
        self.each: list[tuple[int, ...]] = []

    def read(self, graph: fx.Graph) -> Graph:
        for node in graph.nodes:
            if node.op == "placeholder":
                self.place[node] = 0
                self.each.append(self.shapes[node][1:])
            elif node.op == "output":
                (last,) = node.args
                names = tuple(_own(name) for name, _ in self.root.named_parameters())
                return Graph(tuple(self.steps), self._at(last, "its output"), names, tuple(self.each))
            elif node in self.shapes and node.op != "get_attr":  # sizes are not values
                self._add(node)
        raise AssertionError("a graph ends with its output")

    def _add(self, node: fx.Node) -> None:
        module = self.root.get_submodule(str(node.target)) if node.op == "call_module" else None
        name = f"{type(module).__name__} ({_own(str(node.target))})" if module is not None else _name(node)
        values = [part for part in node.args if isinstance(part, fx.Node) and part in self.place]
        if isinstance(module, IDENTITY):  # as `evaluation_mode` makes it
            self.place[node] = self._at(node.args[0], name)
            return
        build = self._of_module(node, module) if module is not None else self._of_function(node, len(values))
        if build is None:
            raise GameError(f"{name} has no bounds: known are {KNOWN}; smoothing certifies every network, in l2")
        self.steps.append(Step(name, tuple(self._at(part, name) for part in values), build))
        self.place[node] = len(self.steps)
        self.each.append(self.shapes[node][1:])

    def _at(self, node: Any, name: str) -> int:
        if node not in self.place:
            raise GameError(f"{name} is not computed from the images: there is nothing to certify")
        return self.place[node]

    def _of_module(self, node: fx.Node, module: nn.Module) -> Build | None:
        kind = next((kind for kind in (*MODULES, *RESHAPES) if isinstance(module, kind)), None)
        if kind is None or type(module).forward is not kind.forward:
            return None
        return self._reshape(node) if kind in RESHAPES else MODULES[kind](module, _own(str(node.target)))

    def _of_function(self, node: fx.Node, values: int) -> Build | None:
        name = _name(node)
        if name in RESHAPING:
            return self._reshape(node)
        if name == "add" and values == 2:
            return _always(Sum())
        if name in ("add", "sub", "mul", "truediv") and values == 1 and len(node.args) == 2:
            return self._scale(node, name)
        if name not in FUNCTIONS or len(node.args) > 1:
            return None
        settings = {key: value for key, value in node.kwargs.items() if key not in ("inplace", "input")}
        layer = FUNCTIONS[name](**settings)
        return None if layer is None else _always(layer)

    def _reshape(self, node: fx.Node) -> Build | None:
        before, after = (self.shapes[part] for part in (node.all_input_nodes[0], node))
        return _always(Reshape(after[1:])) if before[0] == after[0] and prod(before) == prod(after) else None

    def _scale(self, node: fx.Node, name: str) -> Build | None:
        """Return x -> a x + b of a sum, difference, product or quotient with a constant."""
        constant = node.args[1] if node.args[0] in self.place else node.args[0]
        first = constant is node.args[0]
        if first and name == "truediv":
            return None

        def build(parameters: Parameters) -> Layer:
            c = self._constant(constant, parameters)
            one, zero = torch.ones_like(c), torch.zeros_like(c)
            if name in ("mul", "truediv"):
                return Scale(c if name == "mul" else 1 / c, zero, zero)
            offset = c if name == "add" or first else -c
            return Scale(-one if name == "sub" and first else one, offset, offset.abs())

        return build

    def _constant(self, constant: Any, parameters: Parameters) -> Tensor:
        if not isinstance(constant, fx.Node):
            return torch.tensor(float(constant), dtype=torch.float64)
        path = str(constant.target)
        return parameters(_own(path)) if path.startswith("0.") else getattr(self.root, path)


def attribute_of(module: nn.Module, path: str) -> Any:
    """Return the parameter, buffer or None at a path such as "0.weight"."""
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)


def _own(path: str) -> str:
    """Return the path of a submodule in the user's module, which is "0" in `trace`."""
    return path.partition(".")[2]


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def _always(layer: Layer) -> Build:
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


def _pool(module: Any, path: str) -> Build:
    k = module.kernel_size
    window = k**2 if isinstance(k, int) else prod(k)
    return _always(MaxPool(module) if isinstance(module, nn.MaxPool2d) else AveragePool(module, window))


MODULES: dict[type[nn.Module], Callable[[Any, str], Build | None]] = {
    nn.Linear: _dense,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.AvgPool2d: _pool,
    nn.MaxPool2d: _pool,
    nn.ReLU: lambda module, path: _always(RELU),
    nn.LeakyReLU: lambda module, path: _always(Rectifier(module.negative_slope)),
    nn.Tanh: lambda module, path: _always(TANH),
    nn.Sigmoid: lambda module, path: _always(SIGMOID),
    nn.ELU: lambda module, path: _always(ELU) if module.alpha == 1 else None,
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
