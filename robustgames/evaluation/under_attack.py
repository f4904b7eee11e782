"""Numbers of a classifier under attack: intervals, accuracies of each class, mistakes, accuracy against the radius."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from robustgames.attacks import Victim
from robustgames.attacks.losses import margin
from robustgames.attacks.passes import common_noise, draw_seed, mean_over, stronger
from robustgames.attacks.victim import Model
from robustgames.certificates.verdicts import clopper_pearson

Attack = Callable[..., Tensor]  # attack(model, x, y, eps, norm) -> x_adv


def interval(right: Tensor, passes: Tensor | None = None) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy over the choice of the images.

    It is exact (Clopper and Pearson 1934) for one verdict per image. For means over passes of a stochastic classifier,
    whose spread over the images contains the noise, it is normal after two images that are always right and two that
    are never right were added (Agresti and Coull 1998): without them it has no width where all passes agree.

    Args:
        right: Mask of the images that are classified correctly, (N,).
        passes: Verdicts of several passes, (eot, N).

    Example:
        >>> low, high = interval(torch.tensor([True] * 8 + [False] * 2))
        >>> round(low, 3), round(high, 3)
        (0.444, 0.975)
    """
    if len(right) == 0:
        return float("nan"), float("nan")
    if passes is None:
        return clopper_pearson(int(right.sum()), len(right))
    each = passes.double().mean(0)
    each = torch.cat([each, each.new_tensor([0.0, 0.0, 1.0, 1.0])])
    mean, error = float(each.mean()), float(each.std(correction=0)) / len(each) ** 0.5
    return max(0.0, mean - 1.96 * error), min(1.0, mean + 1.96 * error)


def by_class(y: Tensor, clean: Tensor, robust: Tensor) -> list[dict[str, int]]:
    """Return for each class among the labels {"label", "images", "clean", "robust"}: numbers of images.

    Example:
        >>> y, clean = torch.tensor([0, 0, 2]), torch.tensor([True, True, True])
        >>> by_class(y, clean, robust=torch.tensor([True, False, False]))[1]
        {'label': 2, 'images': 1, 'clean': 1, 'robust': 0}
    """
    rows = []
    for label in y.unique().tolist():
        own = y == label
        counts = {"clean": int((own & clean).sum()), "robust": int((own & robust).sum())}
        rows.append({"label": int(label), "images": int(own.sum()), **counts})
    return rows


def confusion(y: Tensor, predicted: Tensor) -> list[list[int]]:
    """Return [true class, predicted class, number of images] of the pairs that occur, the most frequent first.

    Example:
        >>> confusion(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 1]))
        [[0, 1, 2], [1, 1, 1]]
    """
    pairs, counts = torch.stack([y.long(), predicted.long()], 1).unique(dim=0, return_counts=True)
    found = [[*map(int, pair), int(count)] for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)]
    return sorted(found, key=lambda row: (-row[2], row[0], row[1]))


def accuracies_from_sizes(clean: Tensor, robust: Tensor, sizes: Tensor, radii: Sequence[float]) -> list[float]:
    """Return an upper bound of the robust accuracy at each radius, from perturbations that fool the classifier.

    An image is fooled at radius r if a perturbation of size at most r is known. The bound is as close as the
    perturbations are small, so it says little unless they are those of a minimum-norm attack.

    Args:
        clean: Mask of the images that are classified correctly, (N,).
        robust: Mask of those that remain correct under attack, (N,).
        sizes: Norms of the perturbations, (N,).
        radii: Radii, up to that of the attack.

    Example:
        >>> clean, robust = torch.tensor([True, True, False, True]), torch.tensor([False, False, False, True])
        >>> accuracies_from_sizes(clean, robust, torch.tensor([0.1, 0.3, 0.0, 0.0]), [0, 0.2, 0.4])
        [0.75, 0.5, 0.25]
    """
    fooled = clean & ~robust
    slack = 1 + 1e-5  # of the rounding of a + η in float32
    shares = [(clean & ~(fooled & (sizes <= slack * radius))).double().mean() for radius in radii]
    return [float(share) for share in shares]


def accuracies_at(
    model: Model | Victim, x: Tensor, y: Tensor, radii: Sequence[float], norm: str, attack: Attack
) -> list[float]:
    """Return the accuracy under an attack at increasing radii.

    An image that is fooled at one radius counts as fooled at all larger ones, whose balls contain its perturbation. The
    accuracies therefore never rise, and only the other images are attacked again. A stochastic classifier is right or
    wrong by chance: see `passes_at`.

    Args:
        model: Classifier, inputs (N, ...) -> logits (N, C).
        x: Inputs (N, ...), N >= 1.
        y: Classes (N,).
        radii: Radii >= 0 in increasing order; 0 is the clean accuracy.
        norm: Norm of the ball.
        attack: Function `attack(model, x, y, eps, norm)`.
    """
    victim, count, shares = model if isinstance(model, Victim) else Victim(model), len(x), []
    for radius in radii:
        attacked = attack(victim, x, y, radius, norm) if radius > 0 and len(x) > 0 else x
        keep = predict(victim, attacked) == y if len(x) > 0 else y == y
        x, y = x[keep], y[keep]
        shares.append(len(x) / count)
    return shares


def passes_at(
    model: Model | Victim,
    x: Tensor,
    y: Tensor,
    radii: Sequence[float],
    norm: str,
    attack: Attack,
    eot: int,
    generator: Generator,
) -> list[Tensor]:
    """Return the verdicts (eot, N) of a stochastic classifier under an attack at increasing radii; True if correct.

    The point found for an image at one radius is kept at the next one unless the new point fools more passes. Verdicts
    are those of new passes. Their mean is the accuracy; it never rises, because a lower one at a smaller radius holds.

    Args:
        model: See `accuracies_at`.
        x: Inputs (N, ...), N >= 1.
        y: Classes (N,).
        radii: Radii >= 0 in increasing order.
        norm: Norm of the ball.
        attack: Function `attack(model, x, y, eps, norm)`.
        eot: Passes that compare two points, and passes of a verdict.
        generator: Source of the seeds of the noise.
    """
    victim, best, found = model if isinstance(model, Victim) else Victim(model), x, list[Tensor]()

    def compared(points: Tensor) -> tuple[Tensor, Tensor]:
        logits = victim.logits(points)
        return logits.argmax(-1) != y, margin(logits, y)

    for radius in radii:
        new = attack(victim, x, y, radius, norm) if radius > 0 else x
        with victim.under_attack(), torch.no_grad():
            seed, each = draw_seed(generator), []
            for points in (new, best):
                with common_noise(seed, x.device):
                    each += mean_over(eot, lambda points=points: compared(points))
            better = stronger(*each)
            best = torch.where(better.view(-1, *(1 for _ in x.shape[1:])), new, best)
            with common_noise(draw_seed(generator), x.device):
                right = torch.stack([victim.logits(best).argmax(-1) == y for _ in range(eot)])
        lower = not found or right.double().mean() < found[-1].double().mean()
        found.append(right if lower else found[-1])
    return found


def predict(victim: Victim, x: Tensor) -> Tensor:
    """Return the predicted classes (N,)."""
    with victim.under_attack(), torch.no_grad():
        return victim.logits(x).argmax(-1)
