"""Self-checks: signs that an attack fails because gradients are hidden, not because the classifier is robust.

Sources: Croce and Hein 2020 and the flags of AutoAttack; Athalye, Carlini and Wagner 2018 and Carlini et al. 2019, "On
evaluating adversarial robustness", for `thorough`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.attacks.gradient import auto_pgd
from robustgames.attacks.problem import Bounds, Problem, problem
from robustgames.attacks.victim import Model, Victim

BLACK_BOX = ("square",)
RANDOM = 1e-4  # most difference of the logits of two passes, relative to their norm
GAIN = 0.002  # of Square in accuracy over the attacks before it, which shows that those were fooled
ZERO = 0.01  # share of inputs without a gradient that is worth a word


def self_checks(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str = "linf",
    *,
    thorough: bool = False,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
) -> list[str]:
    """Return signs that attacks on this classifier prove little, and warn of each; none is good news, but no proof.

    A few hundred inputs are enough. Cheap: 5 passes forward whose logits must agree, logits that are no probabilities,
    no gradient taken at inference, gradients of cross-entropy and margin that are not zero.

    Args:
        model, x, y, eps, norm, bounds, generator: see `robustgames.attacks.gradient`.
        thorough: also attack, 130 passes forward and back: 100 steps of APGD must not be weaker than 10, and without
            a limit on the perturbation no input may stay correct.

    Example:
        >>> self_checks(torch.nn.Linear(2, 3), torch.rand(9, 2), torch.zeros(9).long(), eps=0.1)
        []
    """
    with problem(model, x, y, eps, norm, bounds, generator) as p:
        notes = inspect(p) if len(x) > 0 else []
        if thorough and len(x) > 0:
            notes += _more_steps(p) + _no_limit(p)
    announce(notes)
    return notes


def announce(notes: Iterable[str]) -> None:
    """Warn of each, in the name of whoever called the attack."""
    for note in notes:
        warnings.warn(note, stacklevel=3)


def inspect(p: Problem, attacks: Sequence[str] = ()) -> list[str]:
    """Return what the cheap checks find, for these attacks; none named: for all."""
    images = p.images(torch.zeros_like(p.a))
    logits = torch.stack([p.victim.logits(images) for _ in range(5)])
    notes = _randomized(logits, attacks) + _probabilities(logits[0]) + _dynamic(p, images[:2])
    return notes if attacks and all(name in BLACK_BOX for name in attacks) else notes + _gradients(p)


def black_box_wins(fell: Sequence[tuple[str, int]], count: int) -> list[str]:
    """Return whether Square found much that the attacks with gradients before it had not, from (attack, fell)."""
    names = [name for name, _ in fell]
    wins = [won for i, (name, won) in enumerate(fell) if name in BLACK_BOX and set(names[:i]) - set(BLACK_BOX)]
    if not wins or max(wins) <= GAIN * count:
        return []
    return [
        f"Square, without gradients, fooled {max(wins)} of {count} inputs that the attacks with gradients could not: "
        "gradients may be masked; try more queries, or an attack made for this defense"
    ]


def _randomized(logits: Tensor, attacks: Sequence[str]) -> list[str]:
    unit = torch.nn.functional.normalize(logits, dim=-1)
    apart = (unit.unsqueeze(0) - unit.unsqueeze(1)).norm(dim=-1).amax()
    guess = logits.argmax(-1)
    ready = attacks and all(name.endswith("-rand") for name in attacks)
    if ready or not bool((apart > RANDOM) | (guess != guess[0]).any()):
        return []
    return [f"the logits differ by {float(apart):.1g} from pass to pass: average the gradients, version='rand'"]


def _probabilities(logits: Tensor) -> list[str]:
    sums = logits.sum(-1)
    if bool(((logits > -1e-5) & (logits < 1 + 1e-5)).all() & ((sums - 1).abs() < 1e-5).all()):
        return ["the model returns probabilities, whose gradients vanish: remove its softmax"]
    return []


def _dynamic(p: Problem, images: Tensor) -> list[str]:
    """Return whether the model asks for a gradient when it only predicts."""
    calls, before = [], sys.getprofile()

    def watch(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_name in ("grad", "backward") and "autograd" in code.co_filename:
            calls.append(code.co_name)

    try:
        sys.setprofile(watch)
        p.victim.logits(images)
    finally:
        sys.setprofile(before)
    if not calls:
        return []
    return ["the model takes gradients when it predicts: a defense that adapts needs an attack made for it"]


def _gradients(p: Problem) -> list[str]:
    """Return how many inputs have no gradient of the cross-entropy and of the margin at the start."""
    zero = {}
    for loss in ("ce", "margin"):
        _, fooled, g = replace(p, loss=loss).gradient(torch.zeros_like(p.a))
        zero[loss] = float(((g == 0).all(-1) & ~fooled).double().mean())
    if zero["margin"] > ZERO:
        return [f"{zero['margin']:.0%} of the inputs have no gradient: look for rounding or saturation in the model"]
    if zero["ce"] > ZERO:
        return [
            f"the cross-entropy has no gradient at {zero['ce']:.0%} of the inputs, its softmax is saturated: use "
            "loss='dlr' or 'margin', whose gradients do not vanish"
        ]
    return []


def _more_steps(p: Problem) -> list[str]:
    p = replace(p, loss="margin")
    few, many = (p.evaluate(auto_pgd(p, steps, "best"))[1] for steps in (10, 100))
    weaker, stronger = int((few & ~many).sum()), int((many & ~few).sum())
    if weaker - stronger <= 2 * (weaker + stronger) ** 0.5:  # two standard deviations of chance
        return []
    return [f"100 steps fool {int(many.sum())} inputs and 10 steps {int(few.sum())}: more steps must not be weaker"]


def _no_limit(p: Problem) -> list[str]:
    """Return how many inputs stay correct when every input of the box is allowed."""
    width = torch.as_tensor(p.threat.high - p.threat.low, device=p.a.device, dtype=p.a.dtype).expand_as(p.a)
    if not bool(torch.isfinite(width).all()):
        return []
    free = replace(p, threat=replace(p.threat, norm="linf", eps=float(width.max())), loss="margin")
    left = 1 - float(free.evaluate(auto_pgd(free, 20, "best"))[1].double().mean())
    return [f"{left:.1%} stay correct under unlimited perturbations: gradients are masked"] if left > 0 else []
