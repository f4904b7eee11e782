"""Data-parallel oracles: the rows of a minibatch are divided into M shards, and the shards among W processes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn

from robustgames.errors import GameError
from robustgames.games.derivatives import jacobian_vector, vector_jacobian
from robustgames.games.game import Game, Sample, join, rows_of
from robustgames.games.networks import Network
from robustgames.games.oracle import Oracle
from robustgames.processes import Processes, current
from robustgames.streams import Narrowed
from robustgames.tensors import Keys, rebuild, tensors_of

LEAST_ROWS = 4  # of a minibatch whose halves are compared
TOLERANCE = {torch.float32: 1e-2, torch.float64: 1e-6}  # relative; batch statistics change the field by far more


def make_oracle(game: Game, shape: tuple[int, ...] = (), generator: Generator | None = None, shards: int = 1) -> Oracle:
    """Return the oracle of a game: the plain one, or for more than one shard a `ShardedOracle` of all processes."""
    return Oracle(game, shape, generator) if shards == 1 else ShardedOracle(game, shape, generator, shards)


class ShardedOracle(Oracle):
    """oracle(z) -> mean over the M shards of ζ of V(z; shard), up to rounding V(z; ζ), and the same bits for every W.

    Each of W processes holds z and M/W shards, which it evaluates one after the other, so one process alone needs less
    memory. All draw the same ζ from generators in the same state. If y has coordinates for every row (`Game.private`),
    a process holds those of its own rows, `game` is the game on these rows, and `gathered` joins them.

    Args:
        game: Game on all the rows of a minibatch.
        shape: Shape S of the independent runs.
        generator: Randomness of the run, in one state in all processes.
        shards: Number M of shards, a multiple of the number of processes that divides the rows.
        processes: The processes; by default those of `processes.current`.

    Raises:
        GameError: The game has no minibatch, M does not fit, or a row's field depends on the others (batch statistics).

    Example:
        >>> from robustgames.games import DigitsGAN
        >>> game = DigitsGAN().to(dtype=torch.float64)
        >>> one, four = Oracle(game), ShardedOracle(game, shards=4)
        >>> one.draw(), four.draw()
        (None, None)
        >>> z = one.initial()
        >>> bool(torch.allclose(one(z), four(z)))
        True
    """

    def __init__(
        self,
        game: Game,
        shape: tuple[int, ...] = (),
        generator: Generator | None = None,
        shards: int = 1,
        processes: Processes | None = None,
    ) -> None:
        team = processes or current()
        rows = _check_shards(game, shards, team.world)
        team.check_device(game.device)
        _check_rows(game, shards)
        self.micro, self.shards, self.own = game.narrowed(rows // shards), shards, shards // team.world
        super().__init__(self.micro, shape, generator)
        self.game, self.whole, self.processes = game.narrowed(rows // team.world), game, team
        self.divides = game.private and team.world > 1
        if self.divides:
            sizes = self.game.sizes
            if sizes[0] == sizes[1]:
                raise GameError(f"x and the part of y in each process have {sizes[0]} coordinates: change --shards")
            self.generator = Narrowed(self.generator, sizes[0], sizes[1], team.rank, team.world)

    def initial(self) -> Tensor:
        return self.divided(self.whole.initial(self.shape, self.generator))

    def draw(self) -> None:
        self.sample = self._draw(self.generator)
        self._feasible = self._before = None

    def _draw(self, generator: Generator) -> Sample:
        first = self.processes.rank * (width := self.whole_rows // self.processes.world)
        return self.whole.draw_rows(self.shape, generator, slice(first, first + width))

    @property
    def whole_rows(self) -> int:
        """Rows of a minibatch, over all processes."""
        return self.micro.batch_size * self.shards  # type: ignore[operator]

    def __call__(self, z: Tensor, player: int | None = None) -> Tensor:
        z = self._ask(z)
        return self._joined((self.micro.field(point, part, player) for point, part in self._shards(z)), player)

    def evaluate(self, z: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        return self._evaluated(self._ask(z), self.sample)

    def vjp(self, z: Tensor, u: Tensor | None = None, player: int | None = None) -> tuple[Tensor, Tensor]:
        v = self(z, player)  # u may be V, which is known once all shards are
        self.calls += 1
        shards = zip(self._shards(self.asked), self._parts(v if u is None else u, player), strict=True)
        pulled = (vector_jacobian(self.micro, point, part, w, player)[1] for (point, part), w in shards)
        return v, self._joined(pulled, None)

    def jvp(self, z: Tensor, u: Tensor, player: int | None = None) -> tuple[Tensor, Tensor]:
        self.calls += 1
        z = self._ask(z)
        found = [
            jacobian_vector(self.micro, point, part, w, player)
            for (point, part), w in zip(self._shards(z), self._parts(u, None), strict=True)
        ]
        return self._joined((v for v, _ in found), player), self._joined((pushed for _, pushed in found), player)

    def _parts(self, u: Tensor, player: int | None) -> Iterator[Tensor]:
        """Yield the part of each shard of this process of vectors like V, or like one player's block of it."""
        private = self.whole.private and self.own > 1 and player != 0
        for i in range(self.own):
            if not private:
                yield u
            elif player == 1:
                yield u.chunk(self.own, -1)[i]
            else:
                x, y = self.game.split(u)
                yield join([x, y.chunk(self.own, -1)[i]], u)

    def restart(self, z: Tensor, player: int, zero: bool = False) -> Tensor:
        if zero or not (self.divides and player == 1):
            return super().restart(z, player, zero)
        return self.place(z, 1, self.processes.chunk(self.whole.start(1, self.shape, self.generator)))

    def metrics(self, z: Tensor, seed: int, keep: bool = False) -> dict[str, Tensor]:
        """Return the metrics of the mean field and the mean rewards; metrics that a game defines as means over shards.

        They are on the sample of `Oracle.metrics`. Nothing is kept.
        """
        if self.whole.sets_follow_sample:
            sample = self.sample
            if sample is None:
                sample = self._draw(Generator(self.game.device).manual_seed(seed))
        else:
            before = self.generator.get_state()
            sample = self._draw(self.generator)
            self.generator.set_state(before)
        if type(self.whole).metrics is Game.metrics and not self.whole.private:
            mean = copy.copy(self.game)
            mean.evaluate = self._evaluated
            return mean.metrics(z, sample)
        rows = [self.micro.metrics(point, part) for point, part in self._shards(z, sample)]
        return {name: self.processes.mean((row[name] for row in rows), self.shards) for name in rows[0]}

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        if not self.whole.private:
            return super().dot(a, b)
        x, y = self.game.split(a * b)  # y in the order of the shards, so every W has the same bits
        of_shards = (part.sum(-1, keepdim=True) for part in y.chunk(self.own, -1))
        return x.sum(-1, keepdim=True) + self.shards * self.processes.mean(of_shards, self.shards)

    # -- the shards of this process ------------------------------------------------------------------------
    def _shards(self, z: Tensor, sample: Sample = None) -> Iterator[tuple[Tensor, Sample]]:
        """Yield the point and the minibatch of each shard of this process."""
        sample, width = self.sample if sample is None else sample, self.micro.batch_size or 1
        x, y = self.game.split(z)
        for i in range(self.own):
            private = self.whole.private and self.own > 1
            point = join([x, y.chunk(self.own, -1)[i]], z) if private else z
            yield point, rows_of(sample, len(self.shape), slice(i * width, (i + 1) * width))

    def _joined(self, fields: Iterator[Tensor], player: int | None) -> Tensor:
        """Return the field of the mean over all shards: private coordinates occur in one of them each."""
        if not self.whole.private or player == 0:
            return self.processes.mean(fields, self.shards)
        if player == 1:
            return torch.cat(list(fields), -1) / self.shards
        blocks = [self.micro.split(v) for v in fields]
        x = self.processes.mean((block for block, _ in blocks), self.shards)
        return torch.cat([x, torch.cat([block for _, block in blocks], -1) / self.shards], -1)

    def _evaluated(self, z: Tensor, sample: Sample = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        found = [self.micro.evaluate(point, part) for point, part in self._shards(z, sample)]
        rewards = self.processes.mean((torch.stack(pair) for pair, _ in found), self.shards)
        return (rewards[0], rewards[1]), self._joined((v for _, v in found), None)

    # -- the coordinates of the other processes ------------------------------------------------------------
    def check_same(self, z: Tensor) -> None:
        shared = self.game.split(z)[0] if self.divides else z
        self.processes.check_same([shared, self.generator.get_state()], "the joint strategy")

    def gathered(self, tree: Any) -> Any:
        return self._moved(tree, self.game, self.processes.gather)

    def divided(self, tree: Any) -> Any:
        return self._moved(tree, self.whole, self.processes.chunk)

    def _moved(self, tree: Any, game: Game, move: Any) -> Any:
        """Return the tree with private coordinates moved: those of tensors like z, and of those of y like y."""
        if not self.divides:
            return tree
        n, m = game.sizes

        def moved(node: Any, path: Keys) -> Any:
            if not isinstance(node, Tensor) or not node.is_floating_point() or node.dim() == 0:
                return node
            if node.shape[-1] == n + m:
                return torch.cat([node[..., :n], move(node[..., n:])], -1)
            return move(node) if node.shape[-1] == m and "y" in path else node

        return rebuild(tree, moved)


def _check_shards(game: Game, shards: int, world: int) -> int:
    """Return the rows of a minibatch, if M shards and W processes divide them."""
    rows, name = game.batch_size, type(game).__name__
    if not isinstance(rows, int) or rows < 1:
        raise GameError(
            f"{name} has no minibatch (batch_size is {rows}): there is nothing to shard, leave --shards out"
        )
    if shards < 1 or rows % shards:
        fits = [m for m in range(1, rows + 1) if rows % m == 0 and m % world == 0]
        near = min(fits, key=lambda m: abs(m - shards), default=None)
        hint = f"e.g. --shards {near}" if near else f"e.g. --set batch_size={shards * (1 + rows // max(shards, 1))}"
        raise GameError(f"shards is {shards}: it must divide the {rows} rows of a minibatch of {name}, {hint}")
    if shards % world:
        raise GameError(f"shards is {shards}: {world} processes need a multiple of {world}, e.g. --shards {world}")
    return rows


def _check_rows(game: Game, shards: int) -> None:
    """Check on a few rows that the field is the mean of those of the halves: no row depends on the others.

    Raises:
        GameError: It is not, or a part of a minibatch has no rows.
    """
    rows: int = game.batch_size  # type: ignore[assignment]
    rows = min(rows, max(LEAST_ROWS, rows // shards)) // 2 * 2
    if rows == 0:
        return
    few, half = game.narrowed(rows), game.narrowed(rows // 2)
    generator = Generator(game.device).manual_seed(0)
    z = few.initial((), generator)
    drawn = game.draw((), generator)
    if drawn is None or any(part.dim() == 0 or len(part) != game.batch_size for part in tensors_of(drawn)):
        raise GameError(f"a minibatch of {type(game).__name__} is not a tree of tensors (*S, B, ...): it has no shards")
    sample = rows_of(drawn, 0, slice(0, rows))
    z = few.project(z, sample)
    v = few.split(few.field(z, sample))
    x, y = few.split(z)
    ys = y.chunk(2, -1) if game.private else (y, y)
    parts = [
        half.split(half.field(torch.cat([x, block], -1), rows_of(sample, 0, slice(i * rows // 2, (i + 1) * rows // 2))))
        for i, block in enumerate(ys)
    ]
    mean = [(a + b) / 2 for a, b in zip(*parts, strict=True)]
    if game.private:
        mean[1] = torch.cat([block for _, block in parts], -1) / 2
    for whole, halves in zip(v, mean, strict=True):
        if bool((whole - halves).norm() > TOLERANCE[game.dtype] * whole.norm()):
            raise GameError(
                f"{_statistics(game)} makes the field of a minibatch differ from the mean of its halves, so it depends "
                "on --shards: use a norm within a row, e.g. --set norm=group, or leave --shards out"
            )


def _statistics(game: Game) -> str:
    """Return the name of the first layer with batch statistics, else that of the game."""
    for attribute, value in vars(game).items():
        network = getattr(value, "network", value)
        if isinstance(network, Network):
            for name, part in network.module.named_modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    return f"{type(part).__name__} at {name!r} of the {attribute}"
    return f"{type(game).__name__}, in which rows depend on each other,"
