"""Generator against discriminator."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from robustgames.data.images import ImageSource
from robustgames.errors import GameError, unknown
from robustgames.games.densities import Source
from robustgames.games.game import GeneralSumGame, arguments, gradients, join
from robustgames.games.gan_passes import GANPasses
from robustgames.games.lipschitz import LIPSCHITZ, PENALTIES, Spectral, squared_slope
from robustgames.games.networks import MLP, Network
from robustgames.games.objectives import OBJECTIVES
from robustgames.games.sets import Space, linf_ball


class GANSample(NamedTuple):
    """One draw of ζ."""

    real: Tensor
    """(*S, B, p)."""
    noise: Tensor
    """w ~ N(0, I), (*S, B, latent)."""
    mix: Tensor | None
    """Places of a gradient penalty between generated (0) and real points (1): uniform in [0, 1], (*S, B, 1)."""


class GAN(GeneralSumGame):
    """min_x max_y E D_y(a) against E D_y(G_x(w)), a ~ data, w ~ N(0, I), by one of four objectives.

    x are the weights of the generator G, y those of the discriminator D. A penalty on the slope of D belongs to the
    discriminator's loss alone: as y ascends, it is subtracted from the objective of y. A clipped y stays in its box by
    projection, which every solver applies, also at the points where it looks ahead.

    The field is autograd of `losses`. On a CPU that of two `MLP`s is computed by written-out passes instead, equal up
    to rounding (`robustgames.games.gan_passes`), unless a penalty meets smooth activations (tanh, elu), a derivative of
    the field is requested, or a subclass defines losses, scores or penalties of its own.

    Source: lecture "Wasserstein GANs formulation"; Goodfellow et al. 2014; Arjovsky et al. 2017.

    Args:
        generator: Network G, (B, latent) -> (B, p).
        critic: Network D, (B, p) -> (B, 1).
        source: Source of real points, with `size` p and `sample`.
        latent: Dimension of w.
        objective: "vanilla" (saturating, zero-sum), "nonsaturating", "wasserstein" or "hinge".
        lipschitz: "none", "clip" (|y_i| <= clip), "gp" or "gp_one_sided" (penalty * (|∇D| - 1)², or only if
            |∇D| > 1, between real and generated points), "r1" (penalty * |∇D|²/2 at real points) or "spectral".
        clip: Half the side of the box.
        penalty: Weight of a penalty.
        batch_size: Number B of points.

    Raises:
        GameError: Unknown names, numbers out of range, networks that do not fit each other or the data.

    Example:
        >>> from robustgames.games.densities import GaussianMixture
        >>> game = GAN(MLP((2, 16, 2)), MLP((2, 16, 1)), GaussianMixture.grid(), objective="wasserstein")
        >>> noise = torch.zeros(5, 7, 2)    # 5 runs, 7 points
        >>> game.generate(torch.zeros(5, game.sizes[0]), noise).shape
        torch.Size([5, 7, 2])
    """

    players = ("generator", "discriminator")
    batch_size: int

    def __init__(
        self,
        generator: MLP | Network,
        critic: MLP | Network,
        source: Source,
        latent: int = 2,
        objective: str = "nonsaturating",
        lipschitz: str = "none",
        clip: float = 0.01,
        penalty: float = 0.1,
        batch_size: int = 256,
    ) -> None:
        for what, name, known in (("objective", objective, OBJECTIVES), ("lipschitz", lipschitz, LIPSCHITZ)):
            if name not in known:
                raise unknown(what, name, known)
        _check_numbers(latent, clip, penalty, batch_size)
        _check_used(type(self), lipschitz, clip, penalty)
        self.generator, self.source, self.latent = generator, source, latent
        self.critic = Spectral(critic) if lipschitz == "spectral" else critic
        self.objective, self.lipschitz, self.batch_size = objective, lipschitz, batch_size
        self.clip, self.penalty = clip, penalty
        self.sets = (Space(), linf_ball(clip) if lipschitz == "clip" else Space())
        self.sizes = (generator.size, self.critic.size)
        _check_fit(self)

    def draw(self, shape: tuple[int, ...], generator: Generator) -> GANSample:
        return self.draw_rows(shape, generator, slice(None))

    def draw_rows(self, shape: tuple[int, ...], generator: Generator, rows: slice) -> GANSample:
        """Draw as `draw` does, and return these rows; of images only they are decoded."""
        points, device = (*shape, self.batch_size), generator.device
        if isinstance(self.source, ImageSource):
            real = self.source.sample(points, generator, self.dtype, rows)
        else:
            real = self.source.sample(points, generator, self.dtype)[..., rows, :]
        noise = torch.randn((*points, self.latent), generator=generator, device=device, dtype=self.dtype)
        mix = None
        if self.lipschitz in PENALTIES and PENALTIES[self.lipschitz][1] == "between":
            mix = torch.rand((*points, 1), generator=generator, device=device, dtype=self.dtype)[..., rows, :]
        return GANSample(real, noise[..., rows, :], mix)

    def start(self, player: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Draw weights as the network does, moved into the box if they are clipped."""
        network = (self.generator, self.critic)[player]
        return self.sets[player].project(network.initial(shape, generator, self.dtype))

    def generate(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return G_x(w): (*S, n), (*S, B, latent) -> (*S, B, p)."""
        return self.generator(x, noise)

    def score(self, y: Tensor, points: Tensor) -> Tensor:
        """Return D_y(points): (*S, m), (*S, B, p) -> (*S, B)."""
        return self.critic(y, points).squeeze(-1)

    @property
    def zero_sum(self) -> bool:
        """Whether the generator's loss is minus the discriminator's: its objective, and no penalty."""
        return OBJECTIVES[self.objective].generator is None and self.lipschitz not in PENALTIES

    def losses(self, x: Tensor, y: Tensor, sample: GANSample) -> tuple[Tensor, Tensor]:
        objective, fakes = OBJECTIVES[self.objective], self.generate(x, sample.noise)
        real, fake = self.score(y, torch.cat([sample.real, fakes], -2)).chunk(2, -1)
        critic_loss = (objective.real(real) + objective.fake(fake)).mean(-1)
        generator_loss = -critic_loss if objective.generator is None else objective.generator(fake).mean(-1)
        return generator_loss, critic_loss + self._penalty(y, sample, fakes)

    def loss(self, x: Tensor, y: Tensor, sample: GANSample, player: int) -> Tensor:
        if player == 1:
            return self.losses(x, y, sample)[1]
        objective, fake = OBJECTIVES[self.objective], self.score(y, self.generate(x, sample.noise))
        return (-objective.fake(fake) if objective.generator is None else objective.generator(fake)).mean(-1)

    def field(self, z: Tensor, sample: GANSample | None = None, player: int | None = None) -> Tensor:
        if self._is_written_out(z, sample) and self._is_of_gan("evaluate"):
            return self._passes.field(self, z, sample, player)
        return super().field(z, sample, player)

    def evaluate(self, z: Tensor, sample: GANSample | None = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        if self._is_written_out(z, sample):
            (loss_x, loss_y), v = self._passes.evaluate(self, z, sample)
            return (-loss_x, -loss_y), v
        if not self.zero_sum or sample is None:
            return super().evaluate(z, sample)
        loss, ((g_x, g_y),) = gradients(lambda x, y: (self.loss(x, y, sample, 1),), self.split(z), ((0, 1),))
        return (loss[0], -loss[0]), join([g_x, -g_y], z)  # one backward pass for both players

    @cached_property
    def _passes(self) -> GANPasses:
        return GANPasses()

    def _is_written_out(self, z: Tensor, sample: GANSample | None) -> bool:
        """Return whether the field is computed by `GANPasses`; its definition is autograd of the losses."""
        return sample is not None and self._is_of_gan(*LOSSES) and self._passes.fit(self, z, sample)

    def _is_of_gan(self, *names: str) -> bool:
        """Return whether neither a subclass nor this object has methods of its own by these names."""
        return all(getattr(type(self), name) is getattr(GAN, name) and name not in vars(self) for name in names)

    def _penalty(self, y: Tensor, sample: GANSample, fakes: Tensor) -> Tensor | float:
        if self.lipschitz not in PENALTIES:
            return 0.0
        function = PENALTIES[self.lipschitz][0]
        points = sample.real if sample.mix is None else torch.lerp(fakes.detach(), sample.real, sample.mix)
        return self.penalty * function(squared_slope(self.score, y, points)).mean(-1)

    def settle(self, z: Tensor) -> Tensor:
        """Refine the singular vectors of a spectrally normalized discriminator by one step of power iteration."""
        if not isinstance(self.critic, Spectral):
            return z
        x, y = self.split(z)
        return join([x, self.critic.settle(y)], z)

    def settle_fully(self, z: Tensor) -> Tensor:
        """Compute the singular vectors of a spectrally normalized discriminator exactly."""
        if not isinstance(self.critic, Spectral):
            return z
        x, y = self.split(z)
        return join([x, self.critic.settle_fully(y)], z)


LOSSES = ("losses", "loss", "generate", "score", "_penalty", "zero_sum", "split")  # what the passes write out


def _check_numbers(latent: int, clip: float, penalty: float, batch_size: int) -> None:
    for name, value in (("latent", latent), ("batch_size", batch_size)):
        if not (isinstance(value, int) and value >= 1):
            raise GameError(f"{name} is {value}: a whole number of at least 1 is needed, e.g. {name}=64")
    if not 0 < clip < float("inf"):
        raise GameError(f"clip is {clip}: weights are kept in [-clip, clip] with clip > 0, e.g. clip=0.01")
    if not 0 <= penalty < float("inf"):
        raise GameError(f"penalty is {penalty}: the weight of a penalty is >= 0, e.g. penalty=0.1")


def _check_used(cls: type[GAN], lipschitz: str, clip: float, penalty: float) -> None:
    known = arguments(cls)
    for name, value, users in (("clip", clip, ["clip"]), ("penalty", penalty, [*PENALTIES])):
        if lipschitz not in users and name in known and value != known[name].default:
            choice = f"lipschitz={users[0]}" if len(users) == 1 else f"lipschitz one of {', '.join(users)}"
            raise GameError(f"{name} is {value}, but lipschitz={lipschitz} has no {name}: give {choice}, or no {name}")


def _check_fit(game: GAN) -> None:
    """Generate two points and score them; shapes are compared here once."""
    own = Generator().manual_seed(0)
    p = game.source.size
    with torch.no_grad():
        weights = [game.start(player, (), own) for player in (0, 1)]
        fakes = _attempt("generator", game.generate, weights[0], torch.zeros(2, game.latent))
        if fakes.shape != (2, p):
            raise GameError(f"the generator returns points of shape {tuple(fakes.shape[1:])}: the data has ({p},)")
        scores = _attempt("discriminator", game.critic, weights[1], fakes)
        if scores.shape != (2, 1):
            raise GameError(
                f"the discriminator returns {tuple(scores.shape[1:])} per point: one score, (1,), is needed"
            )


def _attempt(name: str, network: Callable[[Tensor, Tensor], Tensor], weights: Tensor, inputs: Tensor) -> Tensor:
    try:
        return network(weights, inputs)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise GameError(f"the {name} does not take inputs of size {inputs.shape[-1]}: {reason}") from error
