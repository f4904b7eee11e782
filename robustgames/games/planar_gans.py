"""GANs on the plane and on the line, whose right answer is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games.densities import GaussianMixture, Source, SwissRoll
from robustgames.games.game import ZeroSumGame
from robustgames.games.gan import GAN
from robustgames.games.networks import MLP
from robustgames.games.sets import Space, linf_ball


class PlanarGAN(GAN):
    """A GAN of two perceptrons on points of the plane.

    Args:
        source: Source of the points.
        hidden: Widths of the hidden layers of both networks (ReLU).
        latent: Dimension of the generator's noise.
        lipschitz: Constraint on the discriminator, see `GAN`.
        batch_size: Points of a minibatch.
        initialization: Law of the first weights of both networks, see `MLP`.
        **gan: Other settings of `GAN`: objective, clip, penalty.
    """

    def __init__(
        self,
        source: Source,
        hidden: tuple[int, ...] = (64, 64, 64),
        latent: int = 2,
        lipschitz: str = "r1",
        batch_size: int = 128,
        initialization: str = "linear",
        **gan: Any,
    ) -> None:
        generator = MLP((latent, *hidden, source.size), initialization=initialization)
        critic = MLP((source.size, *hidden, 1), initialization=initialization)
        super().__init__(generator, critic, source, latent, lipschitz=lipschitz, batch_size=batch_size, **gan)
        self.hidden = tuple(hidden)
        if initialization != "linear":  # checkpoints of 0.1.0 have fingerprints without it
            self.initialization = initialization


class GaussianMixtureGAN(PlanarGAN):
    """A GAN on the 25 Gaussians: a square grid of modes that a generator should cover, all of them and little between.

    Source: Srivastava et al. 2017 (VEEGAN), section 4.1.

    Args:
        side: Modes of a side; side² in all.
        spacing: Distance between neighboring modes.
        std: Standard deviation of each mode.
        scale: Number by which all points are divided; Gulrajani et al. 2017 (code) take 2.828.
        **planar: Settings of `PlanarGAN`.
    """

    def __init__(
        self, side: int = 5, spacing: float = 2.0, std: float = 0.05, scale: float = 1.0, **planar: Any
    ) -> None:
        if not 0 < scale < float("inf"):
            raise GameError(f"scale is {scale}: points are divided by it, so it must be > 0, e.g. scale=2.828")
        super().__init__(GaussianMixture.grid(side, spacing, std, scale), **planar)
        self.side, self.spacing, self.std = side, spacing, std
        if scale != 1:  # checkpoints of 0.1.0 have fingerprints without it
            self.scale = scale


class GaussianRingGAN(PlanarGAN):
    """A GAN on Gaussians around a circle, 8 by default.

    Source: Metz et al. 2017, section 3.1.

    Args:
        modes: Number of modes.
        radius: Radius of the circle.
        std: Standard deviation of each mode.
        **planar: Settings of `PlanarGAN`.
    """

    def __init__(self, modes: int = 8, radius: float = 2.0, std: float = 0.02, **planar: Any) -> None:
        super().__init__(GaussianMixture.ring(modes, radius, std), **planar)
        self.modes, self.radius, self.std = modes, radius, std


class SwissRollGAN(PlanarGAN):
    """A GAN on the Swiss roll: a spiral in the plane.

    Args:
        noise: Standard deviation around the spiral, before scaling.
        **planar: Settings of `PlanarGAN`.
    """

    def __init__(self, noise: float = 0.25, **planar: Any) -> None:
        super().__init__(SwissRoll(noise), **planar)
        self.noise = noise


class GaussianWGAN1D(ZeroSumGame):
    """Φ(x, y) = y (E a - E b), a ~ N(mean, std²), b ~ N(x, std²), |y| <= clip: a Wasserstein GAN in closed form.

    The generator shifts a normal law by x, the critic is the linear function of slope y. Linear functions of slope 1
    attain the distance between shifted laws, so with clip = 1 max_y Φ = W1(N(mean, std²), N(x, std²)) =
    |mean - x|. In u = mean - x and y it is the bilinear game; the saddle is (mean, 0).

    Source: lecture "Wasserstein GANs formulation"; the linear critic as in Gidel et al. 2019 (code).

    Args:
        mean: Mean of the real law; the generator starts near 0.
        std: Standard deviation of both laws.
        clip: Bound of the critic's slope, > 0.
        batch_size: Points of a minibatch of each law; both expectations are exact if None.

    Example:
        >>> game = GaussianWGAN1D(mean=3.0)
        >>> game.field(torch.tensor([0.0, 1.0]))    # y at its best: it pushes x towards 3
        tensor([1., 3.])
    """

    players = ("generator", "discriminator")
    sizes = (1, 1)

    def __init__(self, mean: float = 3.0, std: float = 1.0, clip: float = 1.0, batch_size: int | None = None) -> None:
        if not (abs(mean) < float("inf") and 0 < std < float("inf")):
            raise GameError(f"mean is {mean} and std is {std}: use a finite mean and std > 0, e.g. std=1.0")
        if not 0 < clip < float("inf"):
            raise GameError(f"clip is {clip}: the slope is kept in [-clip, clip] with clip > 0, e.g. clip=1.0")
        if batch_size is not None and batch_size < 1:
            raise GameError(f"batch_size is {batch_size}: at least 1 point, or None for exact expectations")
        self.mean, self.std, self.clip, self.batch_size = mean, std, clip, batch_size
        self.sets = (Space(), linf_ball(clip))

    def draw(self, shape: tuple[int, ...], generator: Generator) -> Tensor | None:
        """Draw the difference of the two minibatch means from its law N(0, 2 std² / B), (*shape, 1)."""
        if self.batch_size is None:
            return None
        xi = torch.randn((*shape, 1), generator=generator, device=generator.device, dtype=self.dtype)
        return self.std * (2 / self.batch_size) ** 0.5 * xi

    def payoff(self, x: Tensor, y: Tensor, sample: Tensor | None = None) -> Tensor:
        return (y * (self.mean - x + (0.0 if sample is None else sample))).squeeze(-1)

    def metrics(self, z: Tensor, sample: Tensor | None = None) -> dict[str, Tensor]:
        """Return also the exact distance W1 = |mean - x| of the generator."""
        return {**super().metrics(z, sample), "wasserstein": (self.mean - self.split(z)[0]).abs().squeeze(-1)}

    def best_response(self, z: Tensor, player: int) -> Tensor | None:
        if player == 0:
            return None  # the line is unbounded
        return self.clip * (self.mean - self.split(z)[0]).sign()

    def solution(self) -> Tensor:
        return torch.tensor([self.mean, 0.0], device=self.device, dtype=self.dtype)
