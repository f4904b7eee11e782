"""Langevin rules: steps of a gradient method with the noise that makes their iterates samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.solvers.rules import Rate, Rule, State, check_decay, check_rate, rate_at
from robustgames.streams import normal

Noise = float | Callable[[int], float]


@dataclass(frozen=True)
class Langevin(Rule):
    """z⁺ = z + lr v + noise sqrt(2 lr) ξ, ξ ~ N(0, I): stochastic gradient Langevin dynamics.

    Samples exp(-loss / noise²) as lr -> 0; on loss |z|²/2 its stationary variance is noise² / (1 - lr/2). The noise
    may be a schedule `k -> noise`. Source: Welling and Teh 2011, eq. (4); for games Hsieh, Liu and Cevher 2019.
    """

    lr: Rate
    noise: Noise = 1.0

    def __post_init__(self) -> None:
        check_rate(self.lr)
        _check_noise(self.noise)

    def init(self, z: Tensor) -> State:
        return {"k": 0}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        lr = rate_at(self.lr, k)
        return z + lr * v + _noise(z, self.noise, k, generator) * (2 * lr) ** 0.5, {"k": k}


@dataclass(frozen=True)
class PreconditionedLangevin(Rule):
    """s⁺ = decay s + (1 - decay) v², D = sqrt(s⁺) + eps, z⁺ = z + lr v / D + noise sqrt(2 lr / D) ξ, ξ ~ N(0, I).

    RMSProp with the noise that belongs to its steps. The derivative of D that exact sampling needs is left out, as
    usual. If the gradient stays 0, the noise has standard deviation noise sqrt(2 lr / eps), so eps bounds it.
    Source: Li, Chen, Carlson and Carin 2016, algorithm 1; Kamalaruban et al. 2020 (code) for games.
    """

    lr: Rate
    noise: Noise = 1.0
    decay: float = 0.99
    eps: float = 1e-5

    def __post_init__(self) -> None:
        check_rate(self.lr)
        _check_noise(self.noise)
        check_decay("decay", self.decay)
        if not 0 < self.eps < float("inf"):
            raise GameError(f"eps is {self.eps}: it must be a small number > 0, e.g. eps=1e-5")

    def init(self, z: Tensor) -> State:
        return {"k": 0, "s": torch.zeros_like(z)}

    def step(self, z: Tensor, v: Tensor, state: State, generator: Generator) -> tuple[Tensor, State]:
        k = state["k"] + 1
        s = torch.lerp(state["s"], v * v, 1 - self.decay)
        rate = rate_at(self.lr, k) / (s.sqrt() + self.eps)
        return z + rate * v + _noise(z, self.noise, k, generator) * (2 * rate).sqrt(), {"k": k, "s": s}


def _noise(z: Tensor, noise: Noise, k: int, generator: Generator) -> Tensor | float:
    """Return std ξ. Without noise nothing is drawn, so a noiseless solver sees the minibatches of its limit."""
    std = noise(k) if callable(noise) else noise
    if std == 0:
        return 0.0
    return std * normal(z.shape, generator, z.dtype)


def _check_noise(noise: Noise) -> None:
    if not callable(noise) and not 0 <= noise < float("inf"):
        raise GameError(f"noise is {noise}: it must be a standard deviation >= 0, e.g. noise=0.01")
