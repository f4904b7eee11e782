"""The oracle: the access of a scheme to the field of a game."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games.derivatives import jacobian_vector, vector_jacobian
from robustgames.games.foresight import Foresight
from robustgames.games.game import Game, GeneralSumGame, Sample, ZeroSumGame
from robustgames.games.sets import Set
from robustgames.processes import Processes, alone
from robustgames.tensors import tensors_of

DTYPES = (torch.float32, torch.float64)
PROBES = 16  # strategies at which a field that is 0 at the start is evaluated again


class Oracle:
    """oracle(z) -> V(z; ζ) on the sample it holds; counts its calls, the currency of all learning curves.

    Args:
        game: Game; the oracle works on its device and in its dtype.
        shape: Shape S of the independent runs; () for a single one.
        generator: Randomness of the run; a new generator with seed 0 by default.

    Attributes:
        game: Game whose z this process holds.
        whole: Game that all processes train together: `game`, unless the oracle is sharded.
        processes: The processes that share it.

    Raises:
        GameError: The start, field or payoff of the game has the wrong shape or dtype, changes its arguments in place,
            or has no gradient in a strategy that it depends on; checked here once, not in every step.
    """

    def __init__(self, game: Game, shape: tuple[int, ...] = (), generator: Generator | None = None) -> None:
        self.game = self.whole = game
        self.processes: Processes = alone()
        self.shape = shape
        self.generator = generator if generator is not None else Generator(game.device).manual_seed(0)
        self.calls = 0
        self.sample: Sample = None
        self._before: Tensor | None = None  # the generator's state from which a sample to replay was drawn
        self._next: Foresight | None = None  # what a log has computed of the next step
        self._feasible: Tensor | None = None  # what was projected for the current sample last
        self.asked = torch.empty(0)  # the point of the last call: a look-ahead if the scheme has one
        _check_shapes(game, shape)

    def initial(self) -> Tensor:
        """Draw a first joint strategy of every run."""
        return self.game.initial(self.shape, self.generator)

    def draw(self) -> None:
        """Draw a new ζ, at every place where the paper writes a new ζ."""
        foreseen = self._next is not None and self._next.draw(self.generator)
        self.sample = self._next.sample if foreseen else self.game.draw(self.shape, self.generator)  # type: ignore[union-attr]
        self._feasible = self._before = None

    def draw_to_replay(self) -> Tensor:
        """Draw a new ζ, and return the state of the generator before, from which `replay` draws it again."""
        before = self.generator.get_state()
        self.draw()
        self._before = before
        return before

    def replay(self, before: Tensor) -> Tensor:
        """Hold the ζ that was drawn from the generator's state `before`, and return that; the generator stays.

        It is drawn again only if the oracle no longer holds it: in a resumed run, or after a step of the env.
        """
        if self._before is not before:
            now = self.generator.get_state()
            self.generator.set_state(before.cpu())
            self.draw()
            self.generator.set_state(now)
            self._before = before
        return before

    def __call__(self, z: Tensor, player: int | None = None) -> Tensor:
        """Return V(z; ζ), or one player's block of it, and count one call."""
        z, foreseen = self._ask(z), self._next
        if foreseen is not None:
            self._next = None
            if (v := foreseen.value(z, self.sample, player)) is not None:
                return v
        return self.game.field(z, self.sample, player)

    def evaluate(self, z: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return (both rewards, V(z; ζ)) from one evaluation, and count one call."""
        return self.game.evaluate(self._ask(z), self.sample)

    def vjp(self, z: Tensor, u: Tensor | None = None, player: int | None = None) -> tuple[Tensor, Tensor]:
        """Return (V, DVᵀu) at z, and count two calls: the field and one pass back through it.

        Args:
            z: Joint strategies, (*S, n + m).
            u: Vectors like V; V itself if None.
            player: Player whose block of V is meant, in both results; None stands for both players.
        """
        self.calls += 1
        return vector_jacobian(self.game, self._ask(z), self.sample, u, player)

    def jvp(self, z: Tensor, u: Tensor, player: int | None = None) -> tuple[Tensor, Tensor]:
        """Return (V, DV u) at z, and count two calls; of one player's block if `player` is given.

        Args:
            z: Joint strategies, (*S, n + m).
            u: Vectors like z.
            player: Player whose block of V is meant, in both results; None stands for both players.
        """
        self.calls += 1
        return jacobian_vector(self.game, self._ask(z), self.sample, u, player)

    def _ask(self, z: Tensor) -> Tensor:
        self.calls += 1
        follows = self.game.sets_follow_sample and z is not self._feasible
        self.asked = self.project(z) if follows else z
        return self.asked

    def project(self, z: Tensor) -> Tensor:
        """Return the projection of z, settled, onto X × Y (which may depend on ζ)."""
        self._feasible = self.game.project(self.game.settle(z), self.sample)
        return self._feasible

    def follow(self, z: Tensor) -> None:
        """Report an iterate inside of a step, see `Game.follow`."""
        self.game.follow(z)

    def place(self, z: Tensor, player: int, block: Tensor) -> Tensor:
        """Return z with one player's block replaced, settled and projected."""
        self._feasible = self.game.settle(self.game.place(z, player, block, self.sample))
        return self._feasible

    def restart(self, z: Tensor, player: int, zero: bool = False) -> Tensor:
        """Return z with one player's strategy drawn again (or set to 0) and projected."""
        block = self.game.split(z)[player]
        fresh = torch.zeros_like(block) if zero else self.game.start(player, self.shape, self.generator)
        return self.place(z, player, fresh)

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Return <a, b> of two tensors like z, (*S, 1), over the coordinates of all processes."""
        return (a * b).sum(-1, keepdim=True)

    def draws_nothing(self) -> bool:
        """Return whether ζ is None, so the field depends on z alone."""
        return self.sample is None and self.game.draw(self.shape, Generator(self.game.device)) is None

    def metrics(self, z: Tensor, seed: int, keep: bool = False) -> dict[str, Tensor]:
        """Return `Game.metrics` at z, on the sample that a step draws next.

        If the sets follow the sample, z belongs to the one that the oracle holds: then it is on that one, before the
        first step on one of a generator of its own.

        Args:
            z: Joint strategies, (*S, n + m).
            seed: Seed of that generator.
            keep: Whether the next step may take sample and V from here, see `Foresight`; the game stays as it is until
                then, or `forget` is called.
        """
        if not self.game.sets_follow_sample:
            foresight = Foresight(self.game, z.shape[:-1], self.generator, z)
            self._next = foresight if keep else None
            return foresight.metrics()
        sample = self.sample
        if sample is None:
            sample = self.game.draw(self.shape, Generator(self.game.device).manual_seed(seed))
        return self.game.metrics(z, sample)

    def forget(self) -> None:
        """Keep nothing of what `metrics` has computed."""
        self._next = None

    # -- several processes, see `sharded` ------------------------------------------------------------------
    def check_same(self, z: Tensor) -> None:
        """Check that all processes hold the same strategies and the same state of the generator."""

    def gathered(self, tree: Any) -> Any:
        """Return a tree of states or strategies with the coordinates of all processes."""
        return tree

    def divided(self, tree: Any) -> Any:
        """Return the part of this process of a tree that `gathered` returned."""
        return tree


def _check_shapes(game: Game, shape: tuple[int, ...]) -> None:
    """Evaluate the game once on its own generator and compare every shape with the contract."""
    name, sizes = type(game).__name__, getattr(game, "sizes", None)
    if not isinstance(sizes, tuple) or len(sizes) != 2 or min(sizes) < 0 or max(sizes) == 0:
        raise GameError(f"{name}.sizes is {sizes}: it must be (n, m), two numbers of coordinates >= 0, not both 0")
    if len(set(game.players)) != 2:
        raise GameError(f"{name}.players is {game.players}: the two names must differ")
    _check_sets(game)
    if game.dtype not in DTYPES:
        raise GameError(
            f"{name} is in {game.dtype}: games are in float32 or float64, e.g. game.to(dtype=torch.float32)"
        )
    d = sum(sizes)
    generator = Generator(game.device).manual_seed(0)
    z = game.initial(shape, generator)
    if z.shape != (*shape, d):
        raise GameError(f"initial of {name} returned shape {_show(z)} for runs {shape}: expected {(*shape, d)}")
    sample = game.draw(shape, generator)
    point = game.project(z, sample)
    given = [part.clone() for part in tensors_of((point, sample))]
    if isinstance(game, ZeroSumGame) and not isinstance(value := game.payoff(*game.split(point), sample), Tensor):
        raise GameError(f"payoff of {name} returned a {type(value).__name__}: expected a tensor of shape {shape}")
    _check_kept(game, point, sample, given)
    rewards, v = game.evaluate(point, sample)
    _check_kept(game, point, sample, given)
    what = "losses" if isinstance(game, GeneralSumGame) else "payoff"
    for reward in rewards:
        if reward.shape != shape:
            raise GameError(
                f"{what} of {name} returned shape {_show(reward)} for z of shape {_show(z)}: expected {shape}; "
                "did you forget .squeeze(-1) or .sum(-1)?"
            )
    if v.shape != z.shape:
        raise GameError(f"field of {name} returned shape {_show(v)} for z of shape {_show(z)}: expected {_show(z)}")
    _check_gradients(game, point, sample, rewards, v)


def _check_kept(game: Game, z: Tensor, sample: Sample, given: list[Tensor]) -> None:
    """Raise if an evaluation has changed its arguments: they are the iterates and the minibatch of the run."""
    for after, before in zip(tensors_of((z, sample)), given, strict=True):
        if not bool(((after == before) | (after.isnan() & before.isnan())).all()):
            what = "its strategies" if after is z else "its sample"
            raise GameError(f"{type(game).__name__} changes {what} in place: write x = 2 * x instead of x *= 2")


def _check_sets(game: Game) -> None:
    """Raise if the strategy sets are not two sets."""
    sets = game.sets
    if not isinstance(sets, tuple | list) or [isinstance(part, Set) for part in sets] != [True, True]:
        raise GameError(
            f"sets of {type(game).__name__} are {sets!r}: two sets, e.g. sets = (rg.Box(-1, 1), rg.Simplex())"
        )


def _check_gradients(game: Game, z: Tensor, sample: Sample, rewards: tuple[Tensor, Tensor], v: Tensor) -> None:
    """Raise if a reward has no gradient in a strategy that it depends on: the player would never move."""
    if not bool(v.any()) and _has_no_graph(game, z, sample):
        raise GameError(
            f"{type(game).__name__}: payoff is a constant: it does not depend on x and y; compute it from both by "
            "torch, without .detach(), .item(), .long() or NumPy"
        )
    what = "payoff" if isinstance(game, ZeroSumGame) else "losses"
    for player, block in enumerate(game.split(v)):
        if rewards[player].dtype not in DTYPES or _is_cut(game, z, sample, rewards[player], block, player):
            raise GameError(
                f"{what} of {type(game).__name__} has no gradient in {'xy'[player]}, so {game.players[player]} would "
                "never move: compute it by differentiable functions of torch, without .detach(), .item(), .long() or "
                ".round()"
            )


def _is_cut(game: Game, z: Tensor, sample: Sample, reward: Tensor, block: Tensor, player: int) -> bool:
    """Return whether the field of a player is 0 at z and around it, and yet its reward changes there."""
    if block.numel() == 0 or bool(block.any()):
        return False
    generator, moved = Generator(game.device).manual_seed(0), False
    for k in range(PROBES):
        shift = torch.randn(block.shape, generator=generator, device=game.device, dtype=block.dtype)
        point = game.place(z, player, game.split(z)[player] + 10.0 ** (k % 4 - 2) * shift, sample)
        rewards, v = game.evaluate(point, sample)
        if bool(game.split(v)[player].any()):
            return False
        moved = moved or bool((rewards[player] != reward).any())
    return moved


def _has_no_graph(game: Game, z: Tensor, sample: Sample) -> bool:
    """Return whether the payoff is computed from neither strategy."""
    if not isinstance(game, ZeroSumGame) or type(game).field is not ZeroSumGame.field:
        return False
    with torch.enable_grad():
        x, y = (part.detach().requires_grad_() for part in game.split(z))
        return not game.payoff(x, y, sample).requires_grad


def _show(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
