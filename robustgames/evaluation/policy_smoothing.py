"""Certified returns of smoothed policies: lower bounds that hold under every attack on what the policy observes.

A smoothed policy adds noise η_t ~ N(0, σ² I) to each observation before it acts, π(o_t + η_t). An adversary shows
o_t + δ_t instead, before the noise. It may know everything up to the state s_t, all former noise and actions too, but
not the noise to come, and its budget over the whole episode is

    Σ_t |δ_t|² <= B².

**Theorem** (Kumar, Levine and Feizi 2021). For every event A of an episode, such as "the return is at least r",

    P_attacked(A) >= Φ(Φ⁻¹(P(A)) - B / σ),        P being the probability without an attack,

and no larger bound holds for all policies and envs: on a half-space of the noises it is attained.

*Proof.* The attack turns the noises, given the past, from N(0, σ² I) into N(δ_t, σ² I). One more component with shift
sqrt(B² - Σ |δ_t|²), which nothing observes, spends the rest of the budget. Then the log-likelihood ratio is
M - B² / 2σ² with M = Σ <δ_t, x_t> / σ², where x_t is N(0, σ² I) without an attack and δ_t depends on the past alone. So
E exp(u M) = exp(u² B² / 2σ²) by induction over t: M is N(0, B² / σ²), as if δ were fixed. The lemma of Neyman and
Pearson for N(0, 1) against N(B / σ, 1) gives the bound. ∎

It needs no continuity of the policy, which may have a memory, and none of the env. P(A) is estimated from episodes
without an attack, see `survival_bounds`; the result is wrong with probability at most alpha.

Source: Kumar, Levine and Feizi 2021, "Policy smoothing for provably robust reinforcement learning", theorem 1 and
section 4 (there with thresholds or the DKW inequality); the same curve for one step in Cohen et al. 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from robustgames.certificates.verdicts import lower_bound
from robustgames.errors import GameError

LEVEL = 0.5
"""Level of the certified quantile: the median."""


def survival_bounds(values: np.ndarray, alpha: float = 0.001) -> tuple[np.ndarray, np.ndarray]:
    """Return (x, p), the sorted values and bounds p_k <= P(R >= x_k) that hold for all k at once.

    p_k is the larger one of two bounds, each of which is wrong with probability at most alpha / 2:

    * (n - k + 1) / n - sqrt(ln(2 / alpha) / 2n) (Dvoretzky, Kiefer and Wolfowitz 1956; constant of Massart 1990),
    * that of Clopper and Pearson 1934 at alpha / 2n for n - k + 1 successes in n, which is sharper near 1.

    With k = 1, …, n the bounds hold for all thresholds, since P(R >= r) falls in r.

    Args:
        values: Independent samples of R, (n,).
        alpha: Probability that one of the bounds is wrong, in (0, 1).

    Example:
        >>> x, p = survival_bounds(np.ones(1000), alpha=0.001)
        >>> round(float(p[0]), 4)
        0.9856
    """
    if not 0 < alpha < 1:
        raise GameError(f"alpha is {alpha}: the probability of a wrong certificate lies in (0, 1), e.g. alpha=0.001")
    x = np.sort(np.asarray(values, dtype=np.float64).reshape(-1))
    n = len(x)
    if n == 0 or not np.isfinite(x).all():
        raise GameError(f"{n} returns, {int(np.isfinite(x).sum())} of them finite: a certificate needs finite ones")
    successes = n - np.arange(n)
    uniform = successes / n - sqrt(log(2 / alpha) / (2 * n))
    exact = lower_bound(successes, n, alpha / (2 * n))
    return x, np.maximum(uniform, exact)


@dataclass(frozen=True, eq=False)
class CertifiedReturns:
    """Returns of a smoothed policy without an attack, and what they prove about every attack.

    Budgets B have the units of the noise. Bounds for all budgets and thresholds hold together.

    Attributes:
        returns: Undiscounted returns of independent episodes of the smoothed policy, (n,).
        noise: Standard deviation σ of the noise, > 0.
        alpha: Probability that the certificate is wrong.
        least: Number that no return is below, attacked or not; without it there are no bounds of the mean.

    Raises:
        GameError: A noise that is not positive, a `least` that is not finite, or a return below it.

    Example:
        >>> found = CertifiedReturns(np.full(1000, 500.0), noise=0.2, least=0.0)
        >>> float(found.probability(500.0, budget=0.0).round(3)), float(found.mean([0.0, 0.2])[1].round(1))
        (0.986, 441.1)
    """

    returns: np.ndarray
    noise: float
    alpha: float = 0.001
    least: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.noise < float("inf"):
            raise GameError(f"noise is {self.noise}: a smoothed policy has noise > 0 on its observations, e.g. 0.2")
        x, p = survival_bounds(self.returns, self.alpha)
        if self.least is not None and not -float("inf") < self.least < float("inf"):
            raise GameError(f"least is {self.least}: a finite number that no return is below, e.g. least=0.0, or None")
        if self.least is not None and x[0] < self.least:
            raise GameError(f"least is {self.least:g}, but an episode returned {x[0]:g}: no return may be below it")
        object.__setattr__(self, "_x", x)
        object.__setattr__(self, "_p", p)

    def _attacked(self, budget: Any) -> np.ndarray:
        """Return lower bounds of P_attacked(R >= x_k), (*budgets, n)."""
        radius = np.asarray(budget, dtype=np.float64)
        if not (np.isfinite(radius) & (radius >= 0)).all():
            raise GameError(f"budget is {budget}: the adversary's budget over an episode is finite and >= 0, e.g. 0.1")
        return ndtr(ndtri(np.clip(self._p, 0, 1)) - radius[..., None] / self.noise)  # type: ignore[attr-defined]

    def probability(self, threshold: float, budget: Any) -> np.ndarray:
        """Return a lower bound of the probability that the return is at least `threshold`, (*budgets,)."""
        bounds, k = self._attacked(budget), int(np.searchsorted(self._x, threshold))  # type: ignore[attr-defined]
        return bounds[..., k] if k < bounds.shape[-1] else np.zeros(bounds.shape[:-1])

    def quantile(self, budget: Any, level: float = LEVEL) -> np.ndarray:
        """Return the largest r for which P(R >= r) >= level is certified, (*budgets,); -inf if there is none.

        It needs no bound of the returns. With level 1/2 it is below the median return under every attack.
        """
        if not 0 < level < 1:
            raise GameError(f"level is {level}: a probability in (0, 1), e.g. level=0.5")
        count = (self._attacked(budget) >= level).sum(-1)  # the bounds fall with k
        return np.concatenate([[-np.inf], self._x])[count]  # type: ignore[attr-defined]

    def mean(self, budget: Any) -> np.ndarray:
        """Return a lower bound of the mean return, least + ∫ P(R >= r) dr over r >= least, (*budgets,).

        Raises:
            GameError: There is no `least`: one rare attacked episode could then move the mean to any number.
        """
        if self.least is None:
            raise GameError("a bound of the mean needs the least return: pass least=0.0 if no reward is negative")
        steps = np.diff(self._x, prepend=self.least)  # type: ignore[attr-defined]
        return self.least + self._attacked(budget) @ steps

    def to_dict(self) -> dict[str, Any]:
        """Return lists and numbers for JSON."""
        rest = {"noise": self.noise, "alpha": self.alpha, "least": self.least}
        return {"returns": np.asarray(self.returns).tolist(), **rest}
