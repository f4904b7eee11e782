"""Gradients that are missing: signs that an attack failed because of them, not because the classifier is robust."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from robustgames.attacks.halving import note_of_memory
from robustgames.attacks.problem import Problem
from robustgames.attacks.victim import Victim

FEW = 8  # inputs that show whether a classifier is stochastic
RANDOM = 1e-4  # tolerated difference of the logits of two passes, relative to their norm
ZERO = 0.01  # tolerated share of inputs without a gradient


def announce(notes: Iterable[str], stacklevel: int = 3) -> None:
    """Warn of each note; the warning points to the caller of the attack."""
    for note in notes:
        warnings.warn(note, stacklevel=stacklevel)


def after_attack(p: Problem) -> list[str]:
    """Return notes on the gradients and the memory of an attack that has run; of ordinary ones it costs nothing."""
    zero, count = p.victim.gradients_zero or (0, 0)
    small = [] if p.victim.fits is None else [note_of_memory(p.victim.fits)]
    return small + lost_gradients(p) + (vanished_gradients(p) if zero > ZERO * count else [])


def lost_gradients(p: Problem) -> list[str]:
    """Return a note on the largest number of inputs whose gradient was NaN in one pass."""
    lost, count = p.victim.gradients_lost()
    if lost == 0:
        return []
    return [
        f"the gradient of {lost} of {count} inputs is NaN: they stay where they are, as if they had none; look for a "
        "square root, logarithm or division at 0 in the model"
    ]


def differing_passes(p: Problem) -> list[str]:
    """Return a note if the logits of a few inputs differ between two passes, which no count of passes contains."""
    if p.eot > 1:
        return []
    apart = Victim(p.victim.model, p.victim.precision)
    images = p.images(torch.zeros_like(p.a))[:FEW]
    return note_of_noise(p, torch.stack([apart.logits(images) for _ in range(2)]))


def note_of_noise(p: Problem, logits: Tensor) -> list[str]:
    """Return a note if the logits (passes, N, C) differ between passes, over which no mean is taken."""
    size = torch.linalg.vector_norm(logits, dim=-1).amax(0)
    # relative to the norm, not between directions, which are +-1 for a margin of two classes
    apart = (torch.linalg.vector_norm(logits.unsqueeze(0) - logits.unsqueeze(1), dim=-1) / size).nan_to_num().amax()
    guess = logits.argmax(-1)
    if p.eot > 1 or not bool((apart > RANDOM) | (guess != guess[0]).any()):
        return []
    return [f"the logits differ by {float(apart):.1g} from pass to pass: judge the model by means over passes, eot=20"]


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
