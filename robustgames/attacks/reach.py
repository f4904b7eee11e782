"""The modules that a callable reaches, and evaluation mode for all of them while it is under attack."""

from __future__ import annotations

import functools
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

MODE_DEPENDENT = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
DEPTH, MOST = 8, 10_000  # of the search for modules: references in a row, objects
CONTAINERS = (list, tuple, set, frozenset)
PLAIN = {str, bool, int, float, type(None)}  # the most frequent of the types that are skipped
MAY_BE_EMPTY = {*CONTAINERS, dict, OrderedDict}  # each module has twenty empty ones
SKIPPED = (str, bytes, int, float, complex, bool, type(None), type, types.ModuleType, types.BuiltinFunctionType, Tensor)


def reachable_modules(model: object) -> list[nn.Module]:
    """Return the modules that a callable reaches, each once.

    Searched are submodules, closures, defaults, the globals that a function names, arguments of functools.partial, the
    object of a bound method, and attributes and containers, also those of modules that do not register them.

    Example:
        >>> net = nn.Linear(2, 2)
        >>> reachable_modules(lambda x: net(2 * x)) == [net]
        True
    """
    found: dict[int, nn.Module] = {}
    seen: dict[int, object] = {}  # keeps the objects, whose ids would be used again
    level: list[object] = [model]
    for _ in range(DEPTH):
        ahead: list[object] = []
        for thing in level:
            if id(thing) in seen or isinstance(thing, SKIPPED):
                continue
            seen[id(thing)] = thing
            if isinstance(thing, nn.Module):
                found[id(thing)] = thing
            ahead.extend(_references(thing))
        level = ahead
        if not ahead or len(seen) > MOST:
            break
    if level:  # the search was cut: registered submodules may lie deeper
        for module in list(found.values()):
            found.update((id(part), part) for part in module.modules())
    return list(found.values())


def _references(thing: Any) -> Iterator[object]:
    """Yield the objects to which one refers."""
    if isinstance(thing, CONTAINERS):
        yield from thing
    elif isinstance(thing, dict):
        yield from thing.values()
    elif isinstance(thing, functools.partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    elif isinstance(thing, types.MethodType):
        yield from (thing.__self__, thing.__func__)
    elif isinstance(thing, types.FunctionType):
        yield from _of_function(thing)
    elif not type(thing).__module__.startswith(("torch._", "numpy", "builtins")):
        attributes = getattr(thing, "__dict__", {})
        kinds = ((value, value.__class__) for value in attributes.values())
        yield from [value for value, kind in kinds if kind not in PLAIN and (kind not in MAY_BE_EMPTY or value)]
        if not type(thing).__module__.startswith("torch."):
            call = getattr(type(thing), "forward" if isinstance(thing, nn.Module) else "__call__", None)
            yield from [call] if isinstance(call, types.FunctionType) else []


def _of_function(function: types.FunctionType) -> Iterator[object]:
    if (function.__module__ or "").startswith("torch."):
        return
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    yield from (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *vars(function).values())
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [part for part in code.co_consts if isinstance(part, types.CodeType)]
        yield from (function.__globals__[name] for name in code.co_names if name in function.__globals__)


@contextmanager
def evaluation_mode(model: object) -> Iterator[_Modes]:
    """Set the modules that a model reaches to evaluation mode, and restore each one's own mode afterwards."""
    modes = _Modes(reachable_modules(model))
    try:
        yield modes
    finally:
        modes.restore()


class _Modes:
    """Modules in evaluation mode, with the modes that they had."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self._before: list[tuple[nn.Module, bool]] = []
        self.mattered = False
        for module in modules:
            self.add(module)

    def add(self, module: nn.Module) -> None:
        """Set one more module to evaluation mode."""
        self._before.append((module, module.training))
        self.mattered |= module.training and isinstance(module, MODE_DEPENDENT)
        _set_mode(module, False)

    def restore(self) -> None:
        for module, mode in reversed(self._before):
            _set_mode(module, mode)

    @contextmanager
    def catch(self) -> Iterator[list[nn.Module]]:
        """Also add each module that this thread runs in training mode, before it runs; yield the list of them."""
        caught: list[nn.Module] = []
        thread = threading.get_ident()

        def before_forward(module: nn.Module, inputs: object) -> None:
            if module.training and threading.get_ident() == thread:
                self.add(module)
                caught.append(module)

        hook = nn.modules.module.register_module_forward_pre_hook(before_forward)
        try:
            yield caught
        finally:
            hook.remove()


def _set_mode(module: nn.Module, training: bool) -> None:
    if module.training is not training:  # to set it takes long
        module.training = training


@contextmanager
def largest_output() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the bytes of the largest output of the modules that this thread runs."""
    largest, thread = 0, threading.get_ident()

    def after_forward(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor) and threading.get_ident() == thread:
            largest = max(largest, output.numel() * output.element_size())

    hook = nn.modules.module.register_module_forward_hook(after_forward)
    try:
        yield lambda: largest
    finally:
        hook.remove()
