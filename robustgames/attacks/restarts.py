"""Several tries of one attack: random restarts, and one run toward each of the likeliest wrong classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from robustgames.attacks.passes import stronger
from robustgames.attacks.problem import Problem
from robustgames.errors import GameError

Search = Callable[[Problem], Tensor]  # problem -> perturbations (N, p)
Try = Callable[[Problem, Tensor], Tensor]  # (problem of some rows, their indices) -> perturbations


def restart(p: Problem, search: Search, restarts: int) -> Tensor:
    """Return the perturbations of several runs, each on the rows that are not fooled yet."""
    return _try_each(p, [lambda q, _: search(q)] * restarts)


def toward_each_class(p: Problem, search: Search, classes: int, restarts: int = 1) -> Tensor:
    """Return the perturbations of runs toward each of the likeliest wrong classes, on the rows not fooled yet."""
    goals = [target for target in p.candidates(classes).unbind(-1) for _ in range(restarts)]
    return _try_each(p, [_toward(search, goal) for goal in goals])


def _toward(search: Search, goal: Tensor) -> Try:
    return lambda q, rows: search(replace(q, targets=goal[rows], reach=False))


def _try_each(p: Problem, tries: list[Try]) -> Tensor:
    """Return η after several tries, each on the rows that are not fooled yet; the others keep their highest loss."""
    eta, open_ = torch.zeros_like(p.a), torch.arange(len(p.a), device=p.a.device)
    if len(tries) == 1:
        return tries[0](p, open_)
    if p.eot > 1:
        return _strongest(p, [once(p, open_) for once in tries])
    best = torch.full_like(p.a[:, 0], -float("inf"))
    for once in tries:
        part = p.rows(open_)
        new = once(part, open_)
        loss, fooled = part.losses(new)
        better = fooled | (loss > best[open_])
        eta[open_] = torch.where(better.unsqueeze(-1), new, eta[open_])
        best[open_] = torch.maximum(loss, best[open_])
        open_ = open_[~fooled]
        if len(open_) == 0:
            break
    return eta


def _strongest(p: Problem, tries: list[Tensor]) -> Tensor:
    """Return the η of each row that fools a stochastic classifier in most passes; no row leaves before the last try."""
    eta, share, loss = tries[0], *reversed(p.losses(tries[0]))
    for new in tries[1:]:
        value, fooled = p.losses(new)
        better = stronger(fooled, value, share, loss)
        eta = torch.where(better.unsqueeze(-1), new, eta)
        loss, share = torch.where(better, value, loss), torch.where(better, fooled, share)
    return eta


def check_restarts(restarts: int) -> None:
    """Refuse a number of restarts below 1."""
    if restarts < 1:
        raise GameError(f"restarts is {restarts}: at least 1 run is needed")


def check_classes(classes: int) -> None:
    """Refuse a number of wrong classes below 1."""
    if not classes >= 1:
        raise GameError(f"classes is {classes}: at least 1 wrong class is needed")
