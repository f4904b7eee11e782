"""Danskin's theorem made visible: f(x) = max_{y in Y} Φ(x, y), its gradients, its kinks and its descent directions.

For Y compact and ∇x Φ continuous in (x, y), with Y*(x) the set of maximizers at x (Danskin 1967):

    f'(x; d) = max {<∇x Φ(x, y), d> : y in Y*(x)}       the one-sided derivative along d
    ∇f(x)    = ∇x Φ(x, y*)                              if Y*(x) = {y*}
    ∂f(x)    = conv {∇x Φ(x, y) : y in Y*(x)}           (Clarke's, if Φ is not convex in x)

Minus the gradient at one of several maximizers may *increase* f; minus the element of least norm of ∂f(x) does not.
Gradients g are those of f, which x minimizes: a step is x - t g, and the field is V_x = -g. X is taken as all of R^n.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.game import Game, Sample, ZeroSumGame
from robustgames.solvers.derivatives import check_tolerance


def danskin_gradient(game: Game, x: Tensor, y: Tensor, sample: Sample = None) -> Tensor:
    """Return ∇x Φ(x, y; ζ), shape (*S, n): the gradient of f at x if y is the *only* maximizer.

    At one of several maximizers it is one element of ∂f(x), and minus it need not be a descent direction. At a y that
    does not maximize it is not a derivative of f. Only that y lies in Y is checked, not that it maximizes.

    Source: lecture "Danskin's theorem", 2; Danskin 1967, The Theory of Max-Min.

    Args:
        game: Zero-sum game. A Noisy one is taken without its noise.
        x: Strategies of player 0, (*S, n).
        y: Maximizers of Φ(x, ·) in Y, (*S, m), e.g. `game.best_response(z, 1)`.
        sample: Draw ζ that defines f, or None for a deterministic game.

    Raises:
        GameError: The game has no payoff, x or y has a wrong shape, or y is outside Y.

    Example:
        >>> from robustgames.games import Quadratic
        >>> game, x = Quadratic(2.0, 2.0, coupling=1.0), torch.tensor([1.0])
        >>> y = game.best_response(torch.tensor([1.0, 0.0]), 1)    # f(x) = x² + x²/4
        >>> danskin_gradient(game, x, y)
        tensor([2.5000])
    """
    game = _zero_sum(game)
    return -game.field(_joint(game, x, y, sample), sample, 0)


def subdifferential(game: Game, x: Tensor, candidates: Tensor, sample: Sample = None, tol: float = 1e-6) -> Tensor:
    """Return generators g_i = ∇x Φ(x, y_i; ζ) of ∂f(x) = conv{g_i}, shape (k', n), one per maximizer y_i.

    A candidate whose payoff is below the best candidate's is dropped. Without some of the maximizers conv{g_i} is
    only a part of ∂f(x). If Φ is affine in y and Y is a polytope, its vertices are enough.

    Source: lecture "Danskin's theorem", 3.

    Args:
        game: Zero-sum game. A Noisy one is taken without its noise.
        x: One point, (n,).
        candidates: Points of Y that include the maximizers, (k, m).
        sample: Draw ζ of one run that defines f, or None for a deterministic game.
        tol: Tolerance. Payoffs that differ by at most tol * max(1, |best|) count as equal.

    Raises:
        GameError: The game has no payoff, a candidate is outside Y, x is a batch, there is no candidate, or a payoff
            is not finite.

    Example:
        >>> from robustgames.games import Bilinear
        >>> kink = torch.tensor([0.0])                             # f = |x|: every y in [-1, 1] maximizes at 0
        >>> subdifferential(Bilinear(radius=1.0), kink, torch.tensor([[-1.0], [1.0]]))
        tensor([[-1.],
                [ 1.]])
    """
    check_tolerance(tol)
    if x.dim() != 1 or candidates.dim() != 2 or len(candidates) == 0:
        raise GameError(
            f"subdifferential takes one x of shape (n,) and candidates of shape (k, m), k >= 1, got {tuple(x.shape)} "
            f"and {tuple(candidates.shape)}: pass x[i], and torch.stack([y1, y2])"
        )
    game = _zero_sum(game)
    # one by one: a sample ζ of one run does not broadcast against k strategies
    points = [_joint(game, x, y, sample) for y in candidates]
    with torch.no_grad():
        values = torch.stack([game.payoff(*game.split(z), sample) for z in points])
    if not bool(torch.isfinite(values).all()):
        raise GameError(f"the payoffs of the candidates are {values.tolist()}: they must be finite, check x")
    best = float(values.max())
    active = (values >= best - tol * max(1.0, abs(best))).tolist()
    return torch.stack([-game.field(z, sample, 0) for z, keep in zip(points, active, strict=True) if keep])


def directional_derivative(generators: Tensor, direction: Tensor) -> Tensor:
    """Return f'(x; d) = max_i <g_i, d>, shape (*D,): the limit of (f(x + t d) - f(x)) / t for t > 0, t -> 0.

    If it is negative, d is a descent direction; if positive, f rises along d. It is a lower bound if a generator is
    missing.

    Source: Danskin 1967.

    Args:
        generators: Gradients g_i of `subdifferential`, (k, n).
        direction: Directions d, (*D, n), which are not normalized.

    Raises:
        GameError: Shapes do not fit, or a generator is not finite.

    Example:
        >>> directional_derivative(torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [-3.0]]))    # f = |x| at 0
        tensor([2., 3.])
    """
    _check_generators(generators)
    if direction.dim() == 0 or direction.shape[-1] != generators.shape[1]:
        raise GameError(f"direction has shape {tuple(direction.shape)}: (*D, {generators.shape[1]}) is expected here")
    return (direction @ generators.mT).amax(-1)


def min_norm_element(generators: Tensor) -> Tensor:
    """Return g* = argmin {|g|_2 : g in conv{g_i}}, shape (n,), by Wolfe's algorithm: exact after finitely many steps.

    -g* is the direction of steepest descent of f: f'(x; -g*) = -|g*|², and no unit vector d has f'(x; d) < -|g*|.
    It is 0 exactly if x is stationary: f'(x; d) >= 0 for all d. Computed in float64; an element shorter than 1e-14 of
    the longest generator is roundoff and becomes 0.

    Source: Wolfe 1976, Finding the nearest point in a polytope; for adversarial training, Latorre et al., ICLR 2023.

    Args:
        generators: Gradients g_i of `subdifferential`, (k, n). Duplicates and dependent ones are allowed.

    Raises:
        GameError: There is no generator, or one is not finite.

    Example:
        >>> min_norm_element(torch.tensor([[3.0, -1.0], [-1.0, 3.0], [4.0, 4.0]]))
        tensor([1., 1.])
    """
    _check_generators(generators)
    points = generators.detach().to("cpu", torch.float64)
    scale = points.abs().max().clamp_min(1e-300)
    points = points / scale  # no square under- or overflows
    lengths = torch.linalg.vector_norm(points, dim=1)
    corral, weights = [int(lengths.argmin())], points.new_ones(1)
    g = points[corral[0]]
    while True:
        products = points @ g
        j = int(products.argmin())
        if products[j] >= g @ g:  # optimal: the hyperplane through g separates all generators from 0
            break
        corral, weights = _next_corral(points, [*corral, j], torch.cat([weights, weights.new_zeros(1)]))
        closer = weights @ points[corral]
        if closer @ closer >= g @ g:  # only roundoff is left: in exact arithmetic every cycle comes closer
            break
        g = closer
    return (g * scale if g.norm() > 1e-14 * lengths.max() else torch.zeros_like(g)).to(generators)


def _next_corral(points: Tensor, corral: list[int], weights: Tensor) -> tuple[list[int], Tensor]:
    """Drop points until the affine hull of the rest has its element of least norm inside their convex hull."""
    while True:
        affine = _affine_weights(points[corral])
        if bool((affine > 0).all()):
            return corral, affine
        ratio = torch.where(affine > 0, torch.inf, weights / (weights - affine).clamp_min(1e-300))  # 0 / 0 is 0
        weights = weights + ratio.min() * (affine - weights)  # as far as the convex hull reaches
        weights[ratio.argmin()] = 0
        kept = weights > 0
        corral, weights = [i for i, keep in zip(corral, kept.tolist(), strict=True) if keep], weights[kept]


def _affine_weights(corral: Tensor) -> Tensor:
    """Return w with sum(w) = 1 that minimizes |w @ corral|; least squares on differences keeps the digits of g."""
    edges = (corral[1:] - corral[0]).mT
    rest = torch.linalg.lstsq(edges, -corral[0].unsqueeze(-1), driver="gelsd").solution.squeeze(-1)
    return torch.cat([1 - rest.sum(0, keepdim=True), rest])


def _zero_sum(game: Game) -> ZeroSumGame:
    game = game.exact
    if not isinstance(game, ZeroSumGame):
        raise GameError(f"{game} has no payoff Φ to maximize: Danskin's theorem needs a ZeroSumGame, e.g. Bilinear()")
    return game


def _joint(game: Game, x: Tensor, y: Tensor, sample: Sample) -> Tensor:
    """Return [x | y] without a graph, after checking its shape and that y lies in Y."""
    n, m = game.sizes
    if x.shape[-1:] != (n,) or y.shape != (*x.shape[:-1], m):
        raise GameError(f"x and y have shapes {tuple(x.shape)} and {tuple(y.shape)}: (*S, {n}) and (*S, {m}) of {game}")
    z = torch.cat([x.detach(), y.detach()], -1)
    if not torch.allclose(game.project(z, sample)[..., n:], z[..., n:], atol=1e-5):
        raise GameError(f"y is not in Y: maximize over Y only, e.g. y = game.project(torch.cat([x, y], -1))[..., {n}:]")
    return z


def _check_generators(generators: Tensor) -> None:
    if generators.dim() != 2 or 0 in generators.shape or not bool(torch.isfinite(generators).all()):
        what = f"generators of shape {tuple(generators.shape)}: finite numbers (k, n), k >= 1, are expected"
        raise GameError(f"{what}, one gradient per maximizer, as from subdifferential(game, x, candidates)")
