"""The attacks that an ensemble is made of, by name. A new one is one line in the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from robustgames.attacks.deepfool import cross
from robustgames.attacks.engine import Constant, ascend, slide, steepest
from robustgames.attacks.fab import Fab, fast_boundary, fast_boundary_targeted
from robustgames.attacks.gradient import auto_pgd, random_start, repeat, targeted
from robustgames.attacks.minimum_norm import adaptive_norm, decoupled
from robustgames.attacks.problem import Problem
from robustgames.attacks.square import random_search
from robustgames.errors import GameError, unknown
from robustgames.games.threat import NORMS

PASSES = 20  # of a randomized classifier, for each loss and gradient


@dataclass(frozen=True)
class Member:
    """One attack of an ensemble.

    Args:
        run: the attack: problem -> perturbations (N, p).
        loss: that it raises: a key of `LOSSES`.
        least: fewest classes for which that loss exists; with fewer it raises the margin.
        passes: forward passes for each loss and gradient.
        norms: of the balls that it can attack in.
    """

    run: Callable[[Problem], Tensor]
    loss: str = "ce"
    least: int = 2
    passes: int = 1
    norms: tuple[str, ...] = tuple(NORMS)


def _fgsm(p: Problem) -> Tensor:
    return ascend(p, torch.zeros_like(p.a), Constant(share=1.0), 1, "last")


def _pgd(p: Problem, steps: int = 40) -> Tensor:
    direction = slide if p.threat.norm == "l1" else steepest
    return ascend(p, random_start(p), Constant(share=2.5 / steps, direction=direction), steps, "drop")


def _apgd(p: Problem, restarts: int = 1) -> Tensor:
    restarts = 5 if p.threat.norm == "l1" else restarts  # as the standard has it
    return repeat(p, [lambda q, _: auto_pgd(q, 100, "drop")] * restarts)


def _apgd_targeted(p: Problem) -> Tensor:
    return targeted(p, lambda q: auto_pgd(q, 100, "drop"), classes=5 if p.threat.norm == "l1" else 9)


def _fab(p: Problem, restarts: int = 1) -> Tensor:
    return fast_boundary(p, Fab(100, "drop", restarts))


def _fab_targeted(p: Problem) -> Tensor:
    return fast_boundary_targeted(p, Fab(100, "drop"))


def _smallest(find: Callable[[Problem], Tensor], p: Problem) -> Tensor:
    return p.project(find(p))  # of no use beyond the ball, unless its projection is


MEMBERS: dict[str, Member] = {
    "fgsm": Member(_fgsm),
    "pgd": Member(_pgd),
    "apgd-ce": Member(_apgd),
    "apgd-ce-5": Member(partial(_apgd, restarts=5)),
    "apgd-dlr": Member(_apgd, "dlr", 3),
    "apgd-dlr-5": Member(partial(_apgd, restarts=5), "dlr", 3),
    "apgd-t": Member(_apgd_targeted, "dlr", 4),
    "fab": Member(_fab),
    "fab-5": Member(partial(_fab, restarts=5)),
    "fab-t": Member(_fab_targeted),
    "square": Member(random_search, "margin"),
    "apgd-ce-rand": Member(_apgd, passes=PASSES),
    "apgd-dlr-rand": Member(_apgd, "dlr", 3, PASSES),
}
MINIMUM_NORM: dict[str, Member] = {
    "deepfool": Member(partial(_smallest, lambda p: cross(p, 50, 0.02, 9)), norms=("linf", "l2")),
    "ddn": Member(partial(_smallest, lambda p: decoupled(p, 100, 0.05, 1.0)), norms=("l2",)),
    "fmn": Member(
        partial(_smallest, lambda p: adaptive_norm(p, 100, 0.05, 10.0 if p.threat.norm == "linf" else 3.0)), "margin"
    ),
}
VERSIONS: dict[str, tuple[str, ...]] = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce-5", "apgd-dlr-5", "fab-5", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce-rand", "apgd-dlr-rand"),
}


def names_of(attacks: str | Sequence[str]) -> tuple[str, ...]:
    """Return the attacks that a version, or names of attacks, stand for.

    Raises:
        GameError: an unknown one, or none.
    """
    known = {*MEMBERS, *MINIMUM_NORM}
    if isinstance(attacks, str):
        if attacks not in {*VERSIONS, *known}:
            raise unknown("version or attack", attacks, {*VERSIONS, *known})
        return VERSIONS.get(attacks, (attacks,))
    for name in attacks:
        if name not in known:
            raise unknown("attack", name, known)
    if not attacks:
        raise GameError("no attack is named: give a version or names, e.g. attacks=('apgd-ce', 'square')")
    return tuple(attacks)


def check_norm(names: Sequence[str], norm: str) -> None:
    """Refuse attacks that have no balls of that norm."""
    for name in names:
        if norm in NORMS and norm not in member_of(name).norms:
            raise GameError(
                f"{name} attacks in {' and '.join(member_of(name).norms)}, not in {norm}: use fmn or apgd-ce"
            )


def member_of(name: str) -> Member:
    """Return the attack of that name."""
    return MEMBERS[name] if name in MEMBERS else MINIMUM_NORM[name]
