"""Duality gaps: what both players can still gain, on bounded sets and within a radius."""

from __future__ import annotations

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.game import Game, ZeroSumGame
from robustgames.games.sets import Space
from robustgames.solvers.derivatives import jacobian, symmetric

ROUNDS, BISECTIONS, HALVINGS = 60, 100, 30


def duality_gap(game: Game, z: Tensor) -> Tensor:
    """Return max_y' Φ(x, y') - min_x' Φ(x', y), shape (*S,): 0 exactly at saddles, an upper bound of both regrets.

    Raises:
        GameError: The game does not define its best responses.

    Example:
        >>> from robustgames.games import MatrixGame
        >>> duality_gap(MatrixGame("matching_pennies"), torch.tensor([1.0, 0.0, 0.5, 0.5]))
        tensor(1.)
    """
    if (gap := known_gap(game, z)) is None:
        raise GameError(
            f"the duality gap of {game.exact} is not known: it needs a zero-sum game whose best_response(z, player) is "
            "exact and finite, e.g. a bilinear game with radius=1.0"
        )
    return gap


def known_gap(game: Game, z: Tensor) -> Tensor | None:
    """Return `duality_gap`, or None if the game does not define its best responses."""
    game = game.exact
    x_best, y_best = (game.best_response(z, player) for player in (0, 1))
    if not isinstance(game, ZeroSumGame) or x_best is None or y_best is None:
        return None
    x, y = game.split(z)
    return game.payoff(x, y_best, None) - game.payoff(x_best, y, None)


@torch.no_grad()
def restricted_gap(game: Game, z: Tensor, radius: float, center: Tensor | None = None) -> Tensor:
    """Return the duality gap, shape (*S,), where each player's answer lies in the ball of a radius around a center.

    On unbounded sets the duality gap may be infinite. The restricted one is finite, and if the ball contains a saddle
    in its interior and z lies in it, it is 0 exactly at saddles. The answers maximize second-order models of the payoff
    on the ball: exact in one round if the payoff is bilinear or quadratic. Source: Nesterov 2007, "Dual extrapolation
    and its applications to solving variational inequalities".

    Args:
        game: Zero-sum game without constraints. A Noisy one is evaluated without its noise.
        z: Joint strategies, (*S, n + m).
        radius: Radius of both balls.
        center: Center of both balls, (n + m,), by default the solution of the game.

    Raises:
        GameError: The game has no payoff or has constraints, no center is known, or an answer meets a payoff that is
            not concave in the player's own strategy, whose maximum is not found by local models.

    Example:
        >>> from robustgames.games.toy import Bilinear
        >>> restricted_gap(Bilinear(), torch.tensor([3.0, 4.0]), radius=2.0)
        tensor(14.)
    """
    game = game.exact
    if not isinstance(game, ZeroSumGame) or not all(type(part) is Space for part in game.sets):
        raise GameError(f"restricted_gap needs a zero-sum game on unbounded sets, not {game}: use duality_gap")
    if not 0 < radius < float("inf"):
        raise GameError(f"radius is {radius}: it must be a positive number, e.g. radius=1.0")
    center = game.solution() if center is None else center
    if center is None:
        raise GameError(f"{game} has no known solution: pass center=, a point of shape ({sum(game.sizes)},)")
    start = center.to(z).expand(z.shape)
    values = [_answer(game, z, start, radius, player) for player in (0, 1)]
    return values[0] + values[1]


def _answer(game: ZeroSumGame, z: Tensor, center: Tensor, radius: float, player: int) -> Tensor:
    """Return max over one player's ball of its own reward, (*S,)."""
    own = slice(0, game.sizes[0]) if player == 0 else slice(game.sizes[0], None)
    middle = center[..., own]
    point = torch.cat([middle, game.split(z)[1]] if player == 0 else [game.split(z)[0], middle], -1)
    reward = game.evaluate(point)[0][player]
    for _ in range(ROUNDS):
        bend = -symmetric(jacobian(game, point)[..., own, own])
        curvature, basis = torch.linalg.eigh(bend)
        scale = curvature.abs().amax(-1).clamp_min(1)
        if bool((curvature[..., 0] < -1e-6 * scale).any()):
            raise GameError(
                f"the payoff of {game} is not concave in {game.players[player]} within radius {radius}, "
                "so its best answer is not known: take a smaller one"
            )
        away = point[..., own] - middle
        slope = game.field(point, None, player) + (bend @ away.unsqueeze(-1)).squeeze(-1)
        goal = middle + _on_ball(slope, curvature.clamp_min(0), basis, radius)
        step, size = goal - point[..., own], torch.ones_like(reward)
        for _ in range(HALVINGS):
            trial = point.clone()
            trial[..., own] += size.unsqueeze(-1) * step
            value = game.evaluate(trial)[0][player]
            if bool((worse := value < reward).logical_not().all()):
                break
            size = torch.where(worse, size / 2, size)
        better = value > reward
        gain = (value - reward).clamp_min(0)
        point, reward = torch.where(better.unsqueeze(-1), trial, point), torch.maximum(value, reward)
        if bool((gain <= 4 * torch.finfo(z.dtype).eps * reward.abs().clamp_min(1)).all()):
            break
    return reward


def _on_ball(slope: Tensor, curvature: Tensor, basis: Tensor, radius: float) -> Tensor:
    """Return argmax of <slope, u> - uᵀQu/2 on |u| <= radius, Q = basis diag(curvature) basisᵀ: u = (Q + ν)⁻¹ slope."""
    part = (basis.mT @ slope.unsqueeze(-1)).squeeze(-1)
    low, tiny = torch.zeros_like(part[..., :1]), torch.finfo(part.dtype).tiny
    high = torch.linalg.vector_norm(part, dim=-1, keepdim=True) / radius
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        u = part / (curvature + middle).clamp_min(tiny)
        outside = torch.linalg.vector_norm(u, dim=-1, keepdim=True) > radius
        low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
    return (basis @ (part / (curvature + high.clamp_min(tiny))).unsqueeze(-1)).squeeze(-1)
