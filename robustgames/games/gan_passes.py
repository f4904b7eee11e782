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
from robustgames.games.in_place import DERIVATIVES
from robustgames.games.lipschitz import PENALTIES, Spectral
from robustgames.games.networks import MLP
from robustgames.games.objectives import OBJECTIVES, Objective
from robustgames.games.passes import Passes
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


class Pass:
    """One forward and one backward pass through both networks, for R runs of B points, in memory of its own.

    Args:
        generator: Network G.
        critic: Network D.
        player: Player whose field is computed; if None, of both.
        place: Place of the penalty: "real", "between" or None.
        runs, b: R and B.
        like: Tensor of the device and dtype.
    """

    def __init__(
        self, generator: MLP, critic: MLP, player: int | None, place: str | None, runs: int, b: int, like: Tensor
    ) -> None:
        real, fake, mix = (slice(k * b, (k + 1) * b) for k in ((0, 1, 2) if player != 0 else (0, 0, 0)))
        bent = {"real": real, "between": mix}.get(place or "") if player != 0 else None
        wanted = [rows for rows in (fake if player != 1 else None, bent) if rows is not None]
        inner = slice(min(r.start for r in wanted), max(r.stop for r in wanted)) if wanted else None
        rows, scratch = max(part.stop for part in (fake, bent) if part is not None), {}
        self._z, v = (like.new_empty(runs, generator.size + critic.size) for _ in range(2))
        of_generator, of_critic = zip(*(t.tensor_split((generator.size,), -1) for t in (self._z, v)), strict=True)
        self._critic = ScorePasses(critic, runs, rows, like, inner, bent, scratch, of_critic)
        self._generator = Passes(generator, runs, b, like, 0, scratch, of_generator)
        self.runs, self._player, self._b = runs, player, b
        self._v = v if player is None else (of_generator, of_critic)[player][1]
        self._real, self._fake = (_Rows.of(self._critic, rows, inner) for rows in (real, fake))
        self._bent = None if bent is None else _Rows.of(self._critic, bent, inner)

    def run(self, z: Tensor, batch: Minibatch, terms: Terms) -> Tensor:
        """Return V, or the block of the player, in memory of the pass: z (R, n + m)."""
        objective, real, fake, b = terms.objective, self._real, self._fake, self._b
        self._z.copy_(z)
        fake.points.copy_(self._generator.forward(inputs=batch.noise))
        if self._player == 0:
            self._critic.forward()
            self._critic.in_inputs()
        else:
            real.points.copy_(batch.real)
            if batch.mix is not None and self._bent is not None:
                torch.lerp(fake.points, real.points, batch.mix, out=self._bent.points)
            self._critic.forward()
            torch.div(objective.real.slope(real.scores), -b, out=real.c)
            torch.div(objective.fake.slope(fake.scores), -b, out=fake.c)
            self._critic.in_weights(self._in_slopes(terms))
        if self._player != 1:
            curve = objective.generator
            ascent = objective.fake.slope(fake.scores) / b if curve is None else curve.slope(fake.scores) / -b
            torch.mul(fake.slopes, ascent, out=self._generator.slope)
            self._generator.in_weights()
        return self._v

    def losses(self, terms: Terms) -> Tensor:
        """Return (ℓx, ℓy) of the last pass, of both players, (2, R)."""
        objective, real, fake = terms.objective, self._real.scores, self._fake.scores
        of_critic = (objective.real(real) + objective.fake(fake)).mean((-2, -1))
        of_generator = -of_critic if objective.generator is None else objective.generator(fake).mean((-2, -1))
        if self._bent is not None and terms.penalty is not None:
            of_critic = of_critic + terms.weight * terms.penalty(self._bent.slopes.square().sum(-1)).mean(-1)
        return torch.stack([of_generator, of_critic])

    def _in_slopes(self, terms: Terms) -> Tensor | None:
        """Return the gradient of minus the penalty in the slopes of the discriminator; None without a penalty."""
        if self._bent is None or terms.penalty is None:
            return None
        self._critic.in_inputs()
        slopes = self._bent.slopes
        return slopes * (terms.penalty.slope(slopes.square().sum(-1, keepdim=True)) * (-2 * terms.weight / self._b))


class _Rows(NamedTuple):
    """Some rows of the memory of the discriminator."""

    points: Tensor
    scores: Tensor
    c: Tensor
    slopes: Tensor

    @staticmethod
    def of(critic: ScorePasses, rows: slice, inner: slice | None) -> _Rows:
        first = 0 if inner is None else inner.start
        slopes = critic.slopes[:, max(rows.start - first, 0) : max(rows.stop - first, 0)]
        return _Rows(critic.inputs[:, rows], critic.scores[:, rows], critic.c[:, rows], slopes)


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
        terms, flat = Terms.of(game), z.reshape(-1, z.shape[-1])
        y = flat[:, game.generator.size :]
        if spectral := isinstance(game.critic, Spectral):
            flat = torch.cat([flat[:, : game.generator.size], game.critic.normalized(y)], -1)
        batch = Minibatch(*(t if t is None or t.dim() == 3 else t.reshape(-1, *t.shape[-2:]) for t in sample))  # type: ignore[arg-type]
        width = flat.shape[-1] if player is None else (game.generator.size, _critic_of(game).size)[player]
        v = flat.new_empty(len(flat), width)
        for first, passes in self._turns(game, batch, player, terms.place):
            part = slice(first, first + passes.runs)
            v[part] = passes.run(flat[part], batch.of_runs(part), terms)
            if losses is not None:
                losses[:, part] = passes.losses(terms)
        if spectral and player != 0:
            first = v.shape[-1] - _critic_of(game).size
            v = torch.cat([v[:, :first], game.critic.pull_back(y, v[:, first:])], -1)
        return v.view(*z.shape[:-1], -1)

    def _turns(
        self, game: Perceptrons, batch: Minibatch, player: int | None, place: str | None
    ) -> Iterator[tuple[int, Pass]]:
        """Yield (first run, passes) for the runs that are computed side by side."""
        runs, b, _ = batch.noise.shape
        generator, critic, dtype = game.generator, _critic_of(game), batch.noise.dtype
        most = max(1, CACHE // (2 * b * dtype.itemsize * (sum(generator.widths) + 2 * sum(critic.widths))))
        kind = (get_ident(), _kind(generator), _kind(critic), player, place, b, dtype)
        for first in range(0, runs, most):
            key = (*kind, min(most, runs - first))
            if key not in self._built:
                if len(self._built) >= MOST:
                    self._built.clear()
                with torch.inference_mode(False), torch.no_grad():  # memory that serves in and out of inference mode
                    self._built[key] = Pass(generator, critic, player, place, key[-1], b, torch.empty(0, dtype=dtype))
            yield first, self._built[key]


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
