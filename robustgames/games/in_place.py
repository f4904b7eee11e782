"""Activations and their derivatives in memory that is given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

aten = torch.ops.aten
IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "tanh": torch.tanh_,
    "elu": torch.nn.functional.elu_,
    "leaky_relu": torch.nn.functional.leaky_relu_,
}
# (gradient in the output, output): overwrites the first by the gradient in the input
DERIVATIVES: dict[str, Callable[[Tensor, Tensor], Callable[[], Tensor]]] = {
    "relu": lambda g, h: partial(aten.threshold_backward.grad_input, g, h, 0, grad_input=g),
    "tanh": lambda g, h: partial(aten.tanh_backward.grad_input, g, h, grad_input=g),
    "elu": lambda g, h: partial(aten.elu_backward.grad_input, g, 1.0, 1.0, 1.0, True, h, grad_input=g),
    "leaky_relu": lambda g, h: partial(aten.leaky_relu_backward.grad_input, g, h, 0.01, True, grad_input=g),
}
