"""Certificates of a joint strategy: numbers that say how good it is, beside the learning curve."""

from __future__ import annotations

import re
from collections import Counter

import torch
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.games import AdversarialClassification, DigitsAdversarial, Game, Oracle, Space, ZeroSumGame
from robustgames.solvers import Sign, diagnostics, respond

SMALL = 16  # coordinates up to which the Jacobian of every run is worth its time


def certificates(game: Game, z: Tensor, attack_steps: int = 40) -> dict[str, Tensor]:
    """Return what can be certified of z beyond `game.metrics`, each of shape (*S,).

    Games with known best responses: the duality gap. The digits game: accuracy on the held-out images, clean and under
    a PGD attack of `attack_steps` steps.
    """
    if isinstance(game, DigitsAdversarial):
        return accuracies(game.held_out, z, attack_steps)
    try:
        return {"duality_gap": diagnostics.duality_gap(game, z)}
    except GameError:
        return {}


def final_certificates(game: Game, z: Tensor, attack_steps: int = 40) -> dict[str, Tensor]:
    """Return all that can be said of z without a minibatch: metrics of a game without data, and `certificates`."""
    if game.sets_follow_sample:
        return certificates(game, z, attack_steps)
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
    """Return the shares of the game's images classified correctly, clean and under `attack`, (*S,).

    An image counts as robust only if it is also right when clean.

    Args:
        game: a game on all its images (`batch_size=None`).
        z: weights, (*S, n), or joint strategies (*S, n + m') of a game with the same network.
        attack_steps: K, e.g. 40 for the usual PGD-40.
    """
    x = z[..., : game.sizes[0]]
    images = game.images.expand(*x.shape[:-1], *game.images.shape)
    perturbed = images + attack(game, z, attack_steps).view(images.shape)
    right = game.logits(x, images).argmax(-1) == game.labels
    robust = right & (game.logits(x, perturbed).argmax(-1) == game.labels)
    return {"clean_accuracy": right.to(z).mean(-1), f"pgd{attack_steps}_accuracy": robust.to(z).mean(-1)}


@torch.no_grad()
def attack(game: AdversarialClassification, z: Tensor, steps: int = 40) -> Tensor:
    """Return perturbations of all the game's images by PGD, (*S, N p): the attacker plays, the classifier is held.

    `steps` signed steps of 2.5 eps / steps from a random start inside the ball (seed 0); the last iterate. Source:
    Madry et al. 2018.
    """
    x = z[..., : game.sizes[0]]
    start = torch.cat([x, x.new_zeros(*x.shape[:-1], game.sizes[1])], -1)
    if game.eps == 0:
        return game.split(start)[1]
    oracle = Oracle(game, tuple(x.shape[:-1]), Generator(game.device).manual_seed(0))
    oracle.draw()
    rule = Sign(2.5 * game.eps / steps)
    attacked, _ = respond(rule, oracle, oracle.restart(start, 1), 1, steps, rule.init(start))
    return game.split(attacked)[1]
