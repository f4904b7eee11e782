"""The game: mathematics only, no Gymnasium.

Conventions of the whole package, stated here once:

* min over x, max over y of Φ(x, y; ζ). Player 0 minimizes, player 1 maximizes.
* z = [x | y] is one flat tensor of shape (*S, n + m); the leading dimensions S are independent runs.
* The field is V(z; ζ) = [-∇x Φ, +∇y Φ]: *both players ascend V*. (The literature's operator F is -V.)
* Counters start at 1; the reward of a player is minus its loss, so player 0 earns -Φ.
"""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Generator, Tensor

from robustgames.games import identity
from robustgames.games.sets import Set, Space
from robustgames.notebook import html_table
from robustgames.tensors import Movable, map_tensors

Sample = Any
"""One draw of ζ: None for a deterministic game, else tensors with leading dimensions S."""


class Game(Movable, ABC):
    """A stochastic vector field of two players on one flat tensor.

    A subclass sets `sizes`, and defines `field` (or derives from `ZeroSumGame` / `GeneralSumGame` and defines a
    payoff or losses). Everything else has a default: players, strategy sets, a start, metrics.
    """

    players: tuple[str, str] = ("x", "y")
    """Names of (minimizer, maximizer)."""
    sizes: tuple[int, int]
    """(n, m): the dimensions of x and y."""
    sets: tuple[Set, Set] = (Space(), Space())
    """The strategy sets X and Y."""
    sets_follow_sample: bool = False
    """True if `project` depends on ζ: then the oracle evaluates the field at points made feasible for its sample."""
    batch_size: int | None = None
    """Rows B of a minibatch ζ, along the first dimension after the runs; None if it has no rows to divide."""
    private: bool = False
    """True if y has as many coordinates for every row of ζ, in order, whose field depends on this row alone."""
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    _computed: tuple[str, ...] = ()  # attributes that are computed from the others, so `fingerprint` leaves them out

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Return the game on `device`, in `dtype`; its tensors, sets and networks move along."""
        moved = super().to(device, dtype)
        moved.device = torch.device(device) if device is not None else self.device
        moved.dtype = dtype or self.dtype
        return moved

    # -- randomness and starts -----------------------------------------------------------------------
    def draw(self, shape: tuple[int, ...], generator: Generator) -> Sample:
        """Draw one ζ per run, with leading dimensions `shape`; None for a deterministic game."""
        return None

    def draw_rows(self, shape: tuple[int, ...], generator: Generator, rows: slice) -> Sample:
        """Draw one ζ per run as `draw` does, and return these rows of it."""
        return rows_of(self.draw(shape, generator), len(shape), rows)

    def narrowed(self, rows: int) -> Self:
        """Return the game with minibatches of so many rows; its private coordinates are those of these rows."""
        narrow = copy.copy(self)
        narrow.batch_size = rows
        return narrow

    def start(self, player: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Draw a first strategy of one player, shape (*shape, sizes[player])."""
        return self.sets[player].sample((*shape, self.sizes[player]), generator, self.dtype)

    def initial(self, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Draw a first joint strategy z = [x | y], shape (*shape, n + m)."""
        return torch.cat([self.start(0, shape, generator), self.start(1, shape, generator)], -1)

    # -- the field -------------------------------------------------------------------------------------
    @abstractmethod
    def field(self, z: Tensor, sample: Sample = None, player: int | None = None) -> Tensor:
        """Return V(z; ζ), shape (*S, n + m), or one player's block of it.

        Differentiable in z if z requires a gradient.
        """

    def evaluate(self, z: Tensor, sample: Sample = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return ((reward of player 0, reward of player 1), V), rewards of shape (*S,).

        A game given by its field alone has no payoff: its rewards are 0.
        """
        none = z.new_zeros(z.shape[:-1])
        return (none, none), self.field(z, sample)

    def follow(self, z: Tensor) -> None:
        """Let what follows the players outside of z follow an iterate, such as target networks; by default nothing."""
        return

    def project(self, z: Tensor, sample: Sample = None) -> Tensor:
        """Return the projection of z onto X × Y (z itself without constraints)."""
        first, second = self.sets
        if type(first) is Space and type(second) is Space:
            return z
        x, y = self.split(z)
        return join([first.project(x), second.project(y)], z)

    def settle(self, z: Tensor) -> Tensor:
        """Return z with the coordinates that follow the others, and that no player moves, brought up to date.

        None follow by default. The oracle calls it before every projection; spectral normalization keeps its power
        iteration there.
        """
        return z

    def settle_fully(self, z: Tensor) -> Tensor:
        """Return z with the coordinates that follow the others computed to the end, for a point that no step reached.

        An average of iterates is one. By default it is `settle`.
        """
        return self.settle(z)

    def place(self, z: Tensor, player: int, block: Tensor, sample: Sample = None) -> Tensor:
        """Return the projection of z with one player's block replaced; the other block of z is feasible."""
        x, y = self.split(z)
        return self.project(join([block, y] if player == 0 else [x, block], z), sample)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the views (x, y) of z."""
        x, y = torch.split_with_sizes(z, self.sizes, -1)
        return x, y

    # -- what is known about the game ----------------------------------------------------------------
    @property
    def exact(self) -> Game:
        """The game without noise on its field: itself, unless it is `Noisy`."""
        return self

    def solution(self) -> Tensor | None:
        """Return a critical point, shape (n + m,), a saddle if the game has one; None if unknown."""
        return None

    def best_response(self, z: Tensor, player: int) -> Tensor | None:
        """Return the player's exact best strategy against the other's in z, (*S, sizes[player]); None if unknown."""
        return None

    def residual(self, z: Tensor, sample: Sample = None) -> Tensor:
        """Return |P(z + V(z)) - z|_2, shape (*S,): 0 exactly at critical points; |V| without constraints."""
        return self._residual(z, self.field(z, sample), sample)

    def _residual(self, z: Tensor, v: Tensor, sample: Sample) -> Tensor:
        return _norms(self.project(z + v, sample) - z)

    def metrics(self, z: Tensor, sample: Sample = None) -> dict[str, Tensor]:
        """Return the metrics of a learning curve, each of shape (*S,), on the device of z."""
        rewards, v = self.evaluate(z, sample)
        values = {"residual": self._residual(z, v, sample), **self.scores(rewards)}
        if (solution := self.solution()) is not None:
            values["distance"] = _norms(z - solution.to(z))
        return values

    def scores(self, rewards: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Return the payoff or the losses of the rewards of `evaluate`, by name; empty if only a field is given."""
        return {}

    def fingerprint(self) -> str:
        """Return a digest of the game's class, settings and tensors, which must match that of a checkpoint."""
        return identity.fingerprint(self)

    def __repr__(self) -> str:
        own, shown = vars(self), []
        for name, parameter in arguments(type(self)).items():
            if isinstance(value := own.get(name), int | float | str | tuple) and value != parameter.default:
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_html_(self) -> str:
        formula = (inspect.getdoc(type(self)) or "").partition("\n")[0]
        parts = zip(self.players, self.sizes, self.sets, strict=True)
        players = [(name, f"{size} numbers in {part!r}") for name, size, part in parts]
        return html_table([("payoff", formula), *players], (repr(self), ""))


def arguments(cls: type[Game]) -> dict[str, inspect.Parameter]:
    """Return the arguments of a game's constructor by name; `**rest` stands for the optional ones of its base class."""
    owner, *bases = cls.__mro__[next(i for i, c in enumerate(cls.__mro__) if "__init__" in vars(c)) :]
    own = inspect.signature(owner).parameters
    found = {name: parameter for name, parameter in own.items() if parameter.kind is not parameter.VAR_KEYWORD}
    if len(found) == len(own):
        return found
    inherited = arguments(bases[0]).items()
    return found | {n: p for n, p in inherited if n not in found and p.default is not p.empty}


class ZeroSumGame(Game):
    """A game with one payoff: x minimizes Φ, y maximizes it.

    Example:
        >>> class Product(ZeroSumGame):
        ...     sizes = (1, 1)
        ...     def payoff(self, x, y, sample):
        ...         return (x * y).sum(-1)
        >>> Product().field(torch.tensor([2.0, 3.0]))
        tensor([-3.,  2.])
    """

    @abstractmethod
    def payoff(self, x: Tensor, y: Tensor, sample: Sample) -> Tensor:
        """Return Φ(x, y; ζ): (*S, n), (*S, m) -> (*S,)."""

    def field(self, z: Tensor, sample: Sample = None, player: int | None = None) -> Tensor:
        return self._value_and_field(z, sample, player)[1]

    def evaluate(self, z: Tensor, sample: Sample = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        value, v = self._value_and_field(z, sample, None)
        return (-value, value), v

    def scores(self, rewards: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return {"payoff": rewards[1]}

    def _value_and_field(self, z: Tensor, sample: Sample, player: int | None) -> tuple[Tensor, Tensor]:
        # payoff maps batches to batches, so the gradient of its sum is the batch of gradients
        wanted = (0, 1) if player is None else (player,)
        (value,), (found,) = gradients(lambda x, y: (self.payoff(x, y, sample),), self.split(z), (wanted,))
        blocks = [-g if i == 0 else g for i, g in zip(wanted, found, strict=True)]
        return value, blocks[0] if player is not None else join(blocks, z)


class GeneralSumGame(Game):
    """A game in which each player minimizes a loss of its own: V = [-∇x ℓx, -∇y ℓy]."""

    @abstractmethod
    def losses(self, x: Tensor, y: Tensor, sample: Sample) -> tuple[Tensor, Tensor]:
        """Return (ℓx, ℓy), each of shape (*S,)."""

    def loss(self, x: Tensor, y: Tensor, sample: Sample, player: int) -> Tensor:
        """Return one player's loss, up to terms that do not depend on its own strategy; override it if cheaper."""
        return self.losses(x, y, sample)[player]

    def field(self, z: Tensor, sample: Sample = None, player: int | None = None) -> Tensor:
        if player is None:
            return self.evaluate(z, sample)[1]
        _, ((g,),) = gradients(lambda x, y: (self.loss(x, y, sample, player),), self.split(z), ((player,),))
        return -g

    def evaluate(self, z: Tensor, sample: Sample = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        (loss_x, loss_y), ((g_x,), (g_y,)) = gradients(
            lambda x, y: self.losses(x, y, sample), self.split(z), ((0,), (1,))
        )
        return (-loss_x, -loss_y), join([-g_x, -g_y], z)

    def scores(self, rewards: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return {f"loss_{player}": -reward for player, reward in zip(self.players, rewards, strict=True)}


def _norms(v: Tensor) -> Tensor:
    """Return |v|_2, (*S,); torch's norm of contiguous runs takes up to seventy times as long as squares and a sum."""
    return v.square().sum(-1).sqrt() if _runs_are_contiguous(v) else torch.linalg.vector_norm(v, dim=-1)


def _runs_are_contiguous(z: Tensor) -> bool:
    return z.dim() == 2 and z.stride(0) == 1 != z.stride(1)


def rows_of(sample: Sample, axis: int, rows: slice) -> Sample:
    """Return these rows of a minibatch, whose rows lie along dimension `axis` of its tensors."""
    return map_tensors(sample, lambda tensor: tensor[(slice(None),) * axis + (rows,)])


def join(blocks: Sequence[Tensor], z: Tensor) -> Tensor:
    """Return [x | y] in the memory layout of z; compiled code keeps runs contiguous."""
    if _runs_are_contiguous(z):
        return torch.cat([block.mT for block in blocks]).mT
    return torch.cat(list(blocks), -1)


def gradients(
    function: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
    blocks: tuple[Tensor, Tensor],
    wanted: tuple[tuple[int, ...], ...],
) -> tuple[tuple[Tensor, ...], list[tuple[Tensor, ...]]]:
    """Return the values of function(x, y), each of shape (*S,), and of each the gradients of its sum.

    One forward pass serves all values. `torch.autograd.grad` on leaves is 3 to 4 times faster than `torch.func.grad`
    on small networks, but only the latter can be traced by `torch.compile` into one graph.

    Args:
        function: Function of both blocks that returns a tuple of values.
        blocks: Blocks (x, y).
        wanted: Indices of the blocks in which the gradient is wanted, for each value.
    """
    if torch.compiler.is_compiling():
        both = [_traceable(function, blocks, i, own) for i, own in enumerate(wanted)]
        return tuple(value for value, _ in both), [gradient for _, gradient in both]
    differentiable = torch.is_grad_enabled() and any(block.requires_grad for block in blocks)
    every = {i for own in wanted for i in own}
    with torch.enable_grad():
        if not differentiable:
            x, y = blocks
            blocks = x.detach().requires_grad_(0 in every), y.detach().requires_grad_(1 in every)
        values = function(*blocks)
        found = [
            _gradient(value, [blocks[i] for i in own], differentiable, last=k == len(values) - 1)
            for k, (value, own) in enumerate(zip(values, wanted, strict=True))
        ]
    return (values if differentiable else tuple(value.detach() for value in values)), found


def _gradient(value: Tensor, blocks: list[Tensor], differentiable: bool, last: bool) -> tuple[Tensor, ...]:
    if not value.requires_grad:  # it depends on no wanted block
        return tuple(torch.zeros_like(block) for block in blocks)
    return torch.autograd.grad(
        value,
        blocks,
        torch.ones_like(value),  # the gradient of value.sum(), without the sum
        retain_graph=differentiable or not last,
        create_graph=differentiable,
        materialize_grads=True,
    )


def _traceable(
    function: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
    blocks: tuple[Tensor, Tensor],
    index: int,
    wanted: tuple[int, ...],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    def total(*xy: Tensor) -> tuple[Tensor, Tensor]:
        value = function(*xy)[index]
        return value.sum(), value

    found, value = torch.func.grad(total, argnums=wanted, has_aux=True)(*blocks)
    return value, found
