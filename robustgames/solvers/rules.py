"""Rules: what to do with a value of the field. A rule maps (z, v) to a new point; both players ascend v.

A rule is a frozen dataclass of settings; what changes is an explicit state of tensors and integers. Every state
counts the rule's own applications in `k`, from 1. A learning rate is a positive number, a tensor of shape (*S, 1) with
one rate per run, or a schedule `k -> rate`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games.projections import signs
from robustgames.games.threat import ThreatModel, convex_norm

State = dict[str, Any]
"""Tensors, integers, and dictionaries of these: everything that changes between two steps."""
LEAST_EPS = 1e-30  # below it, eps times a number may underflow
Rate = float | Tensor | Callable[[int], float]


class Rule(ABC):
    """The update of one point by one value of the field."""

    blockwise: bool = False
    """True if an update couples the coordinates of a point. Each player then needs an application of its own."""

    @abstractmethod
    def init(self, z: Tensor) -> State:
        """Return the state before the first application at a point like z."""

    @abstractmethod
    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        """Return (the point that follows z when the field there is v, the next state), both of new memory."""

    def consume(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        """Return what `step` does; the tensors of the state may be overwritten, as nobody else holds them."""
        return self.step(z, v, state, generator)

    def rewind(self, state: State, before: State) -> State:
        """Return the state after a look-ahead, for the step from the point before it.

        By default it is the state after the look-ahead: its moments and count. A rule that keeps a point in its state
        takes that point from `before`.

        Args:
            state: State after the look-ahead.
            before: State before it.
        """
        return state


@dataclass(frozen=True)
class SGD(Rule):
    """z⁺ = z + lr v."""

    lr: Rate

    def __post_init__(self) -> None:
        check_rate(self.lr)

    def init(self, z: Tensor) -> State:
        return {"k": 0}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        return z + rate_at(self.lr, k) * v, {"k": k}


@dataclass(frozen=True)
class Momentum(Rule):
    """m⁺ = beta m + v, z⁺ = z + lr m⁺: Polyak's heavy ball; beta < 0 helps alternating play on bilinear games.

    Source for negative momentum: Gidel et al. 2019, "Negative momentum for improved game dynamics".
    """

    lr: Rate
    beta: float = 0.9

    def __post_init__(self) -> None:
        check_rate(self.lr)
        check_decay("beta", self.beta, low=-1)

    def init(self, z: Tensor) -> State:
        return {"k": 0, "m": torch.zeros_like(z)}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        m = self.beta * state["m"] + v
        return z + rate_at(self.lr, k) * m, {"k": k, "m": m}


@dataclass(frozen=True)
class RMSProp(Rule):
    """s⁺ = decay s + (1 - decay) v², z⁺ = z + lr v / (sqrt(s⁺) + eps).

    Source: Tieleman and Hinton 2012; eps as in torch.
    """

    lr: Rate
    decay: float = 0.99
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check_rate(self.lr)
        check_decay("decay", self.decay)
        _check_eps(self.eps)

    def init(self, z: Tensor) -> State:
        return {"k": 0, "s": torch.zeros_like(z)}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        s = torch.lerp(state["s"], v * v, 1 - self.decay)
        root = s.sqrt() + self.eps
        return z + rate_at(self.lr, k) * v / no_zero(root, self.eps), {"k": k, "s": s}


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
        check_rate(self.lr)
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise GameError(f"betas is {self.betas!r}: it must be two numbers in [0, 1), e.g. (0.9, 0.999)")
        for beta in self.betas:
            check_decay("betas", beta)
        _check_eps(self.eps)

    def init(self, z: Tensor) -> State:
        return {"k": 0, "m": torch.zeros_like(z), "s": torch.zeros_like(z)}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k, (b1, b2) = state["k"] + 1, self.betas
        m = torch.lerp(state["m"], v, 1 - b1)
        s = torch.lerp(state["s"], v * v, 1 - b2)
        # lr m̂ / (sqrt(ŝ) + eps) with all scalars moved into the denominator: one pass less over memory
        scale = (1 / rate_at(self.lr, k)) * (1 - b1**k)  # in this order a tensor rounds as a number does
        denominator = s.sqrt().mul_(scale / (1 - b2**k) ** 0.5).add_(self.eps * scale)
        return torch.addcdiv(z, m, no_zero(denominator, self.eps)), {"k": k, "m": m, "s": s}


@dataclass(frozen=True)
class Sign(Rule):
    """z⁺ = z + lr sign(v): steepest ascent in the ℓ∞ norm, the step of FGSM and PGD attacks."""

    lr: Rate

    def __post_init__(self) -> None:
        check_rate(self.lr)

    def init(self, z: Tensor) -> State:
        return {"k": 0}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        return z + rate_at(self.lr, k) * signs(v), {"k": k}


@dataclass(frozen=True)
class Steepest(Rule):
    """z⁺ = z + lr u, with u the direction of norm 1 that maximizes <v, u> in every row of `width` coordinates.

    In ℓ∞ it is `Sign`, in ℓ2 the normalized row, in ℓ1 one signed coordinate: the steps of PGD on a minibatch, whose
    rows are the perturbations of its images.

    Args:
        lr: Size of the step in the norm.
        norm: "linf", "l2" or "l1", also spelled as in `ThreatModel`.
        width: Number of coordinates of a row. If None, a row is the whole block.
        coordinates: Number of coordinates in ℓ1 that share the step in equal parts, those of the largest |v|. One is
            steepest, but a pixel has room for a part of the step only. Source: Maini, Wong and Kolter 2020.
    """

    lr: Rate
    norm: str = "l2"
    width: int | None = None
    coordinates: int = 1
    blockwise = True

    def __post_init__(self) -> None:
        check_rate(self.lr)
        object.__setattr__(self, "norm", convex_norm(self.norm, "Steepest"))
        if self.coordinates < 1 or (self.coordinates > 1 and self.norm != "l1"):
            raise GameError(f"coordinates is {self.coordinates}: a number >= 1 for steps in l1, 1 in other norms")

    def init(self, z: Tensor) -> State:
        return {"k": 0}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        rows = v.unflatten(-1, (-1, self.width or v.shape[-1]))
        if self.coordinates > 1:
            u = _top(rows, min(self.coordinates, rows.shape[-1]))
        else:
            u = signs(rows) if self.norm == "linf" else ThreatModel(self.norm).steepest(rows)
        return z + rate_at(self.lr, k) * u.flatten(-2), {"k": k}


def _top(v: Tensor, count: int) -> Tensor:
    """Return the signs of the coordinates of largest modulus of each row, divided by their number, and 0 elsewhere."""
    best = v.abs().topk(count, dim=-1).indices
    return torch.zeros_like(v).scatter(-1, best, signs(v).gather(-1, best) / count)


@dataclass(frozen=True)
class Entropic(Rule):
    """z⁺ ∝ z exp(lr v) on the simplex: the mirror step of the negative entropy, multiplicative weights.

    The state keeps the log-weights w of its last point, z = softmax(w), so the step is w⁺ = w + lr v. In z a small
    probability would be rounded to 0, and its action could not return. A step from any other point starts from log z.

    Source: Beck and Teboulle 2003, section 5.
    """

    lr: Rate
    blockwise = True

    def __post_init__(self) -> None:
        check_rate(self.lr)

    def init(self, z: Tensor) -> State:
        return {"k": 0, "w": z.log()}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        w = torch.log_softmax(log_weights(z, state.get("w")) + rate_at(self.lr, k) * v, -1)
        return w.exp(), {"k": k, "w": w}

    def rewind(self, state: State, before: State) -> State:
        return {**state, "w": before["w"]} if "w" in before else {"k": state["k"]}


def log_weights(z: Tensor, w: Tensor | None) -> Tensor:
    """Return w in the rows in which z is softmax(w) up to the rounding of a projection, else log z."""
    if w is None:  # a checkpoint of an earlier version
        return z.log()
    rounding = 4 * max(4, z.shape[-1]) * torch.finfo(z.dtype).eps
    represented = ((w.softmax(-1) - z).abs() <= rounding).all(-1, keepdim=True)
    return torch.where(represented, w, z.log())


def rate_at(lr: Rate, k: int) -> float | Tensor:
    """Return the learning rate of application k, a number or a tensor of shape (*S, 1)."""
    return lr(k) if callable(lr) else lr


def no_zero(denominator: Tensor, eps: float) -> Tensor:
    """Return a denominator √s + eps with infinity for 0: no step where the squares of all gradients are, or became, 0.

    It is returned as it is if eps is large enough to keep it from 0.
    """
    return denominator if eps >= LEAST_EPS else torch.where(denominator == 0, float("inf"), denominator)


def check_rate(lr: Rate) -> None:
    """Raise a `GameError` unless a learning rate is positive and has one of the forms of `Rate`."""
    if isinstance(lr, Tensor):
        if lr.dim() > 0 and lr.shape[-1] != 1:
            raise GameError(
                f"lr has shape {tuple(lr.shape)}: one rate per run has shape (runs, 1); type lr.unsqueeze(-1)"
            )
        if lr.is_complex() or lr.dtype == torch.bool:
            raise GameError(f"lr is a tensor of {lr.dtype}: a learning rate is a positive number, e.g. lr=0.01")
        if not bool(((lr > 0) & (lr < float("inf"))).all()):
            raise GameError(f"lr is {lr.flatten().tolist()}: every learning rate must be positive")
    elif not callable(lr) and not (_is_number(lr) and 0 < lr < float("inf")):
        raise GameError(f"lr is {lr!r}: a learning rate is a positive number, e.g. lr=0.01")


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def is_whole(value: Any, least: int) -> bool:
    """Return whether a value is a whole number of at least `least`: a count such as 2.5 would match no step, or few."""
    return _is_number(value) and value >= least and value % 1 == 0


def _check_eps(eps: float) -> None:
    if not (_is_number(eps) and 0 <= eps < float("inf")):
        raise GameError(f"eps is {eps}: it must be a small number >= 0, e.g. eps=1e-8")


def check_decay(name: str, value: float, low: float = 0) -> None:
    """Raise a `GameError` unless a decay lies in [low, 1)."""
    if not (_is_number(value) and low <= value < 1):
        raise GameError(f"{name} is {value}: it must lie in [{low:g}, 1)")
