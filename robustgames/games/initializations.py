"""Laws of the first weights of a perceptron: uniform in ±bound, with one bound for each matrix and each bias."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise


def linear_bounds(widths: tuple[int, ...]) -> list[float]:
    """Return the bounds of `torch.nn.Linear`, for matrices and biases in turn: 1/sqrt(fan-in)."""
    return [p**-0.5 for p in widths[:-1] for _ in range(2)]


def he_bounds(widths: tuple[int, ...]) -> list[float]:
    """Return the bounds of the code of Gulrajani et al. 2017: biases are 0, and the variance of weights depends on use.

    It is 2/fan-in before an activation (He et al. 2015) and 2/(fan-in + fan-out) in the last layer (Glorot and Bengio
    2010). A uniform law in ±b has variance b²/3.

    Example:
        >>> he_bounds((2, 24, 1))
        [1.7320508075688772, 0.0, 0.4898979485566356, 0.0]
    """
    last = len(widths) - 2
    variances = (2 / (p + q if i == last else p) for i, (p, q) in enumerate(pairwise(widths)))
    return [bound for variance in variances for bound in ((3 * variance) ** 0.5, 0.0)]


INITIALIZATIONS: dict[str, Callable[[tuple[int, ...]], list[float]]] = {"linear": linear_bounds, "he": he_bounds}
