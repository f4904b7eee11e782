"""Transfer: perturbations found on one classifier, judged on another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from robustgames.attacks.gradient import pgd
from robustgames.attacks.inputs import check_batch_size, per_row
from robustgames.attacks.passes import check_passes, seeded
from robustgames.attacks.problem import Bounds, Radius
from robustgames.attacks.victim import Model, Victim
from robustgames.errors import GameError

STEPS, MOMENTUM = 40, 1.0


@dataclass(frozen=True, eq=False)
class Transfers:
    """Verdicts on perturbed inputs, for every pair of classifiers.

    Attributes:
        names: Names of the M classifiers.
        clean: Verdicts on the inputs as they are, (M, N): True if correct.
        right: Verdicts on the perturbed inputs, (M, M, N): `right[s, t]` are those of classifier t on inputs that were
            perturbed against classifier s.
        steps: Steps of PGD against each classifier.
    """

    names: tuple[str, ...]
    clean: Tensor
    right: Tensor
    steps: int = STEPS

    @property
    def clean_accuracy(self) -> Tensor:
        """Share of the inputs that each classifier classifies correctly, (M,)."""
        return self.clean.double().mean(-1)

    @property
    def accuracy(self) -> Tensor:
        """Accuracy of classifier t on inputs that were perturbed against classifier s, (M, M)."""
        return self.right.double().mean(-1)

    def table(self) -> dict[str, Any]:
        """Return the accuracies, ready for JSON."""
        return {
            "models": list(self.names),
            "images": self.clean.shape[-1],
            "attack": f"PGD with momentum, {self.steps} steps",
            "clean": self.clean_accuracy.tolist(),
            "accuracy": self.accuracy.tolist(),
        }


def transfer(
    models: Mapping[str, Model],
    x: Tensor,
    y: Tensor,
    eps: Radius,
    norm: str | float = "linf",
    *,
    steps: int = STEPS,
    bounds: Bounds = (0.0, 1.0),
    generator: Generator | None = None,
    eot: int = 1,
    batch_size: int = 250,
) -> Transfers:
    """Perturb the inputs against each classifier, and judge all classifiers on all of them.

    The perturbation is the iterate of highest cross-entropy of PGD with momentum 1 (MI-FGSM: it transfers better than
    plain PGD), of all inputs, also of those that the classifier gets wrong from the start or early on: an attacker
    without access to the target uses the whole radius. The diagonal is the white-box result of the same attack. A
    target that is less robust off its diagonal than on it masks its gradients. Source: Papernot, McDaniel and
    Goodfellow 2016; momentum from Dong et al. 2018.

    Args:
        models: Classifiers by name, each inputs (N, ...) -> logits (N, C).
        x, y, eps, norm, bounds, generator, eot: See `robustgames.attacks.gradient`. With `eot` above 1, an input counts
            as correct if most passes are, whose noise comes from `generator` too.
        steps: Steps of PGD.
        batch_size: Inputs that are attacked together.

    Raises:
        GameError: If no classifier is given or batch_size is below 1, and the errors of all attacks.

    Example:
        >>> first, second = (lambda x, w=w: torch.stack([x @ w, 0.5 + 0 * x[:, 0]], 1) for w in torch.eye(2))
        >>> x, y = torch.tensor([[0.55, 0.55]]), torch.tensor([0])
        >>> transfer({"a": first, "b": second}, x, y, eps=0.1).accuracy    # each one looks at one coordinate
        tensor([[0., 1.],
                [1., 0.]], dtype=torch.float64)
    """
    if not models:
        raise GameError("no classifier is given: pass {name: model}, e.g. transfer({'a': a, 'b': b}, x, y, 0.1)")
    check_batch_size(batch_size)
    check_passes(eot)
    names, radii = tuple(models), per_row("eps", eps, x.shape)
    radii = radii.squeeze(-1) if isinstance(radii, Tensor) and radii.dim() > 1 else radii
    noise = generator if generator is not None else Generator(x.device).manual_seed(0)

    def right(images: Tensor) -> Tensor:
        """Return the verdicts of all classifiers, (M, N)."""
        return torch.stack([_right(models[name], images, y, eot, batch_size, noise) for name in names])

    clean = right(x)
    rows: list[Tensor] = []
    for source in names:
        parts = []
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            box = tuple(_of_rows(bound, x, part) for bound in bounds)
            options = {"momentum": MOMENTUM, "early": "loss", "bounds": box, "generator": generator, "eot": eot}
            parts.append(pgd(models[source], x[part], y[part], _of_rows(radii, y, part), norm, steps, **options))
        x_adv = torch.cat(parts) if parts else x
        rows.append(right(x_adv))
    return Transfers(names, clean, torch.stack(rows), steps)


def _of_rows(value: float | Tensor, like: Tensor, rows: slice) -> float | Tensor:
    """Return the bound or radius of some inputs, of which each may have one of its own."""
    if isinstance(value, Tensor) and value.dim() == like.dim() and len(value) == len(like) > 1:
        return value[rows]
    return value


def _right(model: Model, x: Tensor, y: Tensor, eot: int, batch_size: int, generator: Generator) -> Tensor:
    """Return the verdicts of most passes on some inputs, (N,)."""
    victim = model if isinstance(model, Victim) else Victim(model)
    with seeded(generator, eot), victim.under_attack(int(y.max()) + 1 if len(y) > 0 else 2):
        passes = [torch.cat([victim.logits(part).argmax(-1) for part in x.split(batch_size)]) == y for _ in range(eot)]
    return torch.stack(passes).double().mean(0) > 0.5
