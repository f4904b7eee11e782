"""The attacks of foolbox (Rauber, Zimmermann, Bethge and Brendel 2020), for `robustgames.attacks.borrowed`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robustgames.attacks.borrowed import classes_in
from robustgames.games.threat import NORMS

if TYPE_CHECKING:
    from robustgames.attacks.borrowed import Task

UNSUITED = ("BinarizationRefinementAttack",)  # it improves the examples of another attack on binarized inputs
TARGETED = ("GenAttack",)  # which only lead to a class
REQUIRED = {"VirtualAdversarialAttack": {"steps": 10}}  # arguments without a default
OWN = ("distance", "constraint")  # arguments that follow from the norm
STARTS = 50  # noisy inputs that are tried as starting points


def library() -> Any:
    """Return the module of its attacks, which is loaded here: it is an extra."""
    return import_module("foolbox.attacks")


@cache
def names() -> list[str]:
    """Return the names of its attacks."""
    return classes_in(library(), library().Attack, UNSUITED)


def arguments(name: str) -> list[str]:
    """Return the settings of an attack."""
    return [key for key in _parameters(name) if key not in OWN]


def norms(name: str) -> tuple[str, ...]:
    """Return the norms of an attack: that of its distance, or all if it takes one or has none."""
    kind = getattr(library(), name)
    if "constraint" in _parameters(name):
        return ("linf", "l2")
    base = library().base
    if not issubclass(kind, base.AttackWithDistance) or issubclass(kind, base.FlexibleDistanceMinimizationAttack):
        return tuple(NORMS)
    order = kind(**REQUIRED.get(name, {})).distance.p
    return (next((norm for norm, one in NORMS.items() if one == order), f"l{order:g}"),)


def minimal(name: str) -> bool:
    """Return whether an attack looks for the nearest point."""
    return issubclass(getattr(library(), name), library().base.MinimizationAttack)


def find(name: str, settings: Mapping[str, Any], task: Task) -> Tensor:
    """Return the perturbed inputs (N, ...)."""
    foolbox: Any = import_module("foolbox")
    options = REQUIRED.get(name, {}) | dict(settings)
    if "distance" in _parameters(name):
        options["distance"] = foolbox.distances.LpDistance(NORMS[task.norm])
    if "constraint" in _parameters(name):
        options["constraint"] = task.norm
    attack = getattr(foolbox.attacks, name)(**options)
    model = foolbox.PyTorchModel(task.network, bounds=(task.low, task.high), device=task.x.device)
    targets = task.likeliest() if name in TARGETED and task.targets is None else task.targets
    misled = foolbox.criteria.Misclassification(task.labels)
    aim = misled if targets is None else foolbox.criteria.TargetedMisclassification(targets)
    if isinstance(attack, foolbox.attacks.DatasetAttack):
        attack.feed(model, task.x)
    if isinstance(attack, foolbox.attacks.base.FixedEpsilonAttack):
        return attack.run(model, task.x, aim, epsilon=task.eps)
    if not isinstance(attack, foolbox.attacks.base.MinimizationAttack):
        return attack(model, task.x, aim)[0]
    if "starting_points" not in inspect.signature(type(attack).run).parameters:
        return attack.run(model, task.x, aim)
    start, there = _starts(task)  # foolbox gives up the whole batch if it finds none for one input
    found = task.x.clone()
    if bool(there.any()):
        aim = misled.__class__(task.labels[there]) if targets is None else aim.__class__(targets[there])
        found[there] = attack.run(model, task.x[there], aim, starting_points=start[there])
    return found


@torch.no_grad()
def _starts(task: Task) -> tuple[Tensor, Tensor]:
    """Return inputs (N, ...) in another class, or in the target's, and a mask of the rows that have one.

    They are the nearest of the other inputs; if none is in such a class, the inputs blended with uniform noise.
    """
    x, flat, guess = task.x, task.x.flatten(1), task.network(task.x).argmax(-1)
    fits = guess != task.labels.unsqueeze(-1) if task.targets is None else guess == task.targets.unsqueeze(-1)
    nearest = torch.cdist(flat, flat).masked_fill(~fits, float("inf")).argmin(-1)
    start, there = x[nearest], fits.any(-1)
    for k in range(STARTS):
        if bool(there.all()):
            break
        share = (k + 1) / STARTS
        noisy = (1 - share) * x + share * (task.low + (task.high - task.low) * torch.rand_like(x))
        guess = task.network(noisy).argmax(-1)
        hit = ~there & (guess != task.labels if task.targets is None else guess == task.targets)
        start[hit], there = noisy[hit], there | hit
    return start, there


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    kind = getattr(library(), name)
    found = inspect.signature(kind.__init__).parameters if kind.__init__ is not object.__init__ else {}
    return {key: parameter for key, parameter in found.items() if key != "self"}
