"""The classifier under attack: its logits, the gradient of a loss in its input, and a count of both."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robustgames.errors import GameError
from robustgames.games.fast import fast_input_gradients

Model = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor], Tensor]  # logits (N, C) -> (N,)
MODE_DEPENDENT = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


class Victim:
    """A classifier under attack: inputs (N, ...) -> logits (N, C).

    Gradients are taken in the input alone: no `param.grad` is read or written. Under attack a module is in evaluation
    mode; every submodule's own mode is restored afterwards, so BatchNorm's statistics do not change.

    Args:
        model: Module, or any differentiable function on tensors.
        precision: Data type of the model's arithmetic under autocast. If None, it is the model's own. Inputs and
            perturbations keep theirs, so ball and box hold exactly.

    Example:
        >>> victim = Victim(nn.Linear(2, 3))
        >>> x_adv = rg.attacks.fgsm(victim, torch.rand(5, 2), torch.zeros(5, dtype=torch.long), eps=0.1)
        >>> victim.forwards, victim.backwards    # images that passed through
        (5, 5)
    """

    def __init__(self, model: Model, precision: torch.dtype | None = None) -> None:
        if not callable(model):
            raise GameError(f"{model!r} is not a classifier: pass a torch.nn.Module or a function images -> logits")
        self.model, self.precision = model, precision
        self.forwards = self.backwards = 0
        self._checked, self._classes = False, 2

    @contextmanager
    def under_attack(self, classes: int = 2) -> Iterator[None]:
        """Set the modules to evaluation mode, require so many classes, and restore both afterwards."""
        modules = list(self.model.modules()) if isinstance(self.model, nn.Module) else []
        training, before = [module.training for module in modules], self._classes
        if any(mode and isinstance(module, MODE_DEPENDENT) for module, mode in zip(modules, training, strict=True)):
            warnings.warn(
                "the model is in training mode: it is attacked in evaluation mode, and set back", stacklevel=4
            )
        try:
            self._classes = max(classes, 2)
            for module in modules:
                module.training = False
            with torch.inference_mode(False), fast_input_gradients(self.model):
                yield
        finally:
            self._classes = before
            for module, mode in zip(modules, training, strict=True):
                module.training = mode

    def logits(self, inputs: Tensor) -> Tensor:
        """Return the logits (N, C), without a graph."""
        with torch.no_grad():
            return self._call(inputs)

    def gradient(self, inputs: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
        """Return (logits (N, C), losses (N,), gradient of each loss in its own input)."""
        inputs = inputs.detach().requires_grad_()
        with torch.enable_grad():
            logits = self._call(inputs)
            values = loss(logits)
        self.backwards += len(inputs)
        return logits.detach(), values.detach(), _gradient_of(values, inputs)

    def gradients(self, inputs: Tensor, losses: Loss) -> tuple[Tensor, Tensor, Tensor]:
        """Return (logits (N, C), k losses (N, k), gradient of each in its own input (N, k, ...)), from one graph."""
        inputs = inputs.detach().requires_grad_()
        with torch.enable_grad():
            logits = self._call(inputs)
            values = losses(logits)
            columns = values.unbind(1)
        self.backwards += len(inputs) * len(columns)
        gs = [_gradient_of(v, inputs, keep=i < len(columns) - 1) for i, v in enumerate(columns)]
        return logits.detach(), values.detach(), torch.stack(gs, 1)

    def _call(self, inputs: Tensor) -> Tensor:
        self.forwards += len(inputs)
        if self.precision is None:
            logits = self.model(inputs)
        else:
            with torch.autocast(inputs.device.type, self.precision):
                logits = self.model(inputs).to(inputs.dtype)
        if not self._checked:  # only once, because each of these checks waits for the device
            _check_logits(logits, len(inputs))
            self._checked = True
        if logits.shape[-1] < self._classes:
            raise GameError(
                f"labels or targets go up to {self._classes - 1}, but the model has {logits.shape[-1]} classes: "
                f"class numbers 0 … {logits.shape[-1] - 1} are allowed"
            )
        return logits


def _gradient_of(values: Tensor, inputs: Tensor, keep: bool = False) -> Tensor:
    """Return the gradient of the values in the inputs."""
    g = None
    if values.requires_grad:
        (g,) = torch.autograd.grad(values, inputs, torch.ones_like(values), retain_graph=keep, allow_unused=True)
    if g is None:
        raise GameError("no gradient reaches the input: the model detaches it, rounds it or leaves torch")
    return g


def _check_logits(logits: object, count: int) -> None:
    """Refuse logits of the wrong shape and non-finite ones, and warn of probabilities."""
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != count or logits.shape[1] < 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise GameError(
            f"the model returned {shape} for {count} inputs: logits of shape ({count}, classes >= 2) are needed"
        )
    if not bool(torch.isfinite(logits).all()):
        lost = int((~torch.isfinite(logits).all(-1)).sum())
        raise GameError(
            f"the model returned logits that are not finite for {lost} of {count} inputs: look at its weights"
        )
    sums = logits.sum(-1)
    if bool((logits >= 0).all() and (logits <= 1).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-4)):
        warnings.warn(
            "the model returns probabilities: attacks need logits, whose gradients do not vanish; remove its softmax",
            stacklevel=5,
        )
