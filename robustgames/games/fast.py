"""A cheaper input gradient of convolutions with few input channels, on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

CHANNELS = {torch.float32: 3, torch.bfloat16: 1}  # most input channels for which it was faster; float64 never was
FEW_OUTPUTS = 16  # up to so many, with 3 channels and stride 1, it took 0.7 to 1.3 times as long
LEAST_ROWS = 8  # below it the calls cost more than the arithmetic
MOST_THREADS = 4  # `fold` hardly uses them, oneDNN does
CACHE = 2**21  # bytes of columns at a time: more leave the cache and took up to twice as long


class InputGradient(torch.autograd.Function):
    """The identity on y = conv(x.detach()), with the input gradient fold(Wᵀ g): a matrix product and a scatter.

    oneDNN's own takes 2 to 6 times as long on one channel. The gradients in weight and bias come from y, and only if
    they are wanted. Under `create_graph` all gradients come from here, because the second derivatives need them.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, geometry: dict[str, tuple[int, ...]]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.bias = geometry, bias is not None
        ctx.mark_dirty(y)  # not a view of an argument: the next layer may work in place
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (g,), (x, weight) = grads, ctx.saved_tensors
        gx = fold_gradient(g, weight, x.shape, **ctx.geometry).to(x.dtype) if ctx.needs_input_grad[0] else None
        if not torch.is_grad_enabled():
            return gx, g, None, None, None
        gw = conv2d_weight(x.to(g.dtype), weight.shape, g, **ctx.geometry).to(weight.dtype)
        return gx, None, gw, g.sum((0, 2, 3)) if ctx.bias else None, None


def fold_gradient(
    g: Tensor,
    weight: Tensor,
    shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """Return the gradient in the input (N, C, H, W) = `shape` of a convolution, given that in its output."""
    matrix = weight.to(g.dtype).flatten(1).T
    columns = g.flatten(2)
    rows = max(1, CACHE // (len(matrix) * columns.shape[-1] * g.element_size()))
    parts = [
        functional.fold(
            torch.bmm(matrix.expand(len(part), -1, -1), part), shape[2:], weight.shape[2:], dilation, padding, stride
        )
        for part in columns.split(rows)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@contextmanager
def fast_input_gradients(model: object) -> Iterator[None]:
    """Let the convolutions of a module take their input gradient by `fold` if that is faster; leave it as it was.

    Subclasses with a forward of their own and everything compiled or scripted keep their own gradient.
    """
    chosen = _suitable(model)
    try:
        _install(chosen)
        yield
    finally:
        for module in chosen:
            module.__dict__.pop("_conv_forward", None)


def with_fast_input_gradients(model: nn.Module) -> nn.Module:
    """Return a copy of a module that has `fast_input_gradients` for good and shares its tensors.

    A module without suitable convolutions is returned itself.
    """
    if not _suitable(model):
        return model
    copied = copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})
    _install(_suitable(copied))
    return copied


def _suitable(model: object) -> list[nn.Conv2d]:
    return [module for module in _plain_modules(model) if _suits(module)]


def _install(chosen: list[nn.Conv2d]) -> None:
    # nn.Conv2d.forward calls self._conv_forward; an attribute of the instance comes before the method of the class, so
    # hooks and parametrizations keep working.
    for module in chosen:
        module.__dict__["_conv_forward"] = partial(_conv_forward, module)


def _plain_modules(model: object) -> list[nn.Module]:
    """Return the submodules that no compiled module holds."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    compiled = {id(part) for module in modules if _is_compiled(module) for part in module.modules()}
    return [module for module in modules if id(module) not in compiled]


def _is_compiled(module: nn.Module) -> bool:
    inside = module._compiled_call_impl is not None  # after module.compile()
    return inside or "_orig_mod" in module._modules or isinstance(module, torch.jit.ScriptModule)


def _suits(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(module, nn.Conv2d)
        and type(module).forward is nn.Conv2d.forward
        and type(module)._conv_forward is nn.Conv2d._conv_forward
        and not {"forward", "_conv_forward"} & module.__dict__.keys()
        and module.groups == 1
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.in_channels <= max(CHANNELS.values())
    )


def _conv_forward(module: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not _pays(x, module):
        return nn.Conv2d._conv_forward(module, x, weight, bias)
    y = nn.Conv2d._conv_forward(module, x.detach(), weight, bias)
    geometry = {"stride": module.stride, "padding": module.padding, "dilation": module.dilation}
    return InputGradient.apply(x, y, weight, bias, geometry)


def _pays(x: Tensor, module: nn.Conv2d) -> bool:
    """Return whether `fold` is faster, by a rule of shapes that was fitted to measurements.

    A measurement at first use could choose differently in the next run, whose bits would then differ.
    """
    if x.device.type != "cpu" or not (x.requires_grad and torch.is_grad_enabled()) or x.dim() != 4:
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return (
        module.in_channels <= CHANNELS.get(dtype, 0)
        and (module.in_channels < 3 or max(module.stride) > 1 or module.out_channels > FEW_OUTPUTS)
        and len(x) >= LEAST_ROWS
        and torch.get_num_threads() <= MOST_THREADS
        and torch.backends.mkldnn.is_available()
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )
