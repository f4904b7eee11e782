"""The table of couplings: an adversary acts through the action, a force, the dynamics or the observation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from robustgames.envs.control.action_couplings import ActionCoupling, NoisyAction, ProbabilisticAction
from robustgames.envs.control.coupling import Coupling
from robustgames.envs.control.disturbances import BodyForce, DelayedObservationShift, DynamicsShift, ObservationShift
from robustgames.errors import GameError, unknown

COUPLINGS: dict[str, type[Coupling]] = {
    "noisy": NoisyAction,
    "probabilistic": ProbabilisticAction,
    "force": BodyForce,
    "dynamics": DynamicsShift,
    "observation": ObservationShift,
    "delayed_observation": DelayedObservationShift,
}


def make_coupling(
    coupling: str | Coupling, alpha: float | None, settings: Mapping[str, Any]
) -> tuple[Coupling, dict[str, Any]]:
    """Return (the coupling, the settings that do not belong to it).

    Raises:
        GameError: An unknown name, `alpha` for a coupling without one, or a value that is not allowed.
    """
    if isinstance(coupling, Coupling):
        if alpha is not None:
            raise GameError(f"alpha={alpha} cannot change {coupling!r}: set it there, or pass coupling by name")
        return coupling, dict(settings)
    if coupling not in COUPLINGS:
        raise unknown("coupling", str(coupling), COUPLINGS)
    cls = COUPLINGS[coupling]
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    own = {name: value for name, value in settings.items() if name in known}
    if alpha is not None:
        if not has_alpha(coupling):
            raise GameError(f"alpha={alpha} has no meaning in coupling {coupling!r}: it takes {', '.join(known)}")
        own["alpha"] = alpha
    return cls(**own), {name: value for name, value in settings.items() if name not in own}


def has_alpha(coupling: object) -> bool:
    """Return whether a coupling, an object or the name of one of the package, has a share alpha."""
    cls = COUPLINGS.get(coupling) if isinstance(coupling, str) else type(coupling)
    return cls is not None and "alpha" in getattr(cls, "__dataclass_fields__", {})


def check_actions_coupled(coupling: Coupling) -> ActionCoupling:
    """Return the coupling if its adversary is a second policy on the actions of the protagonist.

    Raises:
        GameError: The adversary acts through something else.
    """
    if isinstance(coupling, ActionCoupling):
        return coupling
    known = " or ".join(name for name, cls in COUPLINGS.items() if issubclass(cls, ActionCoupling))
    others = "for others, let the players learn in turns, robustgames train rarl or atla, or train a view"
    raise GameError(f"the coupling is {type(coupling).__name__}: it must be {known}; {others}")


def coupling_name(coupling: Coupling) -> str:
    """Return the name of a coupling in `COUPLINGS`, or of its class, with its settings except alpha.

    Example:
        >>> coupling_name(NoisyAction(0.3))
        'noisy'
    """
    name = next((name for name, cls in COUPLINGS.items() if cls is type(coupling)), type(coupling).__name__)
    settings = [f.name for f in fields(coupling) if f.name != "alpha"] if is_dataclass(coupling) else []
    shown = ", ".join(f"{setting}={getattr(coupling, setting)!r}" for setting in settings)
    return f"{name}({shown})" if shown else name
