"""The peers of the games: the same steps in NumPy and in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

LR = 0.01
Draw = Callable[[Generator], tuple[Tensor, Tensor]]
Widths = tuple[int, ...]


def slope(u: Any) -> Any:
    """Return φ'(u) of Forsaken in Horner form."""
    s = u * u
    return u * (0.5 + s * (s - 2))


def numpy_step(z0: Tensor, derivative: Callable[[np.ndarray], np.ndarray]) -> Callable[[], None]:
    """Return one extragradient step of all runs in NumPy."""
    at = list(z0.double().numpy().T.copy())

    def field(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return -(y - 0.45 + derivative(x)), x - derivative(y)

    def step() -> None:
        x, y = at
        u, v = field(x, y)
        u, v = field(x + LR * u, y + LR * v)
        at[:] = x + LR * u, y + LR * v

    return step


def compiled_field(z0: Tensor) -> Callable[[], Any]:
    """Return the field of Forsaken alone, differentiated by hand, runs contiguous: no faster layout was found."""
    z = z0.T.contiguous()

    @torch.compile
    def field(z: Tensor) -> Tensor:
        return torch.stack([0.45 - z[1] - slope(z[0]), z[0] - slope(z[1])])

    return torch.no_grad()(lambda: field(z))


class BareLoop:
    """Gradient steps as one writes them without a library; two half steps are extragradient."""

    def __init__(self, payoff: Callable[[Tensor, Tensor], Tensor], z: Tensor, half_steps: int) -> None:
        self.payoff, self.half_steps = payoff, half_steps
        self.x, self.y = z[..., :1].clone(), z[..., 1:].clone()

    def step(self) -> None:
        """Take one step."""
        x, y = self.x, self.y
        for _ in range(self.half_steps):
            x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
            gx, gy = torch.autograd.grad(self.payoff(x, y).sum(), (x, y))
            x, y = self.x - LR * gx, self.y + LR * gy
        self.x, self.y = x, y


class TwoCallExtraAdam:
    """ExtraAdam as it circulates: `extrapolation()`, then `step()`; eps joins the uncorrected root, as in old Adams."""

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.5, 0.9), sign: float = 1.0
    ) -> None:
        self.parameters, self.lr, self.betas, self.sign = list(parameters), lr, betas, sign
        self.state = [{"step": 0, "m": torch.zeros_like(p), "s": torch.zeros_like(p)} for p in self.parameters]
        self.copies: list[Tensor] = []

    def _update(self, p: Tensor, state: dict[str, Any]) -> Tensor:
        grad, (b1, b2) = self.sign * p.grad, self.betas  # type: ignore[operator]
        state["step"] += 1
        state["m"].mul_(b1).add_(grad, alpha=1 - b1)
        state["s"].mul_(b2).addcmul_(grad, grad, value=1 - b2)
        size = self.lr * (1 - b2 ** state["step"]) ** 0.5 / (1 - b1 ** state["step"])
        return -size * state["m"] / state["s"].sqrt().add_(1e-8)

    @torch.no_grad()
    def extrapolation(self) -> None:
        """Remember the parameters and look ahead."""
        for p, state in zip(self.parameters, self.state, strict=True):
            update = self._update(p, state)
            self.copies.append(p.clone())
            p.add_(update)

    @torch.no_grad()
    def step(self) -> None:
        """Step from the start of the look-ahead."""
        for p, state, copy in zip(self.parameters, self.state, self.copies, strict=True):
            p.copy_(copy.add_(self._update(p, state)))
        self.copies = []


def adam_step(generator: Widths, critic: Widths, draw: Draw, device: str) -> Callable[[], None]:
    """Return one simultaneous step of two fused Adams: one backward pass has both gradients."""
    g, d, payoff = _networks(generator, critic, draw, device)
    optimizers = [
        torch.optim.Adam(module.parameters(), lr=1e-4, betas=(0.5, 0.9), fused=True, maximize=module is d)
        for module in (g, d)
    ]

    def step() -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        payoff().backward()
        for optimizer in optimizers:
            optimizer.step()

    return step


def extra_adam_step(generator: Widths, critic: Widths, draw: Draw, device: str) -> Callable[[], None]:
    """Return one step of the two-call ExtraAdam."""
    g, d, payoff = _networks(generator, critic, draw, device)
    return two_call_step(g.parameters(), d.parameters(), payoff, lr=1e-4)


def two_call_step(
    minimizer: Iterable[Tensor], maximizer: Iterable[Tensor], payoff: Callable[[], Tensor], lr: float
) -> Callable[[], None]:
    """Return one step of the two-call ExtraAdam of two players; one backward pass has both gradients."""
    optimizers = TwoCallExtraAdam(minimizer, lr), TwoCallExtraAdam(maximizer, lr, sign=-1.0)
    parameters = [p for optimizer in optimizers for p in optimizer.parameters]

    def step() -> None:
        for move in (TwoCallExtraAdam.extrapolation, TwoCallExtraAdam.step):
            for p in parameters:
                p.grad = None
            payoff().backward()
            for optimizer in optimizers:
                move(optimizer)

    return step


def _networks(
    generator: Widths, critic: Widths, draw: Draw, device: str
) -> tuple[nn.Module, nn.Module, Callable[[], Tensor]]:
    g, d = (_mlp(widths).to(device) for widths in (generator, critic))
    randomness = Generator(device).manual_seed(0)

    def payoff() -> Tensor:
        real, noise = draw(randomness)
        return d(real).mean() - d(g(noise)).mean()

    return g, d, payoff


def _mlp(widths: Widths) -> nn.Module:
    layers = [module for p, q in pairwise(widths) for module in (nn.Linear(p, q), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
