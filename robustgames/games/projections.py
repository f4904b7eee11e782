"""Exact Euclidean projections on a norm ball joined with a box around its center, row by row.

Each row has one unknown, the multiplier of the ball, the root of a piecewise linear function. On a processor it is
found by Newton steps inside a bracket: a few passes over memory, in which finished rows leave. On a GPU, where sorting
is cheap and waiting for a result is not, the breaks are sorted; so are rows that Newton does not finish.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

NEWTON_STEPS = 40  # before the rows that are left are sorted; 5 to 10 are usual
LARGE = 64  # times the radius: in larger points the distances on the scale of the ball are rounded away
RANGE = 1e9  # ratio of largest coordinate and radius from which squares underflow in float32
FINITE = 1e150  # largest modulus whose squares are finite, for float64
Measure = Callable[
    ..., tuple[Tensor, Tensor]
]  # (u, buffers, *parts) -> (a value that decreases with u, minus its slope)


def project_l0_in_box(v: Tensor, radius: float | Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Return the point nearest to v with at most `radius` coordinates that are not 0, inside a box around 0.

    A coordinate that is kept moves to c = clip(v, low, high), which lowers the squared distance by v² - (v - c)². The
    coordinates that lower it the most are kept, of equal ones the first.
    """
    inside = torch.minimum(torch.maximum(v, like(low, v)), like(high, v))
    gain = (inside * (2 * v - inside)).nan_to_num(nan=0.0)
    order = gain.argsort(stable=True, dim=-1, descending=True)
    kept = torch.arange(v.shape[-1], device=v.device) < _column(radius, v)
    return torch.where(torch.zeros_like(v, dtype=torch.bool).scatter(-1, order, kept), inside, 0)


def project_l1_in_box(v: Tensor, radius: float | Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Return the projection of v onto `L1BallInBox(radius, low, high)`, whose arguments are not checked."""
    radius = _column(radius, v)
    size, room = v.abs(), way(v, radius, low, high)
    size = _on_scale(size, room, radius)
    theta = _threshold(size, room, radius)
    reach = torch.minimum((size - theta).clamp_min_(0), room)
    # if v is so large that size - theta is rounding, the sum must still stay in the ball
    reach *= (radius / reach.sum(-1, keepdim=True)).nan_to_num_(nan=1.0).clamp_max_(1)
    return torch.copysign(reach, v)


def project_l2_in_box(
    v: Tensor, radius: float | Tensor, low: float | Tensor, high: float | Tensor, most: float = 1.0
) -> Tensor:
    """Return sign(v) min(s |v|, room) with the largest s <= most inside `L2BallInBox`: its projection for most = 1."""
    radius = _column(radius, v)
    size, room = v.abs(), way(v, radius, low, high)
    if not size.is_cuda and most == 1:
        reach = _scaled(size, room, radius, most).reshape(-1, size.shape[-1])
        if len(rows := _indices(_is_extreme(size, radius).reshape(-1, 1))) > 0:
            few, wall, ball = (part.reshape(-1, part.shape[-1])[rows] for part in (size, room, radius))
            reach[rows] = _scaled_in_double(few, wall, ball, most)
        reach = reach.reshape(v.shape)
    else:
        reach = _scaled_in_double(size, room, radius, most)
    return torch.copysign(reach, v)


def largest(v: Tensor) -> Tensor:
    """Return the largest modulus of each row, (*S, 1)."""
    return v.abs().amax(-1, keepdim=True)


def signs(v: Tensor) -> Tensor:
    """Return the sign of each coordinate; NaN stays NaN, of which `torch.sign` makes 0."""
    return torch.where(v.isnan(), v, v.sign())


def direction(v: Tensor) -> Tensor:
    """Return v / |v|_2, row by row at every scale; 0 at 0."""
    limits = torch.finfo(v.dtype)
    v = v.clamp(limits.min, limits.max)
    v = v / largest(v).clamp_min(limits.tiny)
    return v / torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp_min(limits.tiny)


def norm(v: Tensor) -> Tensor:
    """Return |v|_2 of each row, (*S, 1), at every scale."""
    plain, unit = torch.linalg.vector_norm(v, dim=-1, keepdim=True), largest(v)
    scaled = unit * torch.linalg.vector_norm(v / unit, dim=-1, keepdim=True)
    scaled = torch.where((unit > 0) & (unit < float("inf")), scaled, unit)
    return torch.where((plain > 1e-15) & (plain < 1e15), plain, scaled)  # else squares may be 0 or infinite


def threshold(v: Tensor, total: float) -> Tensor:
    """Return max(v_i - theta, 0) with sum_i max(v_i - theta, 0) = total, (*S, n).

    Only differences from the largest coordinate count, and only up to `total`: so no digits are lost in large points.
    """
    top = v.amax(-1, keepdim=True)
    v = torch.where(v == top, 0, v - top).clamp_min(-total)  # inf - inf is NaN
    u = v.sort(dim=-1, descending=True).values
    excess = u.cumsum(-1) - total
    count = torch.arange(1, v.shape[-1] + 1, device=v.device, dtype=v.dtype)
    rho = (u * count > excess).sum(-1, keepdim=True).clamp_min(1)  # the test holds up to rho, then never again
    return (v - excess.gather(-1, rho - 1) / rho).clamp_min(0)


def _on_scale(size: Tensor, room: Tensor, radius: Tensor) -> Tensor:
    """Return sizes in [0, 2 radius] with the same projection onto the ℓ1 ball in the box, in the rows of large ones.

    Let s be the first of the falling sizes at which the rooms so far hold the radius. The threshold lies between
    s - radius and s. So only differences from s count, and only up to the radius: no digits are lost in large points.
    """
    large = largest(size) > LARGE * radius
    if not size.is_cuda and not bool(large.any()):
        return size
    falling, order = size.sort(dim=-1, descending=True)
    held = (room.gather(-1, order).cumsum(-1) < radius).sum(-1, keepdim=True)
    s = falling.gather(-1, held.clamp_max(size.shape[-1] - 1))
    near = torch.where(size == s, 0, size - s)  # inf - inf is NaN
    near = torch.minimum(torch.maximum(near, -radius), radius) + radius
    outside = torch.minimum(size, room).sum(-1, keepdim=True) > radius
    return torch.where(large & outside, near, size)


def _is_extreme(size: Tensor, radius: Tensor) -> Tensor:
    """Return whether squares of a row of float32 may overflow or underflow, (*S, 1)."""
    top = largest(size)
    return (radius < 1 / RANGE) | (radius > RANGE) | (top > RANGE * radius)


def _scaled(size: Tensor, room: Tensor, radius: Tensor, most: float) -> Tensor:
    """Return min(s size, room) with the largest s <= most for which its norm is at most the radius."""
    scale = _scale(size, room, radius, most)
    reach = torch.where(size == 0, 0, scale * size)  # the scale is infinite where the box lies inside the ball
    return torch.minimum(reach, room)


def _scaled_in_double(size: Tensor, room: Tensor, radius: Tensor, most: float) -> Tensor:
    wide = (size.double().clamp_max(FINITE), room.double(), radius.double())
    return _scaled(*wide, most).to(size.dtype)


def way(direction: Tensor, radius: float | Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Return the distance that each coordinate may move in its direction: to the box, at most the whole budget."""
    return torch.where(direction > 0, like(high, direction), -like(low, direction)).clamp_max(radius)


def _column(radius: float | Tensor, rows: Tensor) -> Tensor:
    if not isinstance(radius, Tensor):
        return rows.new_full((*rows.shape[:-1], 1), radius)
    return radius.to(rows).expand(*rows.shape[:-1], 1)


def like(bound: float | Tensor, point: Tensor) -> Tensor:
    """Return a bound as a tensor in the dtype and on the device of the point, of its shape if it is a number."""
    return bound.to(point) if isinstance(bound, Tensor) else torch.full_like(point, bound)


def _threshold(size: Tensor, room: Tensor, radius: Tensor) -> Tensor:
    """Return the least theta >= 0 with sum_i clip(size_i - theta, 0, room_i) <= radius, shape (*S, 1)."""
    if size.is_cuda:
        return _clipped_threshold(size, room, radius)
    size, room, goal = (part.reshape(-1, part.shape[-1]) for part in (size, room, radius))
    theta = torch.zeros_like(goal)
    outside = _indices(torch.minimum(size, room).sum(-1, keepdim=True) > goal)
    if len(outside) > 0:
        parts = size.index_select(0, outside), room.index_select(0, outside)
        top = parts[0].amax(-1, keepdim=True)
        theta[outside], left = _newton(_spent, torch.zeros_like(top), torch.zeros_like(top), top, goal[outside], parts)
        if len(left) > 0:
            rows = outside[left]
            theta[rows] = _clipped_threshold(size[rows], room[rows], goal[rows])
    return theta.view(radius.shape)


def _scale(size: Tensor, room: Tensor, radius: Tensor, most: float) -> Tensor:
    """Return the largest s <= most with sum_i min(s size_i, room_i)² <= radius², shape (*S, 1)."""
    shape = radius.shape
    size, room, radius = (part.reshape(-1, part.shape[-1]) for part in (size, room, radius))
    unit = size.amax(-1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)  # no square may overflow
    share, walls, goal = (size / unit).square_(), room.square(), radius.square()
    if size.is_cuda:
        return (_clipped_scale(share, walls, goal).sqrt() / unit).clamp_max(most).view(shape)
    scale = torch.full_like(goal, most)
    whole = torch.minimum((most * unit).square() * share, walls) if most < float("inf") else walls * (share > 0)
    outside = _indices(whole.sum(-1, keepdim=True) > goal)
    if len(outside) > 0:
        parts, goal = (share.index_select(0, outside), walls.index_select(0, outside)), goal[outside]
        first = -goal / parts[0].sum(-1, keepdim=True)  # the value without walls: s² is at least that
        least = torch.full_like(first, -torch.finfo(first.dtype).max / 4)
        u, left = _newton(_filled, first, least, torch.zeros_like(first), goal, parts)
        if len(left) > 0:
            u[left] = -_clipped_scale(parts[0][left], parts[1][left], goal[left])
        scale[outside] = ((-u).clamp_min_(0).sqrt_() / unit[outside]).clamp_max(most)
    return scale.view(shape)


def _spent(theta: Tensor, work: tuple[Tensor, Tensor], size: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    far, reach = work
    torch.sub(size, theta, out=far)
    torch.minimum(torch.clamp_min(far, 0, out=reach), room, out=reach)
    value = reach.sum(-1, keepdim=True)
    free = torch.eq(reach, far, out=far)  # as numbers: a sum of booleans is slow
    return value, free.sum(-1, keepdim=True)


def _filled(u: Tensor, work: tuple[Tensor, Tensor], share: Tensor, walls: Tensor) -> tuple[Tensor, Tensor]:
    far, reach = work
    torch.minimum(torch.mul(share, -u, out=far), walls, out=reach)
    value = reach.sum(-1, keepdim=True)
    free = torch.eq(reach, far, out=far).mul_(share)
    return value, free.sum(-1, keepdim=True)


def _newton(
    measure: Measure, u: Tensor, low: Tensor, high: Tensor, goal: Tensor, parts: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """Return u (N, 1) with measure(u) = goal, and the rows without a root; it bisects out of the bracket."""
    out, rows, tol = u.clone(), torch.arange(len(u), device=u.device), 16 * torch.finfo(u.dtype).eps
    work = torch.empty_like(parts[0]), torch.empty_like(parts[0])  # new memory in each step would cost the most
    for _ in range(NEWTON_STEPS):
        value, slope = measure(u, work, *parts)
        over = value - goal
        low, high = torch.where(over > 0, u, low), torch.where(over > 0, high, u)
        new = u + over / slope
        done = (over.abs() <= tol * goal) & torch.isfinite(new) | ((new - u).abs() <= tol * u.abs())
        u = torch.where(done | ((new > low) & (new < high)), new, (low + high) / 2)
        out[rows] = u
        open_ = _indices(~done)
        if len(open_) == 0:
            return out, rows[:0]
        if len(open_) < 0.7 * len(rows):  # else the copies cost more than the rows
            rows, u, low, high, goal = (part[open_] for part in (rows, u, low, high, goal))
            parts = tuple(part.index_select(0, open_) for part in parts)
            work = work[0][: len(rows)], work[1][: len(rows)]
    return out, rows


def _indices(mask: Tensor) -> Tensor:
    return mask.squeeze(-1).nonzero().squeeze(-1)


def _clipped_threshold(size: Tensor, room: Tensor, radius: Tensor) -> Tensor:
    """Return the least theta >= 0 with sum_i clip(size_i - theta, 0, room_i) <= radius, shape (*S, 1)."""
    breaks, order = torch.cat([size, size - room], -1).sort(dim=-1)
    # the sum decreases with theta: slope -1 for every coordinate with size_i - room_i < theta < size_i
    n = size.shape[-1]
    turn = torch.where(order < n, 1.0, -1.0).to(size)  # +1: a coordinate has reached 0; -1: it leaves its wall
    slope = turn.cumsum(-1)
    fall = (slope[..., :-1] * breaks.diff(dim=-1)).cumsum(-1)
    total = torch.cat([torch.zeros_like(breaks[..., :1]), fall], -1) + room.sum(-1, keepdim=True)
    last = (total > radius).sum(-1, keepdim=True)  # total is non-increasing: the crossing lies before `last`
    left = (last - 1).clamp_min(0)
    start, value = breaks.gather(-1, left), total.gather(-1, left)
    step = (value - radius) / -slope.gather(-1, left).clamp_max(-1)
    return torch.where(last > 0, start + step, 0).clamp_min(0)


def _clipped_scale(share: Tensor, walls: Tensor, budget: Tensor) -> Tensor:
    """Return the largest t with sum_i min(t share_i, walls_i) <= budget, shape (*S, 1); infinite if all t do."""
    ratio = walls / share
    breaks, order = torch.where(share > 0, ratio, float("inf")).sort(dim=-1)  # 0 / 0: never at its wall
    walls = walls.gather(-1, order).cumsum(-1)  # of the coordinates at their walls
    squares = share.gather(-1, order)
    free = squares.flip(-1).cumsum(-1).flip(-1)  # of the others; from the end, since a difference would cancel
    free = torch.cat([free, torch.zeros_like(free[..., :1])], -1)
    walls = torch.cat([torch.zeros_like(walls[..., :1]), walls], -1)
    at_break = walls[..., 1:] + torch.where(free[..., 1:] > 0, breaks * free[..., 1:], 0)
    count = (at_break <= budget).sum(-1, keepdim=True)  # the sum grows with s: that many are at their walls
    left, rest = (budget - walls.gather(-1, count)).clamp_min(0), free.gather(-1, count)
    before = torch.where(count > 0, breaks.gather(-1, (count - 1).clamp_min(0)), 0)  # `left` may be rounded away
    return torch.where(count < share.shape[-1], torch.maximum(left / rest, before), float("inf"))
