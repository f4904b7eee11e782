"""Products of the derivative DV of a game's field with vectors, for schemes of second order."""

from __future__ import annotations

import torch
from torch import Tensor

from robustgames.games.game import Game, Sample


def vector_jacobian(
    game: Game, z: Tensor, sample: Sample = None, u: Tensor | None = None, player: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return (V, DVᵀu) at z: the gradient of <V, u> for a constant u, by one backward pass.

    Args:
        game: Game.
        z: Joint strategies, (*S, n + m).
        sample: ζ.
        u: Vectors like V; V itself if None.
        player: Player whose block of V is meant; None stands for both.

    Example:
        >>> from robustgames.games.toy import Bilinear
        >>> vector_jacobian(Bilinear(), torch.tensor([2.0, 3.0]))
        (tensor([-3.,  2.]), tensor([2., 3.]))
    """
    if torch.compiler.is_compiling():  # only torch.func can be traced into one graph
        v, pull = torch.func.vjp(lambda point: game.field(point, sample, player), z)  # type: ignore[misc]
        return v, pull(v if u is None else u)[0]
    with torch.enable_grad():
        point = z.detach().requires_grad_()
        v = game.field(point, sample, player)
        if not v.requires_grad:  # a constant field
            return v, torch.zeros_like(z)
        (found,) = torch.autograd.grad(v, point, v.detach() if u is None else u, materialize_grads=True)
    return v.detach(), found


def jacobian_vector(
    game: Game, z: Tensor, sample: Sample, u: Tensor, player: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return (V, DV u) at z: the slope of V along u.

    DVᵀw is linear in w, and its derivative along u is DV u. So two backward passes give it for every field that can be
    differentiated once, also where PyTorch has no forward mode.

    Args:
        game: Game.
        z: Joint strategies, (*S, n + m).
        sample: ζ.
        u: Vectors like z.
        player: Player whose block of V is meant; None stands for both.

    Example:
        >>> from robustgames.games.toy import Bilinear
        >>> jacobian_vector(Bilinear(), torch.tensor([2.0, 3.0]), None, torch.tensor([1.0, 0.0]), player=1)
        (tensor([2.]), tensor([1.]))
    """
    if torch.compiler.is_compiling():
        v, pushed = torch.func.jvp(lambda point: game.field(point, sample, player), (z,), (u,))  # type: ignore[misc]
        return v, pushed
    with torch.enable_grad():
        point = z.detach().requires_grad_()
        v = game.field(point, sample, player)
        if not v.requires_grad:
            return v, torch.zeros_like(v)
        w = torch.zeros_like(v).requires_grad_()
        (pulled,) = torch.autograd.grad(v, point, w, create_graph=True, materialize_grads=True)
        if not pulled.requires_grad:
            return v.detach(), torch.zeros_like(v)
        (found,) = torch.autograd.grad(pulled, w, u, materialize_grads=True)
    return v.detach(), found
