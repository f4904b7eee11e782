"""Losses and field of a GAN of two perceptrons by written-out passes: what autograd computes, in half of its time.

Autograd goes back through the discriminator once for each loss, and twice more for a penalty on its slope. Here one
backward pass serves all (see `ScorePasses`), and large networks compute one run after the other, in memory that stays
in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import get_ident
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from robustgames.games.curves import Curve
from robustgames.games.lipschitz import PENALTIES, Spectral
from robustgames.games.networks import MLP
from robustgames.games.objectives import OBJECTIVES, Objective
from robustgames.games.passes import DERIVATIVES, Passes
from robustgames.games.score_passes import ScorePasses

DTYPES = (torch.float32, torch.float64)
CACHE = 2**20  # bytes of the activations that are computed side by side
MOST = 8  # shapes whose memory is kept


class Perceptrons(Protocol):
    """What the passes read of a `GAN`."""

    generator: Any
    critic: Any
    objective: str
    lipschitz: str
    penalty: float


class Minibatch(NamedTuple):
    """A `GANSample` of R runs, (R, B, any)."""

    real: Tensor
    noise: Tensor
    mix: Tensor | None

    def of_runs(self, part: slice) -> Minibatch:
        """Return the sample of some runs."""
        return Minibatch(self.real[part], self.noise[part], None if self.mix is None else self.mix[part])


class Terms(NamedTuple):
    """What the losses are made of."""

    objective: Objective
    penalty: Curve | None
    """Function of |∇D|²."""
    place: str | None
    """Place of the penalty."""
    weight: float

    @staticmethod
    def of(game: Perceptrons) -> Terms:
        """Return the terms of a game."""
        penalty, place = PENALTIES.get(game.lipschitz, (None, None))
        return Terms(OBJECTIVES[game.objective], penalty, place, game.penalty)


class Rows(NamedTuple):
    """Rows of the discriminator's inputs."""

    real: slice | None
    fake: slice
    mix: slice | None
    inner: slice | None
    """Rows in which its slope is computed: the fakes if the generator moves, and those of the penalty."""
    bent: slice | None
    """Rows of the penalty."""

    @staticmethod
    def of(b: int, player: int | None, place: str | None) -> Rows:
        """Return the rows for minibatches of b points, the field of a player or both, and a penalty's place."""
        if player == 0:
            return Rows(None, slice(0, b), None, slice(0, b), None)
        real, fake, mix = slice(0, b), slice(b, 2 * b), slice(2 * b, 3 * b)
        bent = {"real": real, "between": mix}.get(place or "")
        wanted = [rows for rows in (None if player == 1 else fake, bent) if rows is not None]
        inner = slice(min(r.start for r in wanted), max(r.stop for r in wanted)) if wanted else None
        return Rows(real, fake, mix if bent is mix else None, inner, bent)

    def count(self) -> int:
        """Return the number of rows."""
        return (self.mix or self.fake).stop


class Pass:
    """One forward and backward pass through both networks, for R runs and B points, in memory of its own."""

    def __init__(self, generator: MLP, critic: MLP, rows: Rows, runs: int, b: int, like: Tensor) -> None:
        self._rows, self._b = rows, b
        self._generator = Passes(generator, runs, b, like)
        self._critic = ScorePasses(critic, runs, rows.count(), like, rows.inner, rows.bent)
        self._ascent = like.new_zeros(runs, rows.count(), 1)  # of the discriminator in its scores; 0 between points

    def forward(self, x: Tensor, weights: Tensor, batch: Minibatch) -> None:
        """Compute the scores, and the slopes of the discriminator that the rest needs."""
        fakes, inputs, rows = self._generator.forward(x, batch.noise), self._critic.inputs, self._rows
        inputs[:, rows.fake].copy_(fakes)
        if rows.real is not None:
            inputs[:, rows.real].copy_(batch.real)
        if rows.mix is not None:
            assert batch.mix is not None
            torch.lerp(fakes, batch.real, batch.mix, out=inputs[:, rows.mix])
        scores = self._critic.forward(weights)
        self._real, self._fake = None if rows.real is None else scores[:, rows.real], scores[:, rows.fake]
        self._slopes = self._critic.in_inputs()

    def losses(self, terms: Terms) -> Tensor:
        """Return (ℓx, ℓy), (2, R)."""
        objective, penalty, _, weight = terms
        assert self._real is not None
        of_critic = (objective.real(self._real) + objective.fake(self._fake)).mean((-2, -1))
        of_generator = -of_critic if objective.generator is None else objective.generator(self._fake).mean((-2, -1))
        if penalty is not None:
            of_critic = of_critic + weight * penalty(self._bent().square().sum(-1)).mean(-1)
        return torch.stack([of_generator, of_critic])

    def of_generator(self, terms: Terms) -> Tensor:
        """Return -∇x ℓx, (R, n), in memory of the pass."""
        curve, fake = terms.objective.generator, terms.objective.fake
        ascent = fake.slope(self._fake) / self._b if curve is None else curve.slope(self._fake) / -self._b
        torch.mul(self._within(self._rows.fake), ascent, out=self._generator.slope)
        return self._generator.in_weights()

    def of_critic(self, terms: Terms) -> Tensor:
        """Return -∇y ℓy, (R, m), in memory of the pass; the last call, as it overwrites activations."""
        objective, penalty, _, weight = terms
        assert self._real is not None
        torch.div(objective.real.slope(self._real), -self._b, out=self._ascent[:, self._rows.real])
        torch.div(objective.fake.slope(self._fake), -self._b, out=self._ascent[:, self._rows.fake])
        if penalty is None:
            return self._critic.in_weights(self._ascent)
        slopes = self._bent()
        bend = penalty.slope(slopes.square().sum(-1, keepdim=True))
        return self._critic.in_weights(self._ascent, slopes * (bend * (-2 * weight / self._b)))

    def _bent(self) -> Tensor:
        assert self._rows.bent is not None
        return self._within(self._rows.bent)

    def _within(self, rows: slice) -> Tensor:
        """Return the discriminator's slopes in some rows, (R, rows, p)."""
        assert self._slopes is not None and self._rows.inner is not None
        first = self._rows.inner.start
        return self._slopes[:, rows.start - first : rows.stop - first]


class GANPasses:
    """The written-out passes of GANs, in memory that is built for a shape on first use. Results are new tensors."""

    def __init__(self) -> None:
        self._built: dict[tuple, Pass] = {}

    def __reduce__(self) -> tuple:
        return GANPasses, ()  # a copy has memory of its own

    @staticmethod
    def fit(game: Perceptrons, z: Tensor, sample: Any) -> bool:
        """Return whether the passes compute this field: of perceptrons, on a CPU, without a graph."""
        return _can_run(z) and _are_known(game) and _is_minibatch(game, z, sample)

    def evaluate(self, game: Perceptrons, z: Tensor, sample: Any) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return ((ℓx, ℓy), V), for z (*S, n + m) and a sample of its runs."""
        losses = z.new_empty(2, *z.shape[:-1])
        v = self.field(game, z, sample, losses=losses.view(2, -1))
        return (losses[0], losses[1]), v

    @torch.no_grad()
    def field(
        self, game: Perceptrons, z: Tensor, sample: Any, player: int | None = None, losses: Tensor | None = None
    ) -> Tensor:
        """Return V, or one player's block of it, for z (*S, n + m) and a sample of its runs.

        Args:
            game: The game.
            z: Joint strategies.
            sample: Minibatch of every run.
            player: Player whose block is wanted; if None, both.
            losses: Memory of (ℓx, ℓy) in every run, (2, runs), to which they are written; of both players only.
        """
        terms, n, flat = Terms.of(game), game.generator.size, z.reshape(-1, z.shape[-1])
        x, y = flat[:, :n], flat[:, n:]
        spectral = isinstance(game.critic, Spectral)
        weights = game.critic.normalized(y) if spectral else y
        v = torch.empty_like(flat if player is None else (x, y)[player], memory_format=torch.contiguous_format)
        v_x, v_y = (v[:, :n], v[:, n:]) if player is None else (v, v)
        v_weights = torch.empty_like(weights) if spectral else v_y
        batch = Minibatch(*(None if t is None else t.reshape(-1, *t.shape[-2:]) for t in sample))  # type: ignore[arg-type]
        for part, passes in self._turns(game, terms, batch, flat, player):
            passes.forward(x[part], weights[part], batch.of_runs(part))
            if losses is not None:
                losses[:, part] = passes.losses(terms)
            if player != 1:
                v_x[part] = passes.of_generator(terms)
            if player != 0:
                v_weights[part] = passes.of_critic(terms)
        if spectral and player != 0:
            v_y.copy_(game.critic.pull_back(y, v_weights))
        return v.view(*z.shape[:-1], -1)

    def _turns(
        self, game: Perceptrons, terms: Terms, batch: Minibatch, flat: Tensor, player: int | None
    ) -> Iterator[tuple[slice, Pass]]:
        """Yield the runs that are computed side by side, and their passes."""
        b, generator, critic = batch.noise.shape[-2], game.generator, _critic_of(game)
        rows = Rows.of(b, player, terms.place)
        numbers = 2 * (b * sum(generator.widths) + rows.count() * sum(critic.widths))
        runs = max(1, CACHE // (numbers * flat.element_size()))
        for first in range(0, len(flat), runs):
            side = min(runs, len(flat) - first)
            key = (get_ident(), _kind(generator), _kind(critic), player, terms.place, side, b, flat.dtype)
            passes = self._built.get(key)
            if passes is None:
                if len(self._built) >= MOST:
                    self._built.clear()
                with torch.inference_mode(False), torch.no_grad():  # memory that serves in and out of inference mode
                    like = torch.empty(0, dtype=flat.dtype)
                    passes = self._built[key] = Pass(generator, critic, rows, side, b, like)
            yield slice(first, first + side), passes


def _kind(net: MLP) -> tuple:
    return net.widths, net.activation, net.last, net.norm


def _critic_of(game: Perceptrons) -> Any:
    return game.critic.network if isinstance(game.critic, Spectral) else game.critic


def _can_run(z: Tensor) -> bool:
    """Return whether z is an ordinary tensor on a CPU, of which no graph, trace or lower precision is wanted."""
    return (
        type(z) is Tensor
        and z.device.type == "cpu"
        and z.dtype in DTYPES
        and not (torch.is_grad_enabled() and z.requires_grad)
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and not torch.is_autocast_enabled("cpu")
    )


def _are_known(game: Perceptrons) -> bool:
    """Return whether the networks are perceptrons, and the derivatives of the losses are written out."""
    terms, generator = Terms.of(game), game.generator
    curves = [terms.objective.real, terms.objective.fake, terms.objective.generator, terms.penalty]
    return (
        type(generator) is MLP
        and {generator.activation, generator.last} <= {None, *DERIVATIVES}
        and type(game.critic) in (MLP, Spectral)
        and ScorePasses.fits(_critic_of(game), bent=terms.penalty is not None)
        and all(curve is None or isinstance(curve, Curve) for curve in curves)
    )


def _is_minibatch(game: Perceptrons, z: Tensor, sample: Any) -> bool:
    """Return whether the sample is one of `GAN.draw`: of the runs of z, in its dtype and place."""
    if not isinstance(sample, tuple) or len(sample) != len(Minibatch._fields):
        return False
    real, noise, mix = sample
    between = Terms.of(game).place == "between"
    rows = noise.shape[:-1]
    widths = (game.generator.widths[0], _critic_of(game).widths[0])
    return (
        rows[:-1] == z.shape[:-1]
        and noise.shape[-1] == widths[0]
        and real.shape == (*rows, widths[1])
        and (mix is not None) == between
        and all(t is None or (t.dtype == z.dtype and t.device == z.device) for t in sample)
    )
