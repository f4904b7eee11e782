"""Rules: what to do with a value of the field. A rule maps (z, v) to a new point; both players ascend v.

A rule is a frozen dataclass of settings; what changes is an explicit state of tensors and integers. Every state
counts the rule's own applications in `k`, from 1. Learning rates are positive numbers, tensors of shape (*S, 1) with
one rate per run, or a schedule `k -> rate`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games.threat import ThreatModel

State = dict[str, Any]
"""Tensors, integers, and dictionaries of these: everything that changes between two steps."""
Rate = float | Tensor | Callable[[int], float]


class Rule(ABC):
    """The update of one point by one value of the field."""

    blockwise: bool = False
    """True where an update couples the coordinates of a point, so that each player needs its own application."""

    @abstractmethod
    def init(self, z: Tensor) -> State:
        """Return the state before the first application at a point like z."""

    @abstractmethod
    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        """Return (the point that follows z when the field there is v, the next state), both of new memory."""


@dataclass(frozen=True)
class InversePower:
    """lr_k = scale / k^power, the decreasing steps of Robbins-Monro schemes (½ < power <= 1).

    k counts applications of the rule: in extragradient both half steps count.

    Example:
        >>> InversePower(0.5, power=0.5)(4)
        0.25
    """

    scale: float
    power: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.scale < float("inf") and self.power >= 0):
            raise GameError(f"{self} is no decreasing schedule: scale must be positive and power >= 0")

    def __call__(self, k: int) -> float:
        return self.scale / k**self.power


@dataclass(frozen=True)
class Exponential:
    """rate_k = scale * (1 - decay)^k.

    Example:
        >>> Exponential(1.0, decay=0.5)(2)
        0.25
    """

    scale: float
    decay: float

    def __post_init__(self) -> None:
        if not (0 <= self.scale < float("inf") and 0 <= self.decay < 1):
            raise GameError(f"{self} is no decreasing schedule: scale must be >= 0 and decay in [0, 1), e.g. 1e-5")

    def __call__(self, k: int) -> float:
        return self.scale * (1 - self.decay) ** k


@dataclass(frozen=True)
class Linear:
    """lr_k falls linearly from `scale` to 0 over `steps` applications of the rule; then it stays at its last value.

    Example:
        >>> [Linear(1.0, steps=4)(k) for k in (1, 2, 4, 5)]
        [1.0, 0.75, 0.25, 0.25]
    """

    scale: float
    steps: int

    def __post_init__(self) -> None:
        if not (0 < self.scale < float("inf") and self.steps >= 1):
            raise GameError(f"{self} is no schedule: scale must be positive and steps at least 1")

    def __call__(self, k: int) -> float:
        return self.scale * (1 - (min(k, self.steps) - 1) / self.steps)


@dataclass(frozen=True)
class Triangular:
    """lr_k rises linearly from 0 to `peak` over the first quarter of `steps`, then falls linearly to 0.

    k counts applications of the rule. After `steps` the rate stays at its last positive value. Source: Smith and Topin
    2019; Wong, Rice and Kolter 2020 for adversarial training.

    Example:
        >>> rate = Triangular(1.0, steps=8)
        >>> [round(rate(k), 3) for k in (1, 2, 3, 5, 8)]
        [0.5, 1.0, 0.857, 0.571, 0.143]
    """

    peak: float
    steps: int

    def __post_init__(self) -> None:
        if not (0 < self.peak < float("inf") and self.steps >= 1):
            raise GameError(f"{self} is no schedule: peak must be positive and steps at least 1")

    def __call__(self, k: int) -> float:
        up = max(1, self.steps // 4)
        k = min(k, self.steps)
        return self.peak * (k / up if k <= up else (self.steps + 1 - k) / (self.steps + 1 - up))


@dataclass(frozen=True)
class SGD(Rule):
    """z⁺ = z + lr v."""

    lr: Rate

    def __post_init__(self) -> None:
        _check_rate(self.lr)

    def init(self, z: Tensor) -> State:
        return {"k": 0}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        return z + _rate(self.lr, k) * v, {"k": k}


@dataclass(frozen=True)
class Momentum(Rule):
    """m⁺ = beta m + v, z⁺ = z + lr m⁺: Polyak's heavy ball; beta < 0 helps alternating play on bilinear games.

    Source for negative momentum: Gidel et al. 2019, "Negative momentum for improved game dynamics".
    """

    lr: Rate
    beta: float = 0.9

    def __post_init__(self) -> None:
        _check_rate(self.lr)
        _check_decay("beta", self.beta, low=-1)

    def init(self, z: Tensor) -> State:
        return {"k": 0, "m": torch.zeros_like(z)}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        m = self.beta * state["m"] + v
        return z + _rate(self.lr, k) * m, {"k": k, "m": m}


@dataclass(frozen=True)
class RMSProp(Rule):
    """s⁺ = decay s + (1 - decay) v², z⁺ = z + lr v / (sqrt(s⁺) + eps).

    Source: Tieleman and Hinton 2012; eps as in torch.
    """

    lr: Rate
    decay: float = 0.99
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _check_rate(self.lr)
        _check_decay("decay", self.decay)
        _check_eps(self.eps)

    def init(self, z: Tensor) -> State:
        return {"k": 0, "s": torch.zeros_like(z)}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        s = torch.lerp(state["s"], v * v, 1 - self.decay)
        return z + _rate(self.lr, k) * v / (s.sqrt() + self.eps), {"k": k, "s": s}


@dataclass(frozen=True)
class Adam(Rule):
    """m⁺ = b1 m + (1-b1) v, s⁺ = b2 s + (1-b2) v², z⁺ = z + lr m̂ / (sqrt(ŝ) + eps), m̂ = m⁺/(1-b1^k), ŝ = s⁺/(1-b2^k).

    k counts the applications of this rule. Inside `Extragradient` both half steps apply it, so the exponents of
    iteration t are 2t - 1 and 2t, as in Gidel et al. 2019, algorithm 4; the lecture's slide prints the iteration
    number for both, which divides by zero at its first index k = 0. Source: Kingma and Ba 2015, algorithm 1.
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _check_rate(self.lr)
        for beta in self.betas:
            _check_decay("betas", beta)
        _check_eps(self.eps)

    def init(self, z: Tensor) -> State:
        return {"k": 0, "m": torch.zeros_like(z), "s": torch.zeros_like(z)}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k, (b1, b2) = state["k"] + 1, self.betas
        m = torch.lerp(state["m"], v, 1 - b1)
        s = torch.lerp(state["s"], v * v, 1 - b2)
        # lr m̂ / (sqrt(ŝ) + eps) with all scalars moved into the denominator: one pass less over memory
        scale = (1 / _rate(self.lr, k)) * (1 - b1**k)  # in this order a tensor rounds as a number does
        denominator = s.sqrt().mul_(scale / (1 - b2**k) ** 0.5).add_(self.eps * scale)
        return torch.addcdiv(z, m, denominator), {"k": k, "m": m, "s": s}


@dataclass(frozen=True)
class Sign(Rule):
    """z⁺ = z + lr sign(v): steepest ascent in the ℓ∞ norm, the step of FGSM and PGD attacks."""

    lr: Rate

    def __post_init__(self) -> None:
        _check_rate(self.lr)

    def init(self, z: Tensor) -> State:
        return {"k": 0}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        return z + _rate(self.lr, k) * v.sign(), {"k": k}


@dataclass(frozen=True)
class Steepest(Rule):
    """z⁺ = z + lr u, u the direction of norm 1 with the largest <v, u> in every row of `width` coordinates.

    In ℓ∞ it is `Sign`, in ℓ2 the normalized row, in ℓ1 one signed coordinate: the steps of PGD on a minibatch, whose
    rows are the perturbations of its images.

    Args:
        lr: size of the step in the norm.
        norm: "linf", "l2" or "l1".
        width: coordinates of a row; None: the whole block.
    """

    lr: Rate
    norm: str = "l2"
    width: int | None = None
    blockwise = True

    def __post_init__(self) -> None:
        _check_rate(self.lr)
        ThreatModel(self.norm)  # refuses an unknown norm

    def init(self, z: Tensor) -> State:
        return {"k": 0}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        rows = v.unflatten(-1, (-1, self.width or v.shape[-1]))
        return z + _rate(self.lr, k) * ThreatModel(self.norm).steepest(rows).flatten(-2), {"k": k}


@dataclass(frozen=True)
class Entropic(Rule):
    """z⁺ ∝ z exp(lr v) on the simplex: the mirror step of the negative entropy, multiplicative weights.

    Source: Beck and Teboulle 2003, section 5.
    """

    lr: Rate
    blockwise = True

    def __post_init__(self) -> None:
        _check_rate(self.lr)

    def init(self, z: Tensor) -> State:
        return {"k": 0}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        return torch.softmax(z.log() + _rate(self.lr, k) * v, -1), {"k": k}


@dataclass(frozen=True)
class Langevin(Rule):
    """z⁺ = z + lr v + noise sqrt(2 lr) ξ, ξ ~ N(0, I): stochastic gradient Langevin dynamics.

    Samples exp(-loss / noise²) as lr -> 0; on loss |z|²/2 its stationary variance is noise² / (1 - lr/2). The noise
    may be a schedule k -> noise, too. Source: Welling and Teh 2011, eq. (4); for games Hsieh, Liu and Cevher 2019.
    """

    lr: Rate
    noise: float | Callable[[int], float] = 1.0

    def __post_init__(self) -> None:
        _check_rate(self.lr)
        _check_noise(self.noise)

    def init(self, z: Tensor) -> State:
        return {"k": 0}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        lr = _rate(self.lr, k)
        return z + lr * v + _noise(z, _rate(self.noise, k), generator) * (2 * lr) ** 0.5, {"k": k}


@dataclass(frozen=True)
class PreconditionedLangevin(Rule):
    """s⁺ = decay s + (1 - decay) v², D = sqrt(s⁺) + eps, z⁺ = z + lr v / D + noise sqrt(2 lr / D) ξ, ξ ~ N(0, I).

    RMSProp with the noise that belongs to its steps; the derivative of D that exact sampling needs is left out, as
    usual. Where the gradient stays 0 the noise has standard deviation noise sqrt(2 lr / eps), so eps bounds it.
    Source: Li, Chen, Carlson and Carin 2016, algorithm 1; Kamalaruban et al. 2020 (code) for games.
    """

    lr: Rate
    noise: float | Callable[[int], float] = 1.0
    decay: float = 0.99
    eps: float = 1e-5

    def __post_init__(self) -> None:
        _check_rate(self.lr)
        _check_noise(self.noise)
        _check_decay("decay", self.decay)
        if not 0 < self.eps < float("inf"):
            raise GameError(f"eps is {self.eps}: a small number > 0 is needed, e.g. eps=1e-5")

    def init(self, z: Tensor) -> State:
        return {"k": 0, "s": torch.zeros_like(z)}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        s = torch.lerp(state["s"], v * v, 1 - self.decay)
        rate = _rate(self.lr, k) / (s.sqrt() + self.eps)
        return z + rate * v + _noise(z, _rate(self.noise, k), generator) * (2 * rate).sqrt(), {"k": k, "s": s}


def _noise(z: Tensor, std: float, generator: Generator) -> Tensor | float:
    """Return std ξ; without noise nothing is drawn, so that a quiet solver sees the minibatches of its limit."""
    if std == 0:
        return 0.0
    return std * torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)


def _rate(lr: Rate, k: int) -> Any:
    return lr(k) if callable(lr) else lr


def _check_rate(lr: Rate) -> None:
    if isinstance(lr, Tensor):
        if lr.dim() > 0 and lr.shape[-1] != 1:
            raise GameError(
                f"lr has shape {tuple(lr.shape)}: one rate per run has shape (runs, 1); type lr.unsqueeze(-1)"
            )
        if not bool(((lr > 0) & (lr < float("inf"))).all()):
            raise GameError(f"lr is {lr.flatten().tolist()}: every learning rate must be positive")
    elif not callable(lr) and not (isinstance(lr, int | float | np.number) and 0 < lr < float("inf")):
        raise GameError(f"lr is {lr!r}: a learning rate is a positive number, e.g. lr=0.01")


def _check_noise(noise: float | Callable[[int], float]) -> None:
    if not callable(noise) and not 0 <= noise < float("inf"):
        raise GameError(f"noise is {noise}: a standard deviation >= 0 is needed, e.g. noise=0.01")


def _check_eps(eps: float) -> None:
    if not 0 <= eps < float("inf"):
        raise GameError(f"eps is {eps}: a small number >= 0 is needed, e.g. eps=1e-8")


def _check_decay(name: str, value: float, low: float = 0) -> None:
    if not low <= value < 1:
        raise GameError(f"{name} is {value}: it must lie in [{low:g}, 1)")
