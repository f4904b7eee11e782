"""Square in ℓ∞: a search over the corners of the ball, in three forms with the same draws.

Row by row with the model as it is; locally for small windows and chains of layers on a CPU; on a GPU without a look at
single rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from robustgames.attacks.engine import PATIENCE
from robustgames.attacks.local import Local, local_logits
from robustgames.attacks.passes import stronger
from robustgames.attacks.problem import Problem
from robustgames.attacks.windows import Grid, Window, draw_windows

Draws = Iterable[tuple[Tensor, Window]]  # the corner of each channel, and where
SMALL = 9  # windows of at most a ninth of an image are evaluated locally: larger ones reach all of the second layer


def search_corners(p: Problem, queries: int, p_init: float) -> Tensor:
    """Return the perturbations of a search over corners of the ball."""
    grid, full = Grid.from_shape(p.shape), p.threat.eps * torch.ones_like(p.a)
    low, high = (p.project(corner) for corner in (-full, full))
    dark, bright = (p.inputs(corner).view(-1, *grid) for corner in (low, high))
    up = coins_of(p, len(p.a), grid.channels, 1, grid.width).repeat(1, 1, grid.height, 1)  # vertical stripes
    images = torch.where(up, bright, dark)
    judge = replace(p, a=p.a[:, :0])  # labels and targets only, because the images are kept here
    best, done = _query(judge, images)
    if p.eot > 1:
        done = torch.zeros_like(p.labels, dtype=torch.bool)  # another window may fool more passes
    coins, untried = coins_of(p, queries, grid.channels, 1, 1), p.eot == 1 and p.dtype is None
    draws = zip(coins, draw_windows(p, grid, queries, p_init), strict=True)
    if p.a.device.type in PATIENCE and p.eot == 1:
        return torch.where(_together(judge, images, up, bright, dark, best, done, draws).flatten(1), high, low)
    for coin, window in draws:
        if untried and SMALL * window.height * window.width <= grid.height * grid.width:
            alive, untried = (~done).nonzero().squeeze(-1), False
            local = local_logits(p.victim, images[alive], p.shape)
            if local is not None:
                draws = chain([(coin, window)], draws)
                up[alive] = _locally(
                    judge.rows(alive), local, up[alive], bright[alive], dark[alive], best[alive], draws
                )
                break
        rows = (~done & (window.of(up) != coin).flatten(1).any(-1)).nonzero().squeeze(-1)
        if len(rows) == 0:
            if bool(done.all()):
                break
            continue
        trial, corner = images[rows], torch.where(coin, window.of(bright), window.of(dark))[rows]
        window.of(trial).copy_(corner)
        part = judge.rows(rows)
        value, fooled = _query(part, trial)
        better = (value > best[rows]) | fooled if p.eot == 1 else stronger(fooled, value, *now(part, images[rows]))
        kept = rows[better]
        window.of(images)[kept], window.of(up)[kept] = corner[better], coin
        best[kept] = value[better]
        if p.eot == 1:
            done[kept] = fooled[better]
    return torch.where(up.flatten(1), high, low)


def _locally(
    p: Problem,
    local: Local,
    up: Tensor,
    bright: Tensor,
    dark: Tensor,
    best: Tensor,
    draws: Iterable[tuple[Tensor, Window]],
) -> Tensor:
    """Return the corners, up or down, at which the same search ends from there, on rows that are not fooled yet."""
    out, alive = up.clone(), torch.arange(len(up))
    for coin, window in draws:
        changed = (window.of(up) != coin).flatten(1).any(-1)
        count = int(changed.sum())
        if count == 0:
            if len(alive) == 0:
                break
            continue
        logits, updates = local.logits(window, torch.where(coin, window.of(bright), window.of(dark)))
        p.victim.count_pass(logits, count)
        fooled = p.fooled(logits) & changed
        won = fooled.nonzero().squeeze(-1)
        if len(won) > 0:  # up to rounding: the model itself has the last word
            trial = up[won]
            window.of(trial).copy_(coin.expand_as(window.of(trial)))
            logits[won] = p.victim.plain(torch.where(trial, bright[won], dark[won]).view(-1, *p.shape))
            fooled = p.fooled(logits) & changed
        value = p.losses_of(logits)
        chosen = (((value > best) | fooled) & changed).nonzero().squeeze(-1)
        if len(chosen) == 0:
            continue
        window.of(up)[chosen], best[chosen] = coin, value[chosen]
        local.accept(chosen, updates)
        if len(won) > 0:
            out[alive[fooled]] = up[fooled]
            rows = (~fooled).nonzero().squeeze(-1)
            local.keep(rows)
            p, alive, up, best = p.rows(rows), alive[rows], up[rows], best[rows]
            bright, dark = bright[rows], dark[rows]
    out[alive] = up
    return out


def _together(
    p: Problem, images: Tensor, up: Tensor, bright: Tensor, dark: Tensor, best: Tensor, done: Tensor, draws: Draws
) -> Tensor:
    """Return the corners at which the same search ends, without a look at single rows, for which a GPU would wait."""
    out, alive = up.clone(), torch.arange(len(up), device=up.device)
    for k, (coin, window) in enumerate(draws):
        if k % PATIENCE[up.device.type] == 0:
            out[alive] = up
            rows = (~done).nonzero().squeeze(-1)
            p, alive, best, done = p.rows(rows), alive[rows], best[rows], done[rows]
            images, up, bright, dark = (part[rows] for part in (images, up, bright, dark))
            if len(alive) == 0:
                break
        changed = (window.of(up) != coin).flatten(1).any(-1)
        trial, corner = images.clone(), torch.where(coin, window.of(bright), window.of(dark))
        window.of(trial).copy_(corner)
        value, fooled = _query(p, trial)
        better = ((value > best) | fooled) & changed & ~done
        best, done = torch.where(better, value, best), done | fooled & better
        better = better.view(-1, 1, 1, 1)
        window.of(images).copy_(torch.where(better, corner, window.of(images)))
        window.of(up).copy_(torch.where(better, coin, window.of(up)))
    out[alive] = up
    return out


def _query(p: Problem, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return (losses (N,), fooled (N,)) of images."""
    return p.losses_at(images.view(-1, *p.shape))


def now(p: Problem, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return (shares of the passes that are fooled, losses) of images, under the noise of the proposal.

    The rows differ from query to query and with them their noise, so older means cannot be compared.
    """
    value, share = _query(p, images)
    return share, value


def coins_of(p: Problem, *shape: int) -> Tensor:
    """Return coins, True or False."""
    return torch.rand(shape, generator=p.generator, device=p.a.device) < 0.5
