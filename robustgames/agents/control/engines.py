"""The choice of what computes the updates and the actions of an agent of control: PyTorch, or compiled code."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from robustgames.agents.control.behavior import Behavior
from robustgames.agents.control.critic_training import CriticTraining
from robustgames.agents.control.critics import TemporalDifference
from robustgames.agents.control.expectation import Expectation
from robustgames.agents.control.normalization import RunningNorm
from robustgames.agents.control.policies import Policies
from robustgames.agents.control.policy_game import PolicyGame
from robustgames.agents.control.settings import Engine
from robustgames.agents.control.torch_updates import TorchUpdates
from robustgames.agents.control.training import Training
from robustgames.envs.control.action_couplings import NoisyAction, ProbabilisticAction
from robustgames.errors import GameError
from robustgames.games import MLP, Game, Oracle
from robustgames.solvers import Adam, FusedAdam, Scheme, Simultaneous
from robustgames.solvers.players import pair
from robustgames.solvers.rules import LEAST_EPS, Rule
from robustgames.streams import Streams

if TYPE_CHECKING:
    from robustgames.agents.control.native import NativeActing, NativeUpdates

NEEDED = "it needs numba: pip install 'robustgames[fast]'"


def make_engine(
    engine: Engine,
    practice: Training,
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


def why_not_native(practice: Training, solver: Scheme, game: Game) -> str | None:
    """Return why compiled code cannot train here, or None if it can."""
    return NEEDED if _native() is None else why_not(practice, solver, game)


def why_not(practice: Training, solver: Scheme, game: Game) -> str | None:
    """Return why the compiled code does not serve, or None if it does.

    It is a copy of the formulas of these classes, not of what a subclass makes of them: each is known by its own type.
    """
    learning = practice.learning if isinstance(practice, CriticTraining) else None
    for part, known in ((practice, CriticTraining), (learning, TemporalDifference), (game, PolicyGame)):
        if type(part) is not known:
            return f"it knows the updates of {known.__name__}, and this is {type(part).__name__}"
    assert isinstance(learning, TemporalDifference)
    policies, critic, device = learning.policies, learning.critic, practice.replay.lines.device
    law = policies.expectation
    rules = pair(solver.rule) if type(solver) is Simultaneous and solver.replays == 1 else ()
    if device.type != "cpu" or practice.replay.dtype != torch.float32:
        return f"it computes in float32 on the CPU, and this is {practice.replay.dtype} on {device}"
    if not rules or not all(_is_adam(rule) for rule in rules) or not _is_adam(learning.rule):
        return f"it knows simultaneous Adam only, and the solver is {solver!r}"
    for part, known in ((policies, Policies), (law, Expectation)):
        if type(part) is not known:
            return f"it knows {known.__name__}, and this is {type(part).__name__}"
    if type(law.coupling) not in (NoisyAction, ProbabilisticAction):
        return f"it knows the couplings noisy and probabilistic, and this is {law.coupling!r}"
    actor, other = policies.actor, policies.adversary
    if not all(type(net) is MLP and net.activation == "relu" for net in (actor, other or actor, critic)):
        return "it knows MLPs of ReLUs only"
    assert isinstance(actor, MLP) and isinstance(critic, MLP)
    alike = other is None or _form(other) == _form(actor)  # type: ignore[arg-type]
    fits = (actor.last, critic.last) == ("tanh", None) and critic.norm == actor.norm
    if not (alike and fits and len(critic.widths) == len(actor.widths)):
        return "it knows policies that end in tanh and a critic as deep as these"
    return None


def _form(net: MLP) -> tuple:
    return net.widths, net.last, net.norm


def _is_adam(rule: Rule) -> bool:
    return type(rule) in (Adam, FusedAdam) and rule.eps >= LEAST_EPS  # type: ignore[attr-defined]


def _native() -> ModuleType | None:
    """Return the module of compiled code, or None without a usable numba."""
    try:
        import_module("numba")
    except (ImportError, OSError):  # also of a numba that does not fit NumPy, or whose library cannot be loaded
        return None
    return import_module("robustgames.agents.control.native")
