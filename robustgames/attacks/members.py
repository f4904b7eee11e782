"""The attacks of an ensemble, by name. A new one is one line in the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from robustgames.attacks.attack import Attack
from robustgames.attacks.auto_pgd import APGD, TargetedAPGD
from robustgames.attacks.borrowed import Borrowed, check_name, is_borrowed
from robustgames.attacks.borrowed import check_norm as check_borrowed_norm
from robustgames.attacks.deepfool import DeepFool
from robustgames.attacks.fab import FAB, TargetedFAB
from robustgames.attacks.gradient import FGSM, PGD
from robustgames.attacks.hop_skip_jump import HopSkipJump
from robustgames.attacks.losses import classes_needed
from robustgames.attacks.minimum_norm import DDN, FMN
from robustgames.attacks.nes import NES
from robustgames.attacks.square import Square
from robustgames.errors import GameError, one_line, shorten, unknown
from robustgames.games.threat import NORMS

PASSES = 20  # forward passes of a randomized classifier for each loss and gradient


@dataclass(frozen=True)
class Member:
    """One attack of an ensemble.

    Args:
        attack: Attack with its settings.
        loss: Loss that it raises, a key of `LOSSES`. If None, it is the attack's own.
        l1: Attack in ℓ1, if its settings differ there.
        passes: Forward passes for each loss and gradient.
    """

    attack: Attack
    loss: str | None = None
    l1: Attack | None = None
    passes: int = 1

    @property
    def classes_needed(self) -> int:
        """Fewest classes for which the loss is defined."""
        return classes_needed(self._loss, self.attack.targeted)

    def loss_for(self, classes: int) -> str:
        """Return the loss to raise; the margin if the classes are too few for the member's own."""
        return self._loss if classes >= self.classes_needed else "margin"

    def attack_for(self, norm: str) -> Attack:
        """Return the attack with its settings in that norm."""
        return self.l1 if self.l1 is not None and norm == "l1" else self.attack

    @property
    def _loss(self) -> str:
        return self.attack.loss if self.loss is None else self.loss


# fooled rows leave; the standard version of AutoAttack restarts APGD-CE in ℓ1
ONCE, RESTARTED = APGD(early="drop"), APGD(restarts=5, early="drop")

MEMBERS: dict[str, Member] = {
    "fgsm": Member(FGSM()),
    "pgd": Member(PGD(early="drop")),
    "apgd-ce": Member(ONCE, l1=RESTARTED),
    "apgd-ce-5": Member(RESTARTED),
    "apgd-dlr": Member(ONCE, "dlr", l1=RESTARTED),
    "apgd-dlr-5": Member(RESTARTED, "dlr"),
    "apgd-t": Member(TargetedAPGD(early="drop"), l1=TargetedAPGD(classes=5, early="drop")),
    "fab": Member(FAB(early="drop")),
    "fab-5": Member(FAB(restarts=5, early="drop")),
    "fab-t": Member(TargetedFAB(early="drop")),
    "square": Member(Square()),
    "apgd-ce-rand": Member(ONCE, l1=RESTARTED, passes=PASSES),
    "apgd-dlr-rand": Member(ONCE, "dlr", l1=RESTARTED, passes=PASSES),
    "nes": Member(NES()),
    "hop-skip-jump": Member(HopSkipJump()),
    "deepfool": Member(DeepFool()),
    "ddn": Member(DDN(search=0)),  # as published, without the search for a nearer point
    "fmn": Member(FMN(search=0)),
}
VERSIONS: dict[str, tuple[str, ...]] = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce-5", "apgd-dlr-5", "fab-5", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce-rand", "apgd-dlr-rand"),
}


def names_of(attacks: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of the attacks of a version, or the given names.

    Raises:
        GameError: If a name is unknown, or none is given.
    """
    if isinstance(attacks, str):
        if attacks not in {*VERSIONS, *MEMBERS} and not is_borrowed(attacks):
            raise unknown("version or attack", attacks, {*VERSIONS, *MEMBERS})
        return VERSIONS.get(attacks) or names_of((attacks,))
    for name in attacks:
        if is_borrowed(name):
            check_name(name)
        elif name not in MEMBERS:
            raise unknown("attack", name, MEMBERS)
    if not attacks:
        raise GameError("no attack is named: give a version or names, e.g. attacks=('apgd-ce', 'square')")
    return tuple(attacks)


def members_of(names: Sequence[str], settings: Mapping[str, Any] | None = None) -> dict[str, Member]:
    """Return the attacks by their names, each with those settings that it has.

    Args:
        names: Names in `MEMBERS`, or of attacks of other libraries (`robustgames.attacks.borrowed`).
        settings: Values in place of the defaults.

    Raises:
        GameError: If none of the attacks has a setting, or a value is refused.
    """
    settings = dict(settings or {})
    there = {name: _settings_of(name) for name in names}
    for key in settings:
        if not any(there.values()):
            raise GameError(f"{' and '.join(there)} has no settings: leave out {key}={one_line(settings[key])}")
        if not any(key in own for own in there.values()):
            raise unknown(f"setting of {' and '.join(there)}", key, {key for own in there.values() for key in own})
    return {name: _with(name, {k: v for k, v in settings.items() if k in own}) for name, own in there.items()}


def check_norm(members: Mapping[str, Member], norm: str) -> None:
    """Refuse attacks that cannot search balls of that norm."""
    for name, member in members.items():
        norms = member.attack.norms
        if norm in NORMS and norm not in norms:
            if isinstance(member.attack, Borrowed):
                check_borrowed_norm(member.attack, norm)
            others = " or ".join(other for other in ("fmn", "apgd-ce") if norm in MEMBERS[other].attack.norms)
            raise GameError(f"{name} attacks in {' and '.join(norms)}, not in {norm}: use {others}")


def _settings_of(name: str) -> list[str]:
    if is_borrowed(name):
        peer, _, own = check_name(name)
        return peer.arguments(own)
    return [field.name for field in fields(MEMBERS[name].attack)]


def _with(name: str, settings: dict[str, Any]) -> Member:
    if is_borrowed(name):
        return Member(Borrowed(name=name, settings=settings))
    member = MEMBERS[name]
    if not settings:
        return member
    hints = get_type_hints(type(member.attack))
    settings = {key: _of_kind(f"{key} of {name}", value, hints[key]) for key, value in settings.items()}
    return replace(
        member,
        attack=replace(member.attack, **settings),
        l1=member.l1 and replace(member.l1, **settings),
    )


def _of_kind(what: str, value: Any, hint: Any) -> Any:
    """Return the value of a setting in the type of its field; 1e3 is a whole number as well.

    Raises:
        GameError: It is of another type.
    """
    kinds = (str,) if get_origin(hint) is Literal else get_args(hint) or (hint,)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if int in kinds and is_number and value == value // 1:
        return int(value)
    if (value is None and type(None) in kinds) or (isinstance(value, str) and str in kinds):
        return value
    if is_number and float in kinds:
        return value
    wanted = "a whole number" if int in kinds else "a number" if float in kinds else "a word"
    wanted += " or None" if type(None) in kinds else ""
    raise GameError(f"{what} is {shorten(one_line(value))}: it must be {wanted}")
