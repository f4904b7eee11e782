"""Cycles of trajectories: their period and amplitude, and whether nearby orbits approach them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustgames.errors import GameError
from robustgames.solvers.derivatives import check_tolerance


@dataclass(frozen=True)
class LimitCycle:
    """A closed orbit on which a trajectory has settled.

    Attributes:
        period: Time of one turn, in units of dt.
        amplitude: Greatest distance of the cycle from its center.
        inner: Least distance of the cycle from its center.
        center: Point that the distances are measured from, (d,).
        points: Points of the last full turn, (P, d).
        isolated: Whether it is a limit cycle: True if a trajectory was seen to approach it from another amplitude,
            False if a nearby trajectory stays on a closed orbit of its own, as around a center (alternating GDA on xy),
            and None if the trajectory was on the orbit from the start, which decides nothing.
    """

    period: float
    amplitude: float
    inner: float
    center: Tensor
    points: Tensor
    isolated: bool | None = None

    def __str__(self) -> str:
        kind = {
            True: "limit cycle",
            False: "closed orbit of a center, one of many",
            None: "closed orbit, of a limit cycle or of a center: pass nearby trajectories as others",
        }[self.isolated]
        return f"{kind}; period {self.period:.4g}, amplitude {self.amplitude:.4g}"


def limit_cycle(
    trajectory: Tensor,
    dt: float = 1.0,
    center: Tensor | None = None,
    tol: float = 0.01,
    others: Tensor | None = None,
) -> LimitCycle | None:
    """Return the closed orbit on which the second half of a trajectory runs, or None if it converges or wanders.

    Turns are counted by upward crossings of the section {z_j = center_j}, j the coordinate that varies most, with
    linear interpolation. It is closed if turns take equal time and reach equally far, both up to the share `tol`, and
    the later half of them reaches no further than the earlier one, up to tol / 5. `isolated` tells a limit cycle from
    the orbit of a center: the first turns of a limit cycle, and nearby trajectories, come from other amplitudes.

    Args:
        trajectory: Iterates of one run, (T, d) with d >= 2.
        dt: Time between two iterates, e.g. the learning rate.
        center: Point inside the cycle, by default the mean of the second half.
        tol: Relative change allowed over all turns.
        others: Trajectories from nearby starts, (T, R, d), e.g. the other runs of a batch.

    Raises:
        GameError: A shape is wrong, dt is 0 or not finite, or tol is negative or not finite.

    Example:
        >>> t = torch.arange(0, 100, 0.1)
        >>> orbit = torch.stack([t.cos(), t.sin()], -1)
        >>> print(limit_cycle(orbit, dt=0.1, center=torch.zeros(2), others=1.2 * orbit.unsqueeze(1)))
        closed orbit of a center, one of many; period 6.283, amplitude 1
    """
    if trajectory.dim() != 2 or trajectory.shape[-1] < 2:
        raise GameError(
            f"limit_cycle takes one run of shape (T, d), d >= 2, got {tuple(trajectory.shape)}: pass it as [:, i]"
        )
    if others is not None and (others.dim() != 3 or others.shape[-1] != trajectory.shape[-1]):
        raise GameError(
            f"others has shape {tuple(others.shape)}: trajectories (T, R, {trajectory.shape[-1]}) are expected"
        )
    if center is not None and center.shape != trajectory.shape[1:]:
        raise GameError(f"center has shape {tuple(center.shape)}: one point ({trajectory.shape[-1]},) is expected")
    if not 0 < abs(dt) < float("inf"):
        raise GameError(f"dt is {dt}: the time between two iterates is finite and not 0, e.g. the learning rate")
    check_tolerance(tol)
    orbit = _closed_orbit(trajectory, dt, center, tol)
    if orbit is None:
        return None
    runs = [] if others is None else others.unbind(1)
    found = [(run, other) for run in runs if (other := _closed_orbit(run, dt, orbit.center, tol)) is not None]
    came, stayed = _was_elsewhere(trajectory, orbit, tol), False
    for run, other in found:
        elsewhere = _was_elsewhere(run, other, tol)
        if abs(other.amplitude - orbit.amplitude) <= 3 * tol * orbit.amplitude:
            came = came or elsewhere
        else:  # if it came from elsewhere, it is on another limit cycle, which decides nothing about this one
            stayed = stayed or not elsewhere
    return replace(orbit, isolated=True if came else False if stayed else None)


def _closed_orbit(trajectory: Tensor, dt: float, center: Tensor | None, tol: float) -> LimitCycle | None:
    tail = trajectory[len(trajectory) // 2 :].double()
    if len(tail) < 8 or not bool(torch.isfinite(tail).all()):
        return None
    center = tail.mean(0) if center is None else center.to(tail)
    crossings, turns = _turns(tail, center)
    if len(turns) < 2:
        return None
    periods = crossings.diff() * abs(dt)
    reach = torch.stack([turn.max() for turn in turns])
    steady = float(periods.max() - periods.min()) <= tol * float(periods.mean())
    half = len(reach) // 2
    trend = float((reach[-half:].mean() - reach[:half].mean()).abs())  # a spiral grows or shrinks, however slowly
    level = float(reach.max() - reach.min()) <= tol * float(reach.max()) and trend <= tol / 5 * float(reach.max())
    if not steady or not level or float(reach.max()) < 1e-6:
        return None
    end = int(crossings[-1]) + 1
    last = tail[end - len(turns[-1]) : end]
    inside = min(float(turn.min()) for turn in turns)
    return LimitCycle(float(periods.mean()), float(reach.max()), inside, center, last.to(trajectory))


def _turns(path: Tensor, center: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the places at which a path crosses the section upwards, and its distances from the center turn by turn."""
    j = int(path.std(0).argmax())
    s = path[:, j] - center[j]
    before = torch.nonzero((s[:-1] < 0) & (s[1:] >= 0)).squeeze(-1)
    distance = torch.linalg.vector_norm(path - center, dim=-1)
    turns = [distance[a:b] for a, b in zip((before[:-1] + 1).tolist(), (before[1:] + 1).tolist(), strict=True)]
    return before + s[before] / (s[before] - s[before + 1]), turns


def _was_elsewhere(trajectory: Tensor, orbit: LimitCycle, tol: float) -> bool:
    """Return whether the first turn of a trajectory had other distances than the orbit on which it ends."""
    first = trajectory[: len(orbit.points)].double()
    distance = torch.linalg.vector_norm(first - orbit.center.to(first), dim=-1)
    found = ((distance.max(), orbit.amplitude), (distance.min(), orbit.inner))
    return any(abs(float(here) - there) > 3 * tol * orbit.amplitude for here, there in found)  # one orbit varies by tol
