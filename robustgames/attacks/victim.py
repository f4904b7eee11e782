"""The classifier under attack: its logits, the gradient of a loss in its input, and a count of both."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import isfinite

import torch
from torch import Tensor, nn

from robustgames.attacks.halving import in_parts
from robustgames.attacks.narrow import widen
from robustgames.attacks.reach import evaluation_mode, largest_output
from robustgames.errors import GameError
from robustgames.games.fast import fast_input_gradients

Model = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, slice], Tensor]  # (logits of some rows, which rows) -> (rows,) or (rows, k)
CACHE = 2**22  # bytes of the largest layer: memory beyond the cache is slow
FRESH = 2**25  # bytes from which malloc maps new pages for every layer, and unmaps them: half of the time and more
ALL = slice(None)
FIRST = 2  # rows whose pass shows the size of the layers
LEAST = 16  # fewest rows that pass together, because each pass has a cost of its own
KEPT = 256  # passes that are checked together, because each check waits for the device


class Victim:
    """A classifier under attack: inputs (N, ...) -> logits (N, C).

    Gradients are taken in the input alone: no `param.grad` is read or written. Under attack the modules that the model
    reaches (`reach.reachable_modules`) are in evaluation mode; each one's own mode is restored afterwards, so
    BatchNorm's statistics do not change. A model that changes its input in place works on a copy.

    Args:
        model: Module, or any differentiable function on tensors.
        precision: Data type of the model's arithmetic under autocast. If None, it is the model's own. Inputs and
            perturbations keep theirs, so ball and box hold exactly.

    Example:
        >>> victim = Victim(torch.nn.Linear(2, 3))
        >>> x_adv = rg.attacks.fgsm(victim, torch.rand(5, 2), torch.zeros(5, dtype=torch.long), eps=0.1)
        >>> victim.forwards, victim.backwards    # images that passed through
        (5, 5)
    """

    def __init__(self, model: Model, precision: torch.dtype | None = None) -> None:
        if not callable(model):
            raise GameError(f"{model!r} is not a classifier: pass a torch.nn.Module or a function images -> logits")
        self.model, self.precision = model, precision
        self.forwards = self.backwards = 0
        self._modes = None
        self._lost: list[tuple[Tensor, int]] = []  # (rows whose gradient was NaN, of how many) in some passes
        self.lost: Tensor | None = None  # mask of the rows whose gradient was NaN in the last pass, if there are any
        self.gradients_zero: tuple[int, int] | None = None  # rows without a gradient in the first pass, of how many
        self._checked, self._classes, self._changes_inputs = False, 2, False
        self._zeros: Tensor | None = None  # 0 times the logits of the unchecked passes, so far as these are finite
        self._unchecked = 0
        self.fits: int | None = None  # rows that fit into the memory of the device together, once a batch has not
        self.row_bytes = 0  # bytes of the largest output of a layer for one row; 0 if unknown

    @contextmanager
    def under_attack(self, classes: int = 2) -> Iterator[None]:
        """Set the modules to evaluation mode, require so many classes, and restore both afterwards.

        Raises:
            GameError: At the end, if logits were not finite.
        """
        before, self._checked = self._classes, False
        self._lost, self.gradients_zero, self._zeros = [], None, None
        try:
            self._classes = max(classes, 2)
            with evaluation_mode(self.model) as self._modes:
                if self._modes.mattered:
                    warnings.warn(
                        "the model is in training mode: it is attacked in evaluation mode, and set back", stacklevel=4
                    )
                with torch.inference_mode(False), fast_input_gradients(self.model):
                    yield
                    self.check_finite()
        finally:
            self._classes, self._modes = before, None

    def gradients_lost(self) -> tuple[int, int]:
        """Return the largest number of rows of one pass whose gradient was NaN, and the number of its rows."""
        return max(((int(lost), count) for lost, count in self._lost), default=(0, 0))

    def check_finite(self) -> None:
        """Refuse the logits since the last check if some were not finite; this waits for the device."""
        zeros, self._zeros, self._unchecked = self._zeros, None, 0
        if zeros is not None and not bool(torch.isfinite(zeros).all()):
            raise _not_finite(int((~torch.isfinite(zeros).all(-1)).sum()), len(zeros))

    def logits(self, inputs: Tensor) -> Tensor:
        """Return the logits (N, C), without a graph."""
        with torch.no_grad():
            (logits,) = self._by_parts(inputs, lambda part, rows: (self._call(part),))
            return logits

    def gradient(self, inputs: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
        """Return (logits (N, C), losses (N,), gradient of each loss in its own input)."""
        logits, values, g = self._by_parts(inputs, partial(self._gradient, loss))
        return logits, values, self._usable(g, logits, 1)

    def gradients(self, inputs: Tensor, losses: Loss) -> tuple[Tensor, Tensor, Tensor]:
        """Return (logits (N, C), k losses (N, k), gradient of each in its own input (N, k, ...)), from one graph."""
        logits, values, g = self._by_parts(inputs, partial(self._gradients, losses))
        return logits, values, self._usable(g, logits, 2)

    def _gradient(self, loss: Loss, inputs: Tensor, rows: slice) -> tuple[Tensor, ...]:
        inputs = inputs.detach().requires_grad_()
        with torch.enable_grad():
            logits = self._call(inputs)
            values = loss(logits, rows)
            g = _gradient_of(values, inputs)
        self.backwards += len(inputs)
        return logits.detach(), values.detach(), g

    def _gradients(self, losses: Loss, inputs: Tensor, rows: slice) -> tuple[Tensor, ...]:
        inputs = inputs.detach().requires_grad_()
        with torch.enable_grad():
            logits = self._call(inputs)
            values = losses(logits, rows)
            columns = values.unbind(1)
            gs = [_gradient_of(v, inputs, keep=i < len(columns) - 1) for i, v in enumerate(columns)]
        self.backwards += len(inputs) * len(columns)
        return logits.detach(), values.detach(), torch.stack(gs, 1)

    def _by_parts(self, inputs: Tensor, once: Callable[[Tensor, slice], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Return what `once` returns for the parts of the rows, joined."""
        count = len(inputs)
        if count == 0:
            return once(inputs, ALL)
        start = min(FIRST, count) if self._size_is_to_be_seen(inputs) else 0
        done = [once(inputs[:start], slice(start))] if start else []
        before = self.forwards, self.backwards

        def of_part(rows: slice) -> tuple[Tensor, ...]:
            if rows.start == 0:  # the first part, perhaps after one that did not fit
                self.forwards, self.backwards = before
            rows = slice(start + rows.start, min(start + rows.stop, count))
            return once(inputs, ALL) if rows == slice(count) else once(inputs[rows], rows)

        if start < count:
            each = self._together(inputs, count - start)
            rest, fits = in_parts(count - start, each, of_part)
            done += rest
            if fits < min(each, count - start):
                self.fits = fits
        return done[0] if len(done) == 1 else tuple(torch.cat(part) for part in zip(*done, strict=True))

    def _size_is_to_be_seen(self, inputs: Tensor) -> bool:
        """Return whether a pass of few rows has to show first how large the layers are: inputs are large themselves."""
        unknown = self.row_bytes == 0 and isinstance(self.model, nn.Module)
        return unknown and not inputs.is_cuda and inputs.numel() * inputs.element_size() > CACHE

    def _together(self, inputs: Tensor, count: int) -> int:
        """Return how many of the rows pass through the model together: on a CPU its layers then stay in the cache."""
        most, row = count if self.fits is None else self.fits, self.row_bytes
        if inputs.is_cuda or count * row <= CACHE:
            return most
        each = -(-count // max(min(-(-count * row // CACHE), count // LEAST), 1))
        return min(most, max(min(each, (FRESH - 1) // row), 1))

    def differentiable(self, inputs: Tensor) -> Tensor:
        """Return the logits (N, C) with their graph, for the optimizer of another library; passes back are counted."""
        logits = self._call(inputs)
        if logits.requires_grad:
            logits.register_hook(lambda _: self._count_back(len(inputs)))
        return logits

    def _count_back(self, count: int) -> None:
        self.backwards += count

    def plain(self, inputs: Tensor) -> Tensor:
        """Return the logits of inputs that were counted and checked before."""
        with torch.no_grad():
            return self._forward(inputs.clone() if self._changes_inputs else inputs)

    def count_pass(self, logits: Tensor, count: int) -> None:
        """Count and check a pass of some images whose logits were computed otherwise."""
        self.forwards += count
        self._check_later(logits)

    def _usable(self, g: Tensor, logits: Tensor, dims: int) -> Tensor:
        """Return the gradients (N, ...) with 0 in place of those that are NaN, and count them."""
        if self.gradients_zero is None:
            zero = (g == 0).reshape(len(g), -1).all(-1)
            self.gradients_zero = int(zero.sum()), len(zero)
        if not g.is_cuda and isfinite(torch.dot(flat := g.reshape(-1), flat).item()):  # the cheapest look at all of g
            self.lost = None
            return widen(g)
        rows = widen(g).reshape(*g.shape[:dims], -1)
        lost = torch.isnan(rows).any(-1)
        self.lost = lost.reshape(len(rows), -1).any(-1)
        self._lost.append((self.lost.sum(), len(rows)))
        return torch.where(lost.unsqueeze(-1), 0, rows).nan_to_num().view_as(g)  # the largest number for infinity

    def _call(self, inputs: Tensor) -> Tensor:
        self.forwards += len(inputs)
        if not self._checked:  # only once, because each of these checks waits for the device
            logits = self._first_call(inputs)
            self._checked = True
        else:
            logits = self._forward(inputs.clone() if self._changes_inputs else inputs)
            self._check_later(logits.detach())
        if logits.shape[-1] < self._classes:
            raise GameError(
                f"labels or targets go up to {self._classes - 1}, but the model has {logits.shape[-1]} classes: "
                f"class numbers 0 … {logits.shape[-1] - 1} are allowed"
            )
        return logits

    def _check_later(self, logits: Tensor) -> None:
        """Remember whether logits are finite, without waiting for the device or keeping them: 0 times inf is NaN."""
        if self._zeros is None or self._zeros.shape != logits.shape:
            self.check_finite()
            self._zeros = torch.zeros_like(logits)
        self._zeros.add_(logits, alpha=0)
        self._unchecked += 1
        if self._unchecked >= KEPT:
            self.check_finite()

    def _forward(self, inputs: Tensor) -> Tensor:
        if self.precision is None:
            return widen(self.model(inputs))
        with torch.autocast(inputs.device.type, self.precision):
            return widen(self.model(inputs).to(inputs.dtype))

    def _first_call(self, inputs: Tensor) -> Tensor:
        """Return the logits; find out whether the model changes its input, and modules that run in training mode."""
        given = inputs.clone()
        if self._modes is None:
            logits = self._forward(given)
        else:
            with self._modes.catch() as caught, largest_output() as largest:
                logits = self._forward(given)
            if isinstance(self.model, nn.Module):  # a function may know its rows by their places: it gets all of them
                self.row_bytes = largest() // max(len(inputs), 1)
            if caught:
                warnings.warn(
                    f"a {type(caught[0]).__name__} that the model does not reach through attributes, closures or "
                    "globals is in training mode: it is attacked in evaluation mode, and set back",
                    stacklevel=5,
                )
        self._changes_inputs = given._version > 0 or not torch.equal(given, inputs)
        _check_logits(logits, len(inputs))
        return logits


def _gradient_of(values: Tensor, inputs: Tensor, keep: bool = False) -> Tensor:
    """Return the gradient of the values in the inputs."""
    g = None
    if values.requires_grad:
        (g,) = torch.autograd.grad(values.sum(), inputs, retain_graph=keep, allow_unused=True)
    if g is None:
        raise GameError("no gradient reaches the input: the model detaches it, rounds it or leaves torch")
    return g


def _not_finite(lost: int, count: int) -> GameError:
    return GameError(f"the model returned logits that are not finite for {lost} of {count} inputs: look at its weights")


def _check_logits(logits: object, count: int) -> None:
    """Refuse logits of the wrong shape and non-finite ones, and warn of probabilities."""
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != count or logits.shape[1] < 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise GameError(
            f"the model returned {shape} for {count} inputs: logits of shape ({count}, classes >= 2) are needed"
            + ("; for one output z pass x -> [-z, z]" if isinstance(logits, Tensor) and logits.numel() == count else "")
        )
    if not bool(torch.isfinite(logits).all()):
        raise _not_finite(int((~torch.isfinite(logits).all(-1)).sum()), count)
    sums = logits.sum(-1)
    if bool((logits >= 0).all() and (logits <= 1).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-4)):
        warnings.warn(
            "the model returns probabilities: attacks need logits, whose gradients do not vanish; remove its softmax",
            stacklevel=5,
        )
