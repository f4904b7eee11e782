"""Wasserstein distances between samples: exact, on lines, by duality; slopes of critics.

Samples have shape (*S, N, p): N points of R^p, each of weight 1/N, for each of S independent runs. The exact distance
in R^p, p >= 2, is POT's network simplex on the CPU, run by run. The linear programs take one run; the rest is batched.

Solvers of transport have absolute tolerances. Points are therefore divided by their size before they are solved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import frexp, inf

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.evaluation.network_simplex import exact_cost


# -- distances ------------------------------------------------------------------------------------------------
@torch.no_grad()
def wasserstein(a: Tensor, b: Tensor, order: float = 1.0) -> Tensor:
    """Return the exact W_r(a, b) = (min over couplings P of sum_ij P_ij |a_i - b_j|_2^r)^(1/r), (*S,), r = `order`.

    For p = 1 by sorting, on the device; for p >= 2 by POT, about a second for N = M = 2,500. NaN for a run with points
    that are not finite.

    Args:
        a: First sample, (*S, N, p).
        b: Second sample, (*S, M, p), or (M, p), the same for all runs.
        order: Order r >= 1, finite.

    Raises:
        GameError: Shapes do not fit, order is below 1 or infinite, or so large that the powers of all distances that
            mass travels are 0 (for p >= 2).

    Warns:
        UserWarning: The duality gap of a run exceeds 1e-6 of its cost, so the value may be too large by so much. The
            optimum is verified in every run, by the potentials of the network simplex.

    Example:
        >>> u = torch.rand(5, 3)
        >>> round(float(wasserstein(u, u + torch.tensor([3.0, 4.0, 0.0]), order=2)), 4)    # of a shift: its length
        5.0
    """
    a, b = _pair(a, b, order)
    if a.shape[-1] == 1:
        found = _mean_root(*_on_line(a.squeeze(-1), b.squeeze(-1)), order)
    else:
        pairs = zip(a.reshape(-1, *a.shape[-2:]).cpu(), b.reshape(-1, *b.shape[-2:]).cpu(), strict=True)
        found = a.new_tensor([_exact(u.double(), v.double(), order) for u, v in pairs]).view(a.shape[:-2])
    finite = torch.isfinite(a).all(-1).all(-1) & torch.isfinite(b).all(-1).all(-1)
    return torch.where(finite, found, float("nan"))


def sliced_wasserstein(
    a: Tensor, b: Tensor, order: float = 1.0, directions: int = 128, generator: Generator | None = None
) -> Tensor:
    """Return (mean over random unit vectors t of W_r(<t, a>, <t, b>)^r)^(1/r), (*S,): at most W_r(a, b).

    Differentiable, with N log N operations per direction; the gradient is 0 where the distance is 0.

    Source: Bonneel et al. 2015, "Sliced and Radon Wasserstein barycenters of measures".

    Args:
        a: First sample, (*S, N, p).
        b: Second sample, (*S, M, p), or (M, p), the same for all runs.
        order: Order r >= 1, finite.
        directions: Number of unit vectors, the same for all runs.
        generator: Generator of the directions, on the device of the samples. If None, it has seed 0.

    Raises:
        GameError: Shapes do not fit, order is below 1 or infinite, or directions is below 1.
    """
    a, every = _pair(a, b, order)
    b = b.to(a) if b.dim() == 2 else every  # one sample for all runs is sorted once
    if directions < 1:
        raise GameError(f"directions is {directions}: it must be at least 1, e.g. 128")
    generator = generator or Generator(a.device).manual_seed(0)
    t = torch.randn(directions, a.shape[-1], generator=generator, device=a.device, dtype=a.dtype)
    t = torch.nn.functional.normalize(t, dim=-1)
    gap, width = _on_line(t @ a.mT, t @ b.mT)
    return _mean_root(gap.flatten(-2), (width / directions).expand(directions, -1).flatten(), order)


def _on_line(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return |F^-1(u) - G^-1(u)| for a (..., N), b (..., M) on the K <= N + M pieces of (0, 1), and their lengths.

    Shapes (..., K) and (K,). The integral of the gap to the power r is W_r^r.
    """
    n, m = a.shape[-1], b.shape[-1]
    if n == m:
        return (_in_order(a) - _in_order(b)).abs(), a.new_full((n,), 1 / n)
    jumps = [torch.arange(1, k + 1, device=a.device) * (n * m // k) for k in (n, m)]  # u in units of 1/(nm)
    steps = torch.cat(jumps).sort().values
    width = torch.diff(steps, prepend=steps.new_zeros(1)).to(a) / (n * m)
    gap = _in_order(a)[..., (steps - 1) // m] - _in_order(b)[..., (steps - 1) // n]
    return gap.abs(), width


def _in_order(values: Tensor) -> Tensor:
    """Return the values sorted along the last axis; NumPy, which needs no permutation, takes a sixth of the time."""
    plain = values.device.type == "cpu" and not values.requires_grad and values.dtype in (torch.float32, torch.float64)
    return torch.from_numpy(np.sort(values.numpy(), axis=-1)) if plain else values.sort(-1).values


def _mean_root(gap: Tensor, weight: Tensor, order: float) -> Tensor:
    """Return (sum of weight · gap^order)^(1/order) over the last axis, of gaps >= 0 of any scale; 0 has gradient 0."""
    largest = gap.detach().amax(-1)
    zero = largest == 0
    scale = torch.where(zero, 1, largest)
    power = ((gap / scale.unsqueeze(-1)).pow(order) * weight).sum(-1)
    return scale * torch.where(zero, 1, power).pow(1 / order) * ~zero


def _exact(a: Tensor, b: Tensor, order: float) -> float:
    """Return W_order of a (N, p) and b (M, p) in float64."""
    points, scale = _unit(torch.cat([a, b]))
    return scale * exact_cost(_distances(points[: len(a)], points[len(a) :]), order)


def _unit(points: Tensor) -> tuple[Tensor, float]:
    """Return points divided by the power of 2 next to their largest coordinate, and that power: nothing is rounded."""
    largest = float(points.abs().max())
    scale = 2.0 ** frexp(largest)[1] if 0 < largest < inf else 1.0
    return points / scale, scale


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist")


# -- duality --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Duality:
    """Both sides of W_1(a, b) = max {mean f(a) - mean f(b) : f 1-Lipschitz}, the result of `kantorovich_rubinstein`.

    Attributes:
        primal: Least mean distance that mass travels.
        dual: Greatest mean f(a) - mean f(b).
        plan: Mass moved from a_i to b_j, (N, M), float64; rows sum to 1/N.
        points: Points [a; b], (N + M, p).
        values: Values of an optimal potential f at the points, (N + M,).
    """

    primal: float
    dual: float
    plan: Tensor
    points: Tensor
    values: Tensor

    def critic(self, u: Tensor) -> Tensor:
        """Return f(u) = min_k values_k + |u - points_k|_2, (*S, N, p) -> (*S, N): 1-Lipschitz on all of R^p.

        Source: McShane 1934, "Extension of range of functions".
        """
        return (self.values.to(u) + (u.unsqueeze(-2) - self.points.to(u)).norm(dim=-1)).amin(-1)


def kantorovich_rubinstein(a: Tensor, b: Tensor) -> Duality:
    """Solve both sides of the Kantorovich-Rubinstein duality of two small samples as linear programs (HiGHS).

        primal: min <P, C> with P >= 0, P 1 = 1/N, P' 1 = 1/M, C_ij = |a_i - b_j|_2
        dual:   max mean f(a) - mean f(b) with f(u) - f(v) <= |u - v|_2 for all points u, v of both samples

    The dual has (N + M)^2 constraints: two samples of 100 points take 0.3 s, of 300 points 6 s.

    Source: Villani 2009, "Optimal transport: old and new", remark 6.5.

    Args:
        a: First sample, (N, p).
        b: Second sample, (M, p).

    Raises:
        GameError: Shapes do not fit, or points are not finite.
    """
    from scipy import sparse
    from scipy.optimize import linprog

    a, b = _pair(a.detach().cpu().double(), b.detach().cpu().double(), 1.0)
    points = torch.cat([a, b], -2)
    if a.dim() != 2 or not bool(torch.isfinite(points).all()):
        found = f"samples {tuple(a.shape)}, {tuple(b.shape)}"
        raise GameError(f"{found}: they must be one run of finite points, (N, p) and (M, p)")
    n, m = len(a), len(b)
    unit, scale = _unit(points)
    rows = sparse.vstack([sparse.kron(sparse.eye(n), np.ones((1, m))), sparse.kron(np.ones((1, n)), sparse.eye(m))])
    mass = np.r_[np.full(n, 1 / n), np.full(m, 1 / m)]
    primal = linprog(_distances(unit[:n], unit[n:]).numpy().ravel(), A_eq=rows, b_eq=mass)
    i, j = np.nonzero(~np.eye(n + m, dtype=bool))
    each = np.arange(len(i))
    differences = sparse.coo_matrix((np.r_[np.ones(len(i)), -np.ones(len(i))], (np.r_[each, each], np.r_[i, j])))
    gain = mass * np.r_[np.ones(n), -np.ones(m)]
    free = [(0, 0)] + [(None, None)] * (n + m - 1)  # f is determined up to a constant
    dual = linprog(-gain, A_ub=differences.tocsr(), b_ub=_distances(unit, unit).numpy()[i, j], bounds=free)
    for program in (primal, dual):
        if not program.success:
            raise GameError(f"the linear program of {n} + {m} points failed ({program.message}): use fewer points")
    plan = torch.from_numpy(primal.x.reshape(n, m))
    return Duality(scale * float(primal.fun), -scale * float(dual.fun), plan, points, scale * torch.from_numpy(dual.x))


def dual_estimate(real: Tensor, fake: Tensor, lipschitz: float | Tensor = 1.0) -> Tensor:
    """Return (mean f(real) - mean f(fake)) / L, (*S,): at most W_1 of the samples if f is L-Lipschitz.

    The bound requires an upper bound L, such as a product of spectral norms. With the L of `lipschitz_constant`, which
    is a lower bound, the estimate may exceed W_1.

    Args:
        real: Values of a critic f at the real points, (*S, N).
        fake: Values of f at the generated points, (*S, M).
        lipschitz: Lipschitz constant L, a number or (*S,).

    Example:
        >>> dual_estimate(torch.tensor([2.0, 4.0]), torch.tensor([0.0, 1.0]), lipschitz=2.0)
        tensor(1.2500)
    """
    return (real.mean(-1) - fake.mean(-1)) / lipschitz


def lipschitz_constant(function: Callable[[Tensor], Tensor], points: Tensor) -> dict[str, Tensor]:
    """Return the slope of a critic at given points and its distance from 1, each of shape (*S,).

    * "lipschitz": max_i |grad f(u_i)|_2, a lower bound of the Lipschitz constant;
    * "unit_gradient_error": mean_i | |grad f(u_i)|_2 - 1 |, which the gradient penalty drives to 0.

    Args:
        function: Critic f, (*S, N, p) -> (*S, N); each value may depend on its own point only.
        points: Points, (*S, N, p), such as mixtures of real and generated samples.

    Raises:
        GameError: The values have another shape, or no gradient reaches the points.

    Example:
        >>> points = torch.tensor([[3.0, 4.0], [0.0, 0.5]])
        >>> lipschitz_constant(lambda u: (u**2).sum(-1), points)
        {'lipschitz': tensor(10.), 'unit_gradient_error': tensor(4.5000)}
    """
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        values = function(points)
        if values.shape != points.shape[:-1]:
            raise GameError(
                f"the critic returned shape {tuple(values.shape)} for points {tuple(points.shape)}: "
                f"expected {tuple(points.shape[:-1])}; did you forget .squeeze(-1)?"
            )
        if not values.requires_grad:
            raise GameError("no gradient reaches the points: call the critic without torch.no_grad or .detach()")
        (gradient,) = torch.autograd.grad(values.sum(), points, materialize_grads=True)
    slope = torch.linalg.vector_norm(gradient, dim=-1)
    return {"lipschitz": slope.amax(-1), "unit_gradient_error": (slope - 1).abs().mean(-1)}


def _pair(a: Tensor, b: Tensor, order: float) -> tuple[Tensor, Tensor]:
    """Return both samples with the same leading dimensions."""
    flat = min(a.dim(), b.dim()) < 2 or 0 in (*a.shape[-2:], *b.shape[-2:])
    other_runs = min(a.dim(), b.dim()) > 2 and a.shape[:-2] != b.shape[:-2]
    if flat or other_runs or a.shape[-1] != b.shape[-1]:
        raise GameError(
            f"samples {tuple(a.shape)} and {tuple(b.shape)} do not fit: give (*S, N, p) and (*S, M, p), N, M, p >= 1"
        )
    if not 1 <= order < inf:
        raise GameError(f"order is {order}: W_r is a distance for finite r >= 1, e.g. 1 or 2")
    runs = a.shape[:-2] or b.shape[:-2]
    return a.expand(*runs, *a.shape[-2:]), b.expand(*runs, *b.shape[-2:]).to(a)
