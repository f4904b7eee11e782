"""The layers of a `torch.nn.Module` and how they are connected, found by torch.fx: what bounds are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from robustgames.errors import GameError
from robustgames.games.layer_table import (
    FUNCTIONS,
    IDENTITIES,
    KNOWN,
    MODULES,
    RESHAPES,
    RESHAPING,
    Build,
    Parameters,
    always,
)
from robustgames.games.layers import Interval, Layer, Reshape, Scale, Sum


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
        traced = fx.GraphModule(root, _Tracer().trace(root))
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


class _Tracer(fx.Tracer):
    """Follows a module down to the layers of torch and those of `MODULES`."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in MODULES or super().is_leaf_module(m, module_qualified_name)


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
        if isinstance(module, IDENTITIES):  # as `evaluation_mode` makes it
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
        if name == "add" and values == 2 and not node.kwargs:
            return always(Sum())
        if name in ("add", "sub", "mul", "truediv") and values == 1 and len(node.args) == 2 and not node.kwargs:
            return self._scale(node, name)
        if name not in FUNCTIONS or len(node.args) > 1:
            return None
        settings = {key: value for key, value in node.kwargs.items() if key not in ("inplace", "input")}
        layer = FUNCTIONS[name](**settings)
        return None if layer is None else always(layer)

    def _reshape(self, node: fx.Node) -> Build | None:
        before, after = (self.shapes[part] for part in (node.all_input_nodes[0], node))
        fits = before[0] == after[0] and prod(before) == prod(after) and len(after) > 1  # values have at least one axis
        return always(Reshape(after[1:])) if fits else None

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
