"""The choice of what computes the updates and the actions of an agent of control: PyTorch, or compiled code."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from robustgames.agents.control.behavior import Behavior
from robustgames.agents.control.critic_training import CriticTraining
from robustgames.agents.control.normalization import RunningNorm
from robustgames.agents.control.settings import Engine
from robustgames.agents.control.torch_updates import TorchUpdates
from robustgames.errors import GameError
from robustgames.games import Game, Oracle
from robustgames.solvers import Scheme
from robustgames.streams import Streams

if TYPE_CHECKING:
    from robustgames.agents.control.native import NativeActing, NativeUpdates

NEEDED = "it needs numba: pip install 'robustgames[fast]'"


def make_engine(
    engine: Engine,
    practice: CriticTraining,
    solver: Scheme,
    oracle: Oracle,
    behavior: Behavior,
    norm: RunningNorm | None,
    generator: Streams,
) -> tuple[TorchUpdates | NativeUpdates, NativeActing | None]:
    """Return what takes the updates, and what acts, if that is not the behavior itself.

    Raises:
        GameError: The engine is "native", and there is no numba, or it does not know this update, solver, device
            or coupling.
    """
    if engine != "torch":
        reason = why_not_native(practice, solver, oracle.game)
        if reason is None:
            native, runs = import_module("robustgames.agents.control.native"), len(practice.target)
            updates = native.NativeUpdates(practice, solver, behavior, generator)
            return updates, native.NativeActing(behavior, norm, runs, updates.arrays)
        if engine == "native":
            hint = "" if reason == NEEDED else "; engine='auto' takes torch then"
            raise GameError(f"engine is native: {reason}{hint}")
    return TorchUpdates(practice, solver, oracle, behavior, generator), None


def why_not_native(practice: CriticTraining, solver: Scheme, game: Game | None = None) -> str | None:
    """Return why compiled code cannot train here, or None if it can; without a game it is taken to be known."""
    native = _native()
    return NEEDED if native is None else native.why_not(practice, solver, game)


def _native() -> ModuleType | None:
    """Return the module of compiled code, or None without a usable numba."""
    try:
        import_module("numba")
    except (ImportError, OSError):  # also of a numba that does not fit NumPy, or whose library cannot be loaded
        return None
    return import_module("robustgames.agents.control.native")
