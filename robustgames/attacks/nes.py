"""NES: projected ascent along gradients that are estimated from losses, forward passes only."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Generator, Tensor

from robustgames.attacks.attack import Attack
from robustgames.attacks.engine import ascend
from robustgames.attacks.losses import LabelLoss
from robustgames.attacks.problem import Bounds, Problem, Radius
from robustgames.attacks.steps import Constant, check_motion
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError

TOGETHER = 2**22  # numbers in the queries that are passed to the classifier together
STEPS_APART = 4  # fewest steps of a narrow data type between the points of a pair and the image
SIGMA = 1e-3  # default distance of the queries, in widths of the box
LEAST = 0.2  # smallest default step in units of eps: momentum averages the noise of the gradients


@dataclass(frozen=True, eq=False)
class Estimated(Problem):
    """A problem whose gradients are estimated from the losses at pairs of points η ± sigma u, u normal.

    Args:
        pairs: Number of pairs for each gradient.
        sigma: Distance of the points in each coordinate, in units of the inputs. If None, it is `SIGMA` widths.
        least: Smallest such distance.
    """

    pairs: int = 25
    sigma: float | None = None
    least: float = 0.0

    def gradient(self, eta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return *self.losses(eta), self.slope(eta)

    def slope(self, eta: Tensor) -> Tensor:
        """Return the estimate Σ_k (L(η + sigma u_k) - L(η - sigma u_k)) u_k / (2 sigma pairs), (N, p)."""
        (low, high), total = self.walls, torch.zeros_like(eta)
        given = SIGMA * self.width if self.sigma is None else self.sigma
        sigma = given.clamp_min(self.least) if isinstance(given, Tensor) else max(given, self.least)
        each = max(TOGETHER // (2 * max(eta.numel(), 1)), 1)
        for first in range(0, self.pairs, each):
            shape = (min(each, self.pairs - first), *eta.shape)
            u = torch.randn(shape, generator=self.generator, device=eta.device, dtype=eta.dtype)
            points = torch.stack([eta + sigma * u, eta - sigma * u])
            points = torch.minimum(torch.maximum(points, low), high)  # a query is an input that the classifier expects
            rows = torch.arange(len(eta), device=eta.device).repeat(2 * shape[0])
            above, below = self.rows(rows).losses(points.flatten(0, 2))[0].view(2, *shape[:2])
            total += torch.einsum("kn,knp->np", above - below, u)
        return total / (2 * sigma * self.pairs)

    def stalled(self, g: Tensor) -> None:
        """Return None: no gradient of the classifier is taken, so none is NaN."""


@dataclass(frozen=True, kw_only=True)
class NES(Attack):
    """Settings of `nes`."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    loss: ClassVar[str] = "margin"

    queries: int = 5000
    samples: int = 50
    sigma: float | None = None
    step_size: float | None = None
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if not (self.samples >= 2 and self.samples % 2 == 0):
            raise GameError(f"samples is {self.samples}: a gradient takes an even number of queries, e.g. samples=50")
        if not self.queries >= self.samples + 2:
            raise GameError(
                f"queries is {self.queries}: a step takes samples + 1 = {self.samples + 1} and the last check 1"
            )
        if self.sigma is not None and not 0 < self.sigma < float("inf"):
            raise GameError(f"sigma is {self.sigma}: it is a distance > 0 in units of the inputs, e.g. sigma=0.001")
        check_motion(self.step_size, self.momentum)

    def run(self, p: Problem) -> Tensor:
        known = {field.name: getattr(p, field.name) for field in fields(p)}
        steps = (self.queries - 1) // (self.samples + 1)
        step = Constant(self.step_size, share=max(2.5 / steps, LEAST), momentum=self.momentum)
        # in a narrow type closer points would be rounded to the image itself, and all losses would be equal
        least = 0.0 if p.dtype is None else STEPS_APART * torch.finfo(p.dtype).eps * float(p.a.abs().max())
        estimated = Estimated(**known, pairs=self.samples // 2, sigma=self.sigma, least=least)
        return ascend(estimated, torch.zeros_like(p.a), step, steps, "drop")


def nes(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    queries: int = NES.queries,
    samples: int = NES.samples,
    sigma: float | None = NES.sigma,
    step_size: float | None = NES.step_size,
    *,
    momentum: float = NES.momentum,
    loss: str | LabelLoss = NES.loss,
    targets: Tensor | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> Tensor:
    """Natural evolution strategies: projected ascent along gradients that are estimated from losses.

    η⁺ = P(η + step_size d(m)), m⁺ = momentum m + g / |g|_1, d the sign in ℓ∞ and m / |m|_2 in ℓ2, and
    g = Σ_k (L(η + sigma u_k) - L(η - sigma u_k)) u_k / (2 sigma n), u_k standard normal, k = 1 … n = samples / 2.
    In the mean g is the gradient of L smoothed over sigma. Queries are clipped to the bounds. Fooled rows leave.
    Source: Ilyas, Engstrom, Athalye and Lin 2018; momentum as in their code, with the scale of MI-FGSM.

    Args:
        model, x, y, eps, norm, loss, targets, bounds, generator, eot: See `robustgames.attacks.gradient`.
        queries: Largest number of forward passes for each row (with `eot`, of that many each).
        samples: Queries for each gradient, an even number. A step takes one more, which evaluates its point.
        sigma: Distance of the queries in each coordinate, in units of the inputs; in float16 and bfloat16 at least four
            steps of the type. If None, it is a thousandth of the width of the box (see `fmn`).
        step_size: Size of a step in the norm. If None, it is 2.5 eps over the number of steps, at least eps / 5.
        momentum: Weight of the previous steps. It averages the noise of the estimates.

    Example:
        >>> model = lambda x: torch.cat([x, 0.5 + 0 * x], 1)
        >>> nes(model, torch.tensor([[0.55]]), torch.tensor([0]), eps=0.1, queries=200)
        tensor([[0.4667]])
    """
    attack = NES(queries=queries, samples=samples, sigma=sigma, step_size=step_size, momentum=momentum)
    return attack(model, x, y, eps, norm, loss=loss, targets=targets, bounds=bounds, generator=generator, eot=eot)
