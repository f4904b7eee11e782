"""Certificates of a joint strategy: numbers that say how good it is, next to the learning curve."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Generator, Tensor

from robustgames.attacks import fgsm, pgd
from robustgames.errors import GameError
from robustgames.evaluation.generators import generator_metrics
from robustgames.evaluation.metrics import FGSM_ACCURACY, FINAL_ATTACK_STEPS, pgd_accuracy
from robustgames.games import GAN, AdversarialClassification, Game, HeldOut, Space, ZeroSumGame
from robustgames.games.losses import as_logits, predictions
from robustgames.games.threat import norm_name
from robustgames.processes import Processes, alone
from robustgames.solvers import diagnostics
from robustgames.solvers.gaps import known_gap

ALONE = alone()
TELLING = ("linf", "l2")  # norms in which one step is an attack
COLLAPSE = 0.2  # share of all images that several steps fool in addition, from which a classifier is flagged
SMALL = 16  # coordinates up to which the Jacobian of every run is worth its time


def certificates(
    game: Game,
    z: Tensor,
    attack_steps: int = FINAL_ATTACK_STEPS,
    quick: bool = False,
    processes: Processes = ALONE,
) -> dict[str, Tensor]:
    """Return the certificates of z beyond `game.metrics`, each of shape (*S,).

    * Games with known best responses: the duality gap.
    * Classifiers: `accuracies` on the held-out images.
    * Generators: `generator_metrics`.

    Args:
        game: The game.
        z: Joint strategies, (*S, n + m).
        attack_steps: Steps of PGD against a classifier.
        quick: If true, look at the watched images instead of the held-out ones, and at fewer generated images.
        processes: Processes that divide the images of a classifier; the first one alone computes all else.
    """
    if isinstance(game, HeldOut):
        return accuracies(game.watched if quick else game.held_out, z, attack_steps, processes)
    if not processes.is_first:
        return {}
    if isinstance(game, GAN):
        return generator_metrics(game, z, quick)
    try:
        gap = known_gap(game, z)
    except GameError:  # of a best response
        gap = None
    return {} if gap is None else {"duality_gap": gap}


def take_long(game: Game) -> bool:
    """Return whether `certificates` of a game attack images or compare samples, which takes longer than its metrics."""
    return isinstance(game, GAN | HeldOut)


def final_certificates(
    game: Game,
    z: Tensor,
    attack_steps: int = FINAL_ATTACK_STEPS,
    quick: bool = False,
    processes: Processes = ALONE,
    images: int | None = None,
) -> dict[str, Tensor]:
    """Return all metrics of z that need no minibatch: `game.metrics` of a game without data, and `certificates`.

    A classifier is attacked on at most `images` of its held-out images, the first ones, or on all if that is None.
    """
    if isinstance(game, HeldOut) and not quick and images is not None and images < len(game.held_out.images):
        some = game.held_out
        return accuracies(game.on(some.images[:images], some.labels[:images]), z, attack_steps, processes)
    if isinstance(game, HeldOut | GAN) or game.sets_follow_sample:
        return certificates(game, z, attack_steps, quick, processes)
    if not processes.is_first:
        return {}
    sample = game.draw(tuple(z.shape[:-1]), Generator(game.device).manual_seed(0))
    return {**game.metrics(z, sample), **certificates(game, z)}


def verdicts(game: Game, z: Tensor) -> dict[str, int]:
    """Return {local-Nash verdict: number of runs of z with it}, over the finite runs, the most frequent one first.

    Empty for games that are not small, unconstrained, zero-sum and without data.
    """
    free = all(isinstance(s, Space) for s in game.sets) and not game.sets_follow_sample
    if not free or sum(game.sizes) > SMALL or not isinstance(game.exact, ZeroSumGame):
        return {}
    points = z.reshape(-1, z.shape[-1])
    points = points[torch.isfinite(points).all(-1)]
    return dict(Counter(diagnostics.local_nash(game, point, tol=1e-3).kind for point in points).most_common())


@torch.no_grad()
def accuracies(
    game: AdversarialClassification,
    z: Tensor,
    attack_steps: int = FINAL_ATTACK_STEPS,
    processes: Processes = ALONE,
) -> dict[str, Tensor]:
    """Return the shares of the game's images classified correctly: clean, under FGSM and under PGD, (*S,).

    An image counts as robust only if it is also classified correctly when clean, and under PGD in every iterate. NaN
    for a run that diverged (non-finite scores). A game with the interval attacker adds the certified accuracy, the
    share of images with a positive bound on the margin over the whole box.

    Args:
        game: A game on all its images (`batch_size=None`).
        z: Weights, (*S, n), or joint strategies (*S, n + m') of a game with the same network.
        attack_steps: Steps K of PGD, e.g. 40 for the usual PGD-40.
        processes: Processes that divide the images among them; all return the shares of all images.
    """
    x, count = z[..., : game.sizes[0]], len(game.images)
    own = processes.rows(count)
    images = game.images.expand(*x.shape[:-1], *game.images.shape)
    scores, labels = game.logits(x, images[..., own, :]), game.labels[own]
    finite = processes.all(torch.isfinite(scores).all(-1).all(-1))
    x = torch.where(finite.unsqueeze(-1), x, 0)  # diverged runs are attacked at 0, and reported as NaN
    right = predictions(scores) == labels
    shares = {"clean_accuracy": right}
    for metric, steps in ((FGSM_ACCURACY, 1), (pgd_accuracy(attack_steps), attack_steps)):
        perturbed = images + attack(game, x, steps, own).view(images.shape)
        shares[metric.name] = right & (predictions(game.logits(x, perturbed[..., own, :])) == labels)
    hits = processes.add(torch.stack([hits.sum(-1) for hits in shares.values()]))
    found = {name: (n.to(z) / count).where(finite, float("nan")) for name, n in zip(shares, hits, strict=True)}
    if game.graph is not None:
        found["certified_accuracy"] = _certified(game, x).to(z).mean(-1).where(finite, float("nan"))
    return found


def _certified(game: AdversarialClassification, x: Tensor) -> Tensor:
    """Return the images that interval bounds certify at radius eps, (*S, N)."""
    sample = game.everything(tuple(x.shape[:-1]))
    margins = game.margins(x, x.new_full(sample.labels.shape, game.eps), sample)
    wrong = torch.ones_like(margins, dtype=torch.bool).scatter(-1, sample.labels.unsqueeze(-1), False)
    return ((margins > 0) | ~wrong).all(-1)


def catastrophic_overfitting(
    shares: dict[str, Tensor], attack_steps: int = FINAL_ATTACK_STEPS, norm: str = "linf"
) -> Tensor | None:
    """Return whether a classifier resists one step of attack but not several, (*S,); None if it was not measured.

    That is, FGSM leaves at least half of the images correctly classified, and PGD fools more than 20 % of all images
    in addition: training against weak attacks taught the network to mislead them. In ℓ1 there is no such verdict: one
    step moves one pixel there, by 1 at most, whatever the radius, so every classifier resists it.
    Source: Wong, Rice and Kolter 2020, section 5.

    Args:
        shares: Result of `accuracies`.
        attack_steps: Steps K of PGD in it.
        norm: Norm of both attacks.
    """
    one, several = shares.get(FGSM_ACCURACY.name), shares.get(pgd_accuracy(attack_steps).name)
    if one is None or several is None or norm_name(norm) not in TELLING:
        return None
    return (one >= 0.5) & (one - several > COLLAPSE)


@torch.no_grad()
def attack(
    game: AdversarialClassification, z: Tensor, steps: int = FINAL_ATTACK_STEPS, own: slice = slice(None)
) -> Tensor:
    """Return perturbations of all the game's images, (*S, N p): the attacker plays, the classifier is held.

    PGD: `steps` steps of 2.5 eps / steps from a random start inside the ball (seed 0); of each image the last iterate
    that fools the classifier, else the one of highest loss. One step is FGSM, from zero. Source: Madry et al. 2018.
    Where the attacker plays behind a threshold, so does this attack, since the gradient in η would be hidden.

    Args:
        game: A game on all its images (`batch_size=None`).
        z: Weights, (*S, n), or joint strategies.
        steps: Number of steps.
        own: Images to attack, from the starts that they have among all; what is returned of the others is not attacked.
    """
    x = z[..., : game.sizes[0]]
    runs, count = x.shape[:-1], len(game.images)
    images = game.images.expand(*runs, *game.images.shape)
    if game.eps == 0:
        return torch.zeros_like(images).flatten(-2)
    labels = game.labels.expand(*runs, count).flatten()

    rows, sample, behind = images.reshape(-1, images.shape[-1]), game.everything(runs), game.threshold is not None
    start, bounds = (torch.zeros_like(rows), (-game.eps, game.eps)) if behind else (rows, (0.0, 1.0))

    def shown(point: Tensor) -> Tensor:
        """Return the images at a point of the search, which is in y where the attacker plays behind a threshold."""
        return game.attacker.attacked(point, sample).view(rows.shape) if behind else point

    def classifiers(point: Tensor) -> Tensor:
        pixels = shown(point).view(images.shape)
        scores = game.logits(x, pixels[..., own, :])
        if scores.shape[-2] == count:
            return as_logits(scores.flatten(0, -2))
        every = scores.new_zeros(*runs, count, scores.shape[-1])
        every[..., 0] = pixels.mean(-1).to(every)  # of the others: cheap, with a gradient
        every[..., own, :] = scores
        return as_logits(every.flatten(0, -2))

    if steps == 1:
        found = fgsm(classifiers, start, labels, game.eps, game.norm, bounds=bounds)
    else:
        generator = Generator(game.device).manual_seed(0)
        found = pgd(classifiers, start, labels, game.eps, game.norm, steps, bounds=bounds, generator=generator)
    return (shown(found) - rows).view(*runs, -1)
