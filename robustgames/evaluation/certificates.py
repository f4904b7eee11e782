"""Certificates of a joint strategy: numbers that say how good it is, beside the learning curve."""

from __future__ import annotations

import re
from collections import Counter

import torch
from torch import Generator, Tensor

from robustgames.attacks import fgsm, pgd
from robustgames.errors import GameError
from robustgames.evaluation.generators import generator_metrics
from robustgames.games import GAN, AdversarialClassification, Game, HeldOut, Space, ZeroSumGame
from robustgames.games.losses import as_logits, predictions
from robustgames.solvers import diagnostics

SMALL = 16  # coordinates up to which the Jacobian of every run is worth its time


def certificates(game: Game, z: Tensor, attack_steps: int = 40, quick: bool = False) -> dict[str, Tensor]:
    """Return what can be certified of z beyond `game.metrics`, each of shape (*S,).

    Games with known best responses: the duality gap. Classifiers: accuracy on the held-out images, clean, under FGSM
    and under PGD with `attack_steps` steps; `quick` looks at the watched images instead. Generators:
    `generator_metrics`.
    """
    if isinstance(game, GAN):
        return generator_metrics(game, z, quick)
    if isinstance(game, HeldOut):
        return accuracies(game.watched if quick else game.held_out, z, attack_steps)
    try:
        return {"duality_gap": diagnostics.duality_gap(game, z)}
    except GameError:
        return {}


def final_certificates(game: Game, z: Tensor, attack_steps: int = 40, quick: bool = False) -> dict[str, Tensor]:
    """Return all that can be said of z without a minibatch: metrics of a game without data, and `certificates`."""
    if isinstance(game, HeldOut | GAN) or game.sets_follow_sample:
        return certificates(game, z, attack_steps, quick)
    sample = game.draw(tuple(z.shape[:-1]), Generator(game.device).manual_seed(0))
    return {**game.metrics(z, sample), **certificates(game, z)}


def verdicts(game: Game, z: Tensor) -> dict[str, int]:
    """Return {local-Nash verdict in words: number of runs of z that it holds for}, over the finite runs.

    Empty for games that are not small, unconstrained, zero-sum and without data.
    """
    free = all(isinstance(s, Space) for s in game.sets) and not game.sets_follow_sample
    if not free or sum(game.sizes) > SMALL or not isinstance(game.exact, ZeroSumGame):
        return {}
    points = z.reshape(-1, z.shape[-1])
    points = points[torch.isfinite(points).all(-1)]
    words = (re.sub(r" \(.*?\)|: \|V\|.*", "", str(diagnostics.local_nash(game, point, tol=1e-3))) for point in points)
    return dict(Counter(words).most_common())


@torch.no_grad()
def accuracies(game: AdversarialClassification, z: Tensor, attack_steps: int = 40) -> dict[str, Tensor]:
    """Return the shares of the game's images classified correctly: clean, under FGSM and under PGD, (*S,).

    An image counts as robust only if it is also right when clean, and under PGD in every iterate. NaN where a run left
    the finite numbers.

    Args:
        game: a game on all its images (`batch_size=None`).
        z: weights, (*S, n), or joint strategies (*S, n + m') of a game with the same network.
        attack_steps: K, e.g. 40 for the usual PGD-40.
    """
    x = z[..., : game.sizes[0]]
    images = game.images.expand(*x.shape[:-1], *game.images.shape)
    scores = game.logits(x, images)
    finite = torch.isfinite(scores).all(-1).all(-1)
    x = torch.where(finite.unsqueeze(-1), x, 0)  # the others are attacked all the same
    right = predictions(scores) == game.labels
    shares = {"clean_accuracy": right}
    for name, steps in (("fgsm", 1), (f"pgd{attack_steps}", attack_steps)):
        perturbed = images + attack(game, x, steps).view(images.shape)
        shares[f"{name}_accuracy"] = right & (predictions(game.logits(x, perturbed)) == game.labels)
    return {name: hits.to(z).mean(-1).where(finite, float("nan")) for name, hits in shares.items()}


def catastrophic_overfitting(shares: dict[str, Tensor]) -> Tensor | None:
    """Return where a classifier resists one step of attack but not several, (*S,): None where it was not measured.

    That is, FGSM leaves at least half of the images and PGD takes more than 20 points more: training against weak
    attacks has taught the network to mislead them. Source: Wong, Rice and Kolter 2020, section 5.

    Args:
        shares: of `accuracies`.
    """
    several = [share for name, share in shares.items() if name.startswith("pgd")]
    if not several or "fgsm_accuracy" not in shares:
        return None
    return (shares["fgsm_accuracy"] >= 0.5) & (shares["fgsm_accuracy"] - several[0] > 0.2)


@torch.no_grad()
def attack(game: AdversarialClassification, z: Tensor, steps: int = 40) -> Tensor:
    """Return perturbations of all the game's images, (*S, N p): the attacker plays, the classifier is held.

    PGD: `steps` steps of 2.5 eps / steps from a random start inside the ball (seed 0), of each image the last iterate
    that fools the classifier, else the one of highest loss. One step is FGSM, from zero. Source: Madry et al. 2018.
    """
    x = z[..., : game.sizes[0]]
    runs, count = x.shape[:-1], len(game.images)
    images = game.images.expand(*runs, *game.images.shape)
    if game.eps == 0:
        return torch.zeros_like(images).flatten(-2)
    labels = game.labels.expand(*runs, count).flatten()

    def classifiers(rows: Tensor) -> Tensor:
        return as_logits(game.logits(x, rows.view(images.shape)).flatten(0, -2))

    rows = images.reshape(-1, images.shape[-1])
    if steps == 1:
        attacked = fgsm(classifiers, rows, labels, game.eps, game.norm)
    else:
        own = Generator(game.device).manual_seed(0)
        attacked = pgd(classifiers, rows, labels, game.eps, game.norm, steps, generator=own)
    return (attacked - rows).view(*runs, -1)
