"""Exact transport between finite samples at every scale, by the network simplex of POT."""

from __future__ import annotations

import warnings
from math import inf

import numpy as np
import torch
from torch import Tensor

from robustgames.errors import GameError

ROUNDS = 20  # of cutting the costs
PIVOTS = 10_000_000  # POT's default of 100,000 suffices for hundreds of points


def exact_cost(distance: Tensor, order: float = 1.0) -> float:
    """Return (min over couplings of mean distance^order)^(1/order) of uniform weights, distance (N, M), float64, CPU.

    An optimal vertex moves at least 1/(N M) along each pair that it uses. With a plan of cost V, dearer pairs than
    N M V are therefore not used, and are cut down to that: next to one far point, small costs would be below the
    tolerance of the network simplex.

    Raises:
        GameError: The powers of all distances that mass travels are 0, or the solver fails.
    """
    if not bool(torch.isfinite(distance).all()):
        return float("nan")
    scale = float(distance.max())
    if scale == 0:
        return 0.0
    cost = (distance / scale).pow(order).numpy()
    value, gap, cap = inf, inf, 1.0
    for _ in range(ROUNDS):
        found, gap = _network_simplex(cost, cap)
        improved, value = found < 0.5 * value, min(found, value)
        if value == 0 or not improved or value * cost.size > 0.1 * cap:
            break
        cap = value * cost.size
    if value == 0 and _network_simplex((distance > 0).double().numpy(), 1.0)[0] > 0:
        raise GameError(f"order is {order}: such powers of the distances are 0 in double precision, choose a lower one")
    if gap > 1e-6 * value:
        share = gap / value if value else inf
        warnings.warn(f"the exact transport of {cost.shape} points may be off by {share:.1g} of its cost", stacklevel=3)
    return scale * value ** (1 / order)


def _network_simplex(cost: np.ndarray, cap: float) -> tuple[float, float]:
    """Return the cost of the plan that is optimal for min(cost, cap), and its duality gap, at least the error."""
    import ot  # seconds to import

    cut = np.minimum(cost, cap)
    plan, log = ot.emd([], [], cut / cap, numItermax=PIVOTS, log=True)
    if problem := log["warning"]:
        raise GameError(f"the exact transport of {cost.shape} points failed ({problem}): use fewer points")
    u, v = cap * log["u"], cap * log["v"]
    excess = max(0.0, float((u[:, None] + v - cut).max()))
    value = float((plan * cost).sum())
    return value, value - (u.mean() + v.mean() - excess)
