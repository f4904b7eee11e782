"""Networks whose weights are a block of z: called as network(weights, inputs).

`MLP` is written for batches of runs: a run axis costs one batched matrix product. `Network` takes any
`torch.nn.Module`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import prod
from typing import Self

import torch
from torch import Generator, Tensor, nn

from robustgames.errors import GameError, unknown
from robustgames.games import perceptron_node
from robustgames.games.fast import with_fast_input_gradients
from robustgames.games.initializations import INITIALIZATIONS
from robustgames.games.purity import can_check, check_pure, refuse_hidden_state
from robustgames.tensors import Movable

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "elu": nn.functional.elu,
    "leaky_relu": nn.functional.leaky_relu,
}
CHECKED_ROWS = 64  # what is looked for does not depend on the number of rows, the time does
_MODULES = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "leaky_relu": nn.LeakyReLU}


class MLP(Movable):
    """A multilayer perceptron h_w: R^p -> R^q, one per run.

    Args:
        widths: Widths (p, hidden ..., q) of the layers.
        activation: Function between the layers: relu, tanh, elu or leaky_relu.
        last: Function after the last layer, e.g. "tanh" for pixels in [-1, 1]; the identity if None.
        norm: Whether to normalize layers before every hidden activation, without weights (Ba et al. 2016).
        initialization: Law of the first weights: linear (that of `torch.nn.Linear`) or he (that of WGAN-GP's code).

    Example:
        >>> net = MLP((2, 8, 1))
        >>> net.size
        33
        >>> net(torch.zeros(5, 33), torch.zeros(5, 10, 2)).shape    # 5 runs, 10 inputs each
        torch.Size([5, 10, 1])
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        activation: str = "relu",
        last: str | None = None,
        norm: bool = False,
        initialization: str = "linear",
    ) -> None:
        if len(widths) < 2 or min(widths) < 1:
            raise GameError(
                f"widths is {widths}: give an input and an output width at least, all >= 1, e.g. (2, 64, 1)"
            )
        for name in (activation,) if last is None else (activation, last):
            if name not in ACTIVATIONS:
                raise unknown("activation", name, ACTIVATIONS)
        if initialization not in INITIALIZATIONS:
            raise unknown("initialization", initialization, INITIALIZATIONS)
        self.widths, self.activation, self.last, self.norm = tuple(widths), activation, last, norm
        self.initialization = initialization
        self._parts = [n for p, q in pairwise(widths) for n in (p * q, q)]
        self.size = sum(self._parts)

    @property
    def parameter_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the parameters in the flat weights, in order: matrices (outputs, inputs) and biases (outputs,)."""
        return [shape for p, q in pairwise(self.widths) for shape in ((q, p), (q,))]

    def __call__(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Return h_w(inputs): weights (*S, size), inputs (*S, B, p) or (B, p) -> (*S, B, q).

        It is `define`, for large passes of one run on a CPU as one node of autograd (`perceptron_node`), equal up to
        rounding.
        """
        if weights.dim() == 2 and len(weights) == 1 and inputs.dim() == 3:  # one run: plain products beat batched ones
            return self(weights.squeeze(0), inputs.squeeze(0)).unsqueeze(0)
        if perceptron_node.fits(self, weights, inputs):
            return perceptron_node.call(self, weights, inputs)
        return self.define(weights, inputs)

    def define(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Return h_w(inputs) layer by layer, which defines it."""
        parts = weights.split(self._parts, -1)  # one split: its backward is one concatenation
        h = inputs
        for i, (p, q) in enumerate(pairwise(self.widths)):
            if i > 0:
                h = ACTIVATIONS[self.activation](nn.functional.layer_norm(h, (p,)) if self.norm else h)
            h = affine(h, parts[2 * i].unflatten(-1, (q, p)), parts[2 * i + 1])
        return h if self.last is None else ACTIVATIONS[self.last](h)

    def parts(self, weights: Tensor) -> list[Tensor]:
        """Return the matrices (*S, q, p) and biases (*S, q) of weights (*S, size), in the order of the layers."""
        flat = weights.split(self._parts, -1)
        return [part.unflatten(-1, shape) for part, shape in zip(flat, self.parameter_shapes, strict=True)]

    def as_module(self, weights: Tensor) -> nn.Sequential:
        """Return the network of one run as a module with frozen parameters, a copy: weights (size,)."""
        layers: list[nn.Module] = []
        parts = self.parts(weights.detach().clone())
        for i, (p, q) in enumerate(pairwise(self.widths)):
            if i > 0:
                layers += [nn.LayerNorm(p, elementwise_affine=False)] if self.norm else []
                layers.append(_MODULES[self.activation]())
            linear = nn.utils.skip_init(nn.Linear, p, q, device=weights.device, dtype=weights.dtype)
            linear.weight.data, linear.bias.data = parts[2 * i], parts[2 * i + 1]
            layers.append(linear)
        return nn.Sequential(*layers, *([] if self.last is None else [_MODULES[self.last]()])).requires_grad_(False)

    def initial(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Draw weights and biases, (*shape, size), by the law `initialization`; linear: uniform in ±1/sqrt(fan-in)."""
        bounds = INITIALIZATIONS[self.initialization](self.widths)
        bound = torch.cat([torch.full((n,), b, dtype=dtype) for n, b in zip(self._parts, bounds, strict=True)])
        u = torch.rand((*shape, self.size), generator=generator, device=generator.device, dtype=dtype)
        return (2 * u - 1) * bound.to(u)


def affine(h: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Return h wᵀ + b for h (*S, B, p), w (*S, q, p), b (*S, q)."""
    if w.dim() == 2:
        return nn.functional.linear(h, w, b)
    if w.dim() == 3 and h.dim() == 3:
        return torch.baddbmm(b.unsqueeze(-2), h, w.mT)
    return h @ w.mT + b.unsqueeze(-2)


class Network(Movable):
    """Any `torch.nn.Module` as a network on views of z.

    Args:
        module: Module, whose weights are the start of every run, or a function that builds one
            (`lambda: nn.Sequential(...)`), which is called once per run for its random weights. Parameters with
            `requires_grad=False` stay out of z: they keep the values they have, in all runs, or those that the function
            gives them after `torch.manual_seed(0)`.

    Raises:
        GameError: The module has hidden state or hidden randomness, which runs would share and a checkpoint would miss:
            dropout, BatchNorm with running statistics, and at the first call whatever `check_pure` finds.

    Example:
        >>> net = Network(lambda: nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> net(torch.zeros(3, net.size), torch.zeros(3, 10, 2)).shape
        torch.Size([3, 10, 1])
    """

    def __init__(self, module: nn.Module | Callable[[], nn.Module]) -> None:
        self._build = None if isinstance(module, nn.Module) else module
        self.module = module if isinstance(module, nn.Module) else _seeded(module, 0)
        refuse_hidden_state(self.module)
        self._checked = False
        # For inputs that require a gradient: its convolutions of few channels take that gradient as in fast.py, faster
        # on a CPU. Equal to the module otherwise, which stays as the user built it.
        self._fast = with_fast_input_gradients(self.module)
        shapes = {name: p.shape for name, p in self.module.named_parameters() if p.requires_grad}
        self._shapes = tuple(shapes.items())
        self.size = sum(prod(shape) for shape in shapes.values())

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        moved = super().to(device, dtype)
        moved._fast = with_fast_input_gradients(moved.module)  # which shares the moved tensors
        return moved

    def tensors(self) -> Iterator[Tensor]:
        """Yield the frozen parameters, which distinguish two games but are not in z."""
        yield from super().tensors()
        yield from (p.detach() for p in self.module.parameters() if not p.requires_grad)

    @property
    def frozen(self) -> list[str]:
        """Names of the parameters that stay out of z."""
        return [name for name, p in self.module.named_parameters() if not p.requires_grad]

    @property
    def parameter_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the parameters in the flat weights, in order."""
        return [tuple(shape) for _, shape in self._shapes]

    def __call__(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Return the module's output: weights (*S, size), inputs (*S, B, ...), none shared by runs -> (*S, B, ...)."""
        runs = weights.shape[:-1]
        if not runs:
            return self._call_one(weights, inputs)
        weights, inputs = weights.flatten(0, -2), inputs.flatten(0, len(runs) - 1)
        if (
            weights.device.type == "cpu"
        ):  # on which a batched convolution takes 1.3 to 2 times as long as its runs in turn
            out = torch.stack([self._call_one(w, a) for w, a in zip(weights, inputs, strict=True)])
        else:
            out = torch.func.vmap(self._call_one)(weights, inputs)
        return out.unflatten(0, runs)

    def views(self, weights: Tensor) -> dict[str, Tensor]:
        """Return the parameters of one run by name, as views of its weights (size,)."""
        parts = weights.split([prod(shape) for _, shape in self._shapes])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes, parts, strict=True)}

    def as_module(self, weights: Tensor) -> nn.Module:
        """Return the network of one run as a module with frozen parameters, a copy: weights (size,)."""
        module = copy.deepcopy(self.module)
        own = dict(module.named_parameters())
        for name, view in self.views(weights.detach()).items():
            own[name].data = view.clone()
        return module.requires_grad_(False)

    def _call_one(self, weights: Tensor, inputs: Tensor) -> Tensor:
        views = self.views(weights)
        if not self._checked and can_check(inputs):
            check_pure(self.module, views, inputs[:CHECKED_ROWS])
            self._checked = True
        return torch.func.functional_call(self._fast if inputs.requires_grad else self.module, views, (inputs,))

    def initial(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Return start weights of shape (*shape, size): the module's own, or those of one new module per run."""
        rows = [self._weights(generator) for _ in range(prod(shape))]
        return torch.stack(rows).reshape(*shape, self.size).to(generator.device, dtype)

    def _weights(self, generator: Generator) -> Tensor:
        module = self.module
        if self._build is not None:
            seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
            module = _seeded(self._build, seed)
        own = dict(module.named_parameters())
        parts = [own[name].detach().flatten() for name, _ in self._shapes]
        return torch.cat(parts) if parts else torch.empty(0)


def _seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # torch.nn draws from the global generator only
        torch.manual_seed(seed)
        return build()


class Frozen(Movable):
    """A network whose weights are fixed, not a block of z, and the same in all runs.

    Args:
        network: Network h.
        weights: Weights (size,) of h.
    """

    size = 0

    def __init__(self, network: MLP | Network, weights: Tensor) -> None:
        if weights.shape != (network.size,):
            raise GameError(f"weights have shape {tuple(weights.shape)}: the network has ({network.size},)")
        self.network, self.weights = network, weights

    def __call__(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Return h(inputs): weights (*S, 0), inputs (*S, B, p) -> (*S, B, q)."""
        return self.network(self.weights.expand(*weights.shape[:-1], -1), inputs)

    def initial(self, shape: tuple[int, ...], generator: Generator, dtype: torch.dtype) -> Tensor:
        """Return no weights, (*shape, 0)."""
        return torch.empty((*shape, 0), device=generator.device, dtype=dtype)
