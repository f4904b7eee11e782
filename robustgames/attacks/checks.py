"""Self-checks: signs that an attack fails because gradients are masked, not because the classifier is robust.

Sources: Croce and Hein 2020 and the flags of AutoAttack; Athalye, Carlini and Wagner 2018 and Carlini et al. 2019, "On
evaluating adversarial robustness", for `thorough`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import patch

import torch
from torch import Generator, Tensor

from robustgames.attacks.auto_pgd import APGD
from robustgames.attacks.masking import announce, note_of_noise, vanished_gradients
from robustgames.attacks.problem import Bounds, Problem, Radius, most, pose_problem
from robustgames.attacks.victim import Model, Victim
from robustgames.games.threat import convex_norm

BLACK_BOX = {"square": "Square", "nes": "NES", "hop-skip-jump": "HopSkipJump"}
GAIN = 0.002  # tolerated gain of these in accuracy over the attacks with gradients before them


def self_checks(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    *,
    thorough: bool = False,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
) -> list[str]:
    """Return signs that attacks on this classifier prove little, and warn of each. An empty list does not prove much.

    A few hundred inputs are enough. The cheap checks: the logits of 5 forward passes agree and are not probabilities,
    no gradient is taken at inference, and the gradients of cross-entropy and margin are not zero.

    Args:
        model, x, y, eps, norm, bounds, generator, eot: See `robustgames.attacks.gradient`.
        thorough: Whether to attack as well, with 130 forward and backward passes: 100 steps of APGD must not be weaker
            than 10, and without a limit on the perturbation no input may remain correct.

    Example:
        >>> self_checks(torch.nn.Linear(2, 3), torch.rand(9, 2), torch.zeros(9).long(), eps=0.1)
        []
    """
    if thorough:
        convex_norm(norm, "the thorough check")
    with pose_problem(model, x, y, eps, norm, bounds, generator, eot=eot) as p:
        notes = inspect(p) if len(x) > 0 else []
        if thorough and len(x) > 0:
            notes += _more_steps(p) + _no_limit(p)
    announce(notes)
    return notes


def inspect(p: Problem, attacks: Sequence[str] = ()) -> list[str]:
    """Return the notes of the cheap checks for these attacks; for all if none is named."""
    images = p.images(torch.zeros_like(p.a))
    logits = torch.stack([p.victim.logits(images) for _ in range(5)])
    notes = note_of_noise(p, logits) + _probabilities(logits[0]) + _dynamic(p, images[:2])
    return notes if attacks and all(name in BLACK_BOX for name in attacks) else notes + vanished_gradients(p)


def black_box_wins(fooled: Sequence[tuple[str, int]], count: int) -> list[str]:
    """Return a note if an attack without gradients fooled many inputs that those with gradients before it could not.

    Args:
        fooled: Pairs (attack, number of inputs that it fooled), in the order of the attacks.
        count: Number of all inputs.
    """
    names = [name for name, _ in fooled]
    wins = [
        (won, name) for i, (name, won) in enumerate(fooled) if name in BLACK_BOX and set(names[:i]) - set(BLACK_BOX)
    ]
    if not wins or max(wins)[0] <= GAIN * count:
        return []
    won, name = max(wins)
    return [
        f"{BLACK_BOX[name]}, without gradients, fooled {won} of {count} inputs that the attacks with gradients could "
        "not: gradients may be masked; try more queries, or an attack made for this defense"
    ]


def _probabilities(logits: Tensor) -> list[str]:
    """Return a note if the logits are probabilities."""
    sums = logits.sum(-1)
    if bool(((logits > -1e-5) & (logits < 1 + 1e-5)).all() & ((sums - 1).abs() < 1e-5).all()):
        return ["the model returns probabilities, whose gradients vanish: remove its softmax"]
    return []


def _dynamic(p: Problem, images: Tensor) -> list[str]:
    """Return a note if the model takes a gradient when it only predicts."""
    # autograd.grad, Tensor.backward and torch.func all run this function, also if they were imported by name
    engine = torch.autograd._engine_run_backward  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
    with patch.object(torch.autograd, "_engine_run_backward", wraps=engine) as run:
        p.victim.logits(images)
    if not run.called:
        return []
    return ["the model takes gradients when it predicts: a defense that adapts needs an attack made for it"]


def _more_steps(p: Problem) -> list[str]:
    """Return a note if 100 steps are weaker than 10."""
    p = replace(p, loss="margin")
    few, many = (most(p.losses(APGD(steps=steps).run(p))[1]) for steps in (10, 100))
    weaker, stronger = int((few & ~many).sum()), int((many & ~few).sum())
    if weaker - stronger <= 2 * (weaker + stronger) ** 0.5:  # two standard deviations of chance
        return []
    return [f"100 steps fool {int(many.sum())} inputs and 10 steps {int(few.sum())}: more steps must not be weaker"]


def _no_limit(p: Problem) -> list[str]:
    """Return a note on the share of the inputs that remain correct although every input of the box is allowed."""
    width = torch.as_tensor(p.threat.high - p.threat.low, device=p.a.device, dtype=p.a.dtype).expand_as(p.a)
    if not bool(torch.isfinite(width).all()):
        return []
    free = replace(p, threat=replace(p.threat, norm="linf", eps=float(width.max())), loss="margin")
    left = 1 - float(most(free.losses(APGD(steps=20).run(free))[1]).double().mean())
    return [f"{left:.1%} stay correct under unlimited perturbations: gradients are masked"] if left > 0 else []
