"""BPDA: gradients through a step of a defense that has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from robustgames.errors import GameError


class BPDA(nn.Module):
    """A step of a defense with the gradient of a substitute (backward pass differentiable approximation).

    The forward pass is y = step(x), exactly. The backward pass is that of a differentiable substitute s(x) ≈ step(x):
    ∂y/∂x := ∂s/∂x, by default that of the identity. Attacks with gradients then get through rounding, quantization,
    compression and other purification in front of a network, whose own gradient is zero or missing. A robust accuracy
    without BPDA is that of masked gradients. Source: Athalye, Carlini and Wagner 2018, section 4.1.

    Args:
        step: Step of the defense, a function of inputs (N, ...). It is called without a graph.
        substitute: Differentiable function of inputs (N, ...) with outputs of the shape of the step's. If None, it is
            the identity, and the step must keep the shape.

    Raises:
        GameError: In the forward pass, if step and substitute give different shapes.

    Example:
        >>> rounded = BPDA(lambda x: (8 * x).round() / 8)
        >>> x = torch.tensor([0.30], requires_grad=True)
        >>> rounded(x), torch.autograd.grad(rounded(x).sum(), x)[0]
        (tensor([0.2500], grad_fn=<_SubstituteBackward>), tensor([1.]))
    """

    def __init__(self, step: Callable[[Tensor], Tensor], substitute: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.step, self.substitute = step, substitute

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.step(x.detach().clone())  # a step may work in place
        s = x if self.substitute is None else self.substitute(x)
        if s.shape != y.shape:
            which = "the identity gives" if self.substitute is None else "its substitute gives"
            raise GameError(
                f"the step of BPDA gives {tuple(y.shape)}, {which} {tuple(s.shape)}: pass a substitute with the shape "
                "of the step, e.g. BPDA(step, substitute=lambda x: x.flatten(1))"
            )
        return _Substitute.apply(y, s)


class _Substitute(torch.autograd.Function):
    """The value of y with the gradient of s."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, s: Tensor) -> Tensor:
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        return None, grad_outputs[0]
