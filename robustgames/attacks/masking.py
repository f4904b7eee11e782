"""Gradients that are missing: signs that an attack failed because of them, not because the classifier is robust."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace

import torch

from robustgames.attacks.problem import Problem

ZERO = 0.01  # tolerated share of inputs without a gradient


def announce(notes: Iterable[str], stacklevel: int = 3) -> None:
    """Warn of each note; the warning points to the caller of the attack."""
    for note in notes:
        warnings.warn(note, stacklevel=stacklevel)


def after_attack(p: Problem) -> list[str]:
    """Return notes on the gradients of an attack that has run; of ordinary ones it costs nothing."""
    zero, count = p.victim.gradients_zero or (0, 0)
    return lost_gradients(p) + (vanished_gradients(p) if zero > ZERO * count else [])


def lost_gradients(p: Problem) -> list[str]:
    """Return a note on the largest number of inputs whose gradient was NaN in one pass."""
    lost, count = p.victim.gradients_lost()
    if lost == 0:
        return []
    return [
        f"the gradient of {lost} of {count} inputs is NaN: they stay where they are, as if they had none; look for a "
        "square root, logarithm or division at 0 in the model"
    ]


def vanished_gradients(p: Problem) -> list[str]:
    """Return a note on the share of the inputs whose loss or margin has no gradient at the start."""
    zero: dict[str, float] = {}
    for name, loss in (("loss", p.loss), ("margin", "margin")):
        _, fooled, g = replace(p, loss=loss, eot=1).gradient(torch.zeros_like(p.a))
        zero[name] = float(((g == 0).all(-1) & ~fooled).double().mean())
    if zero["margin"] > ZERO:
        return [
            f"{zero['margin']:.0%} of the inputs have no gradient: look for rounding or saturation in the model, or "
            "use square, which needs none"
        ]
    if zero["loss"] <= ZERO:
        return []
    if p.loss != "ce":
        return [f"the loss has no gradient at {zero['loss']:.0%} of the inputs: use loss='margin', which has one"]
    return [
        f"the cross-entropy has no gradient at {zero['loss']:.0%} of the inputs, its softmax is saturated: use "
        "loss='dlr' or 'margin', whose gradients do not vanish"
    ]
