"""Modes of a mixture that a generator covers; divergences of discrete laws, and densities of push-forwards.

Samples have shape (*S, N, p): N points of R^p for each of S independent runs. Everything is batched and on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from robustgames.errors import GameError


@torch.no_grad()
def mode_metrics(
    samples: Tensor, means: Tensor, std: float | Tensor, radius: float = 3.0, weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the metrics of samples that should cover the modes of a Gaussian mixture, each of shape (*S,).

    The nearest mode of a sample u is argmin_k |u - means_k|_2 / std_k; u is of high quality if that distance is below
    `radius`. For a Gaussian in R^2 and radius 3 this is a share of 1 - exp(-4.5) = 98.9 %.

    * "modes": number of modes that are nearest to at least one sample of high quality, 0 ... M;
    * "high_quality": share of these samples among all N, in [0, 1];
    * "reverse_kl": KL(h | w) in nats, h the histogram over the modes of the *high-quality samples alone*, divided by
      their number;
    * "jsd": Jensen-Shannon divergence of h and w in nats, in [0, log 2].

    Samples of low quality enter "high_quality" only, as in PacGAN's published code (which logs the JSD and the entropy
    of h: for uniform w, KL = log M - entropy). This separates two failures: samples between the modes, and modes with
    too few samples. A run without any sample of high quality has modes 0, KL inf and JSD log 2, as a law that misses
    every mode (that code divides 0 by 0 there). A run with a sample that is not finite has NaN in all four. A perfect
    sampler has a KL of about (M - 1) / (2 N), not 0.

    Source: Srivastava et al. 2017 (VEEGAN); Lin et al. 2018 (PacGAN) and `MetricLogger` of its synthetic experiments.

    Args:
        samples: Generated samples, (*S, N, p), N = 2,500 in the papers.
        means: Means of the modes, (M, p).
        std: Standard deviation of a mode, a number or (M,).
        radius: Radius of high quality in standard deviations.
        weights: Weights w of the modes, (M,), with any sum. If None, they are uniform.

    Raises:
        GameError: Shapes do not fit, or std or radius is not positive.

    Example:
        >>> corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> samples = torch.tensor([[0.0, 0.1], [0.1, 0.0], [0.0, 0.9], [0.5, 0.5]])
        >>> {name: round(float(value), 3) for name, value in mode_metrics(samples, corners, 0.05).items()}
        {'modes': 2.0, 'high_quality': 0.75, 'reverse_kl': 0.75, 'jsd': 0.225}
    """
    _check(samples, means, std, radius, weights)
    kind = torch.promote_types(samples.dtype, torch.float32)  # half precision cannot count to 2,500
    u, means = samples.to(kind), means.to(samples.device, kind)
    w = means.new_ones(len(means)) if weights is None else weights.to(means)
    w = w / w.sum()
    # the faster matrix product would lose the digits that decide between 2.9 and 3.1 std
    away = torch.cdist(u, means, compute_mode="donot_use_mm_for_euclid_dist") / torch.as_tensor(std).to(means)
    distance, nearest = away.min(-1)
    good = (distance < radius).to(kind)
    counts = u.new_zeros(*u.shape[:-2], len(means)).scatter_add(-1, nearest, good)
    total = counts.sum(-1)
    h = counts / total.clamp_min(1).unsqueeze(-1)
    none = total == 0
    found = {
        "modes": (counts > 0).sum(-1).to(kind),
        "high_quality": good.mean(-1),
        "reverse_kl": torch.where(none, float("inf"), kullback_leibler(h, w)),
        "jsd": torch.where(none, torch.log(w.new_tensor(2.0)), jensen_shannon(h, w)),
    }
    finite = torch.isfinite(u).all(-1).all(-1)
    return {name: torch.where(finite, value, float("nan")) for name, value in found.items()}


def kullback_leibler(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p | q) = sum_i p_i log(p_i / q_i) in nats, (*S,): inf if q lacks a point of p.

    Args:
        p: Probabilities, (*S, M).
        q: Probabilities, (*S, M).
    """
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Return JSD(p, q) = KL(p | m) / 2 + KL(q | m) / 2 with m = (p + q) / 2, in nats, (*S,).

    At most log 2, with equality exactly for disjoint supports, where KL(p | q) + KL(q | p), which slides on GANs print
    under the same name, is infinite. Source: Lin 1991, "Divergence measures based on the Shannon entropy".

    Example:
        >>> float(jensen_shannon(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])))
        0.6931471824645996
    """
    m = (p + q) / 2
    return (kullback_leibler(p, m) + kullback_leibler(q, m)) / 2


def optimal_discriminator(p: Tensor, q: Tensor) -> Tensor:
    """Return D* = p / (p + q), the maximizer of `discriminator_value`, (*S, M); 1/2 where neither has mass.

    Its value is 2 JSD(p, q) - log 4. Source: Goodfellow et al. 2014, proposition 1 and theorem 1.

    Args:
        p: Probabilities of the real law, (*S, M).
        q: Probabilities of the generated law, (*S, M).
    """
    return torch.where(p + q > 0, p / (p + q), 0.5)


def discriminator_value(p: Tensor, q: Tensor, d: Tensor) -> Tensor:
    """Return E_p log d + E_q log(1 - d), (*S,), for a discriminator d in [0, 1], (*S, M), of discrete laws p and q."""
    return (torch.xlogy(p, d) + torch.xlogy(q, 1 - d)).sum(-1)


def push_forward_density(
    density: Callable[[Tensor], Tensor], branches: Sequence[Callable[[Tensor], Tensor]], points: Tensor
) -> Tensor:
    """Return the density of h(w) at points y, (N,): sum over the branches g of h^-1 of density(g(y)) |det Dg(y)|.

    Without the modulus the branches of an even h cancel. h must map R^p to R^p: maps into another dimension, as most
    generators are, have no such density.

    Args:
        density: Density of w, (N, p) -> (N,).
        branches: Inverses g of h, each a differentiable function (p,) -> (p,).
        points: Points y in the image of every branch, (N, p).

    Raises:
        GameError: A branch maps into another dimension.

    Example:
        >>> normal = torch.distributions.Normal(0.0, 1.0)
        >>> y = torch.tensor([[1.0]])
        >>> push_forward_density(lambda w: normal.log_prob(w[:, 0]).exp(), [torch.sqrt, lambda y: -y.sqrt()], y)
        tensor([0.2420])
    """
    total = points.new_zeros(len(points))
    for inverse in branches:
        jacobian = torch.func.vmap(torch.func.jacrev(inverse))(points)
        if jacobian.shape[-1] != jacobian.shape[-2]:
            raise GameError(f"a branch has a Jacobian of shape {tuple(jacobian.shape[1:])}: h must map R^p to R^p")
        total = total + density(torch.func.vmap(inverse)(points)) * torch.linalg.det(jacobian).abs()
    return total


def _check(samples: Tensor, means: Tensor, std: float | Tensor, radius: float, weights: Tensor | None) -> None:
    if means.dim() != 2 or samples.dim() < 2 or samples.shape[-1] != means.shape[-1]:
        raise GameError(
            f"samples {tuple(samples.shape)} and means {tuple(means.shape)} do not fit: give (*S, N, p) and (M, p)"
        )
    if samples.shape[-2] == 0 or len(means) == 0:
        raise GameError(f"{samples.shape[-2]} samples and {len(means)} modes: there must be at least one of each")
    if isinstance(std, Tensor) and std.shape not in ((), (len(means),)):
        raise GameError(f"std has shape {tuple(std.shape)}: it must be a number or one per mode, ({len(means)},)")
    if not isinstance(std, Tensor) and not std > 0:  # a tensor is not checked: that would wait for the device
        raise GameError(f"std is {std}: it must be positive, e.g. 0.05")
    if not radius > 0:
        raise GameError(f"radius is {radius}: it must be positive, e.g. 3 standard deviations")
    if weights is not None and weights.shape != (len(means),):
        raise GameError(f"weights have shape {tuple(weights.shape)}: there must be one per mode, ({len(means)},)")
