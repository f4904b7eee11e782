"""Phase portraits of planar games: runs over the streamlines and limit cycles of the flow z' = V(z)."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Generator, Tensor

from robustgames.errors import GameError
from robustgames.figures.paths import Marks, draw_averages, draw_paths, mark_solution, write_legend
from robustgames.figures.style import Figure, colors, quiet
from robustgames.games import Box, Game, Simplex, ZeroSumGame
from robustgames.solvers import diagnostics
from robustgames.solvers.diagnostics import LimitCycle

Window = tuple[float, float, float, float]  # left, right, bottom, top

_UNIT: Window = (-0.04, 1.04, -0.04, 1.04)
_FAR = 10
SHOWN_RUNS = 10  # as many as there are colors; more hide each other


class _Plane(Game):
    """A game on the plane of its portrait: float64, without noise; 2x2 matrix games by their first probabilities.

    The field is V times `direction`, one sign per run, so one call of `flow` follows starts forwards and backwards.
    """

    sizes = (1, 1)

    def __init__(self, game: Game, direction: Tensor | float = 1.0) -> None:
        self.game, self.direction = game.exact.to("cpu", torch.float64), direction
        self.mixed = game.sizes == (2, 2)
        self.sets = (Box(0.0, 1.0), Box(0.0, 1.0)) if self.mixed else self.game.sets

    def reduce(self, z: Tensor) -> Tensor:
        """Return the two drawn coordinates."""
        return z[..., [0, 2]] if self.mixed else z

    def field(self, z: Tensor, sample: object = None, player: int | None = None) -> Tensor:
        if not self.mixed:
            return self.direction * self.game.field(z)
        v = self.game.field(torch.stack([z, 1 - z], -1).flatten(-2))
        return self.direction * (v[..., 0::2] - v[..., 1::2]) / 2  # the projection onto both simplices

    def solution(self) -> Tensor | None:
        point = self.game.solution()
        return None if point is None else self.reduce(point)


def has_portrait(game: Game) -> bool:
    """Return whether `phase_portrait` can draw the game: one number per player, or two actions; no data."""
    exact = game.exact
    if exact.draw((), Generator(exact.device)) is not None:
        return False
    return game.sizes == (1, 1) or (game.sizes == (2, 2) and all(isinstance(s, Simplex) for s in game.sets))


def phase_portrait(
    game: Game,
    trajectory: Tensor,
    dt: float = 1.0,
    average: Tensor | None = None,
    title: str = "",
    with_cycles: bool = True,
) -> Figure:
    """Draw runs of a planar game over the streamlines of its flow z' = V(z), with the limit cycles of the flow.

    Stable cycles are bold, unstable ones dashed; the legend states their periods. The window holds every run that stays
    within ten times the distance of the starts and cycles from the center; iterates of others are cut off.

    Args:
        game: Game of sizes (1, 1), or a 2x2 matrix game, drawn by each player's first probability. A Noisy game is
            drawn without noise.
        trajectory: Iterates, (T, runs, n + m), e.g. from `trajectory`; the first 10 runs are drawn.
        dt: Time between two iterates. With the learning rate, periods of cycling runs can be compared with the flow's;
            with 1 they are stated in iterates.
        average: Averages of the iterates, (T, runs, n + m), if these are evaluated: dotted paths.
        title: Title above the figure; by default the game.
        with_cycles: Whether to search for limit cycles of the flow. Without them the figure takes a tenth of the time,
            with fewer streamlines.

    Raises:
        GameError: The game is not planar, or has data.
    """
    if not has_portrait(game):
        raise GameError(
            f"{game!r} with sizes {game.sizes} has no phase portrait: it must have one number per player, no data"
        )
    plane = _Plane(game)
    every = plane.reduce(trajectory.detach()).reshape(len(trajectory), -1, 2)
    runs = every[:, :SHOWN_RUNS].cpu().double()
    starts = runs[0][torch.isfinite(runs[0]).all(-1)]
    center = _center(plane, starts)
    reach = float((starts - center).abs().max()) if len(starts) else 1.0
    cycles = [] if plane.mixed or not with_cycles else _limit_cycles(plane, center, reach)  # an affine field has none
    window = _UNIT if plane.mixed else _window(runs, center, reach, [cycle.points for cycle, _ in cycles])
    tall = (window[3] - window[2]) / (window[1] - window[0])
    figure = Figure(figsize=(6, 5.3 * tall + 1.6), layout="constrained")
    axes = figure.add_subplot(aspect="equal")
    _draw_field(axes, plane, window, 1.1 if with_cycles else 0.6)
    marks = _draw_runs(axes, runs, window, _label_runs(runs, every.shape[1], dt, plane.solution()))
    if average is not None:
        means = plane.reduce(average.detach()).reshape(len(average), -1, 2)[:, :SHOWN_RUNS].cpu().double()
        marks |= draw_averages(axes, means.numpy())
    for cycle, stable in cycles:
        _draw_cycle(axes, plane, cycle, stable)
    if (point := plane.solution()) is not None:
        mark_solution(axes, point.numpy(), "critical point")
    _decorate(axes, plane, game, title)
    write_legend(figure, axes, marks)
    return figure


def _center(plane: _Plane, starts: Tensor) -> Tensor:
    """Return the critical point, or the median of the finite starts if none is known."""
    if (point := plane.solution()) is not None:
        return point
    return starts.median(0).values if len(starts) else torch.zeros(2).double()


def _limit_cycles(plane: _Plane, center: Tensor, reach: float) -> list[tuple[LimitCycle, bool]]:
    """Return (cycle, is it stable?) for the isolated cycles of z' = V(z) around the center.

    Starts lie on one ray from the center, which every cycle around it crosses. They are followed both forwards (to
    stable cycles) and backwards (to unstable ones). A cycle counts if two starts reach it, since a closed orbit of a
    bilinear game is reached only by the start on it.
    """
    time, dt = 90.0, 0.1  # half to settle, half for the four turns that limit_cycle requires, up to a period of 9
    radii = torch.logspace(-1, np.log10(2 * min(10.0, max(1.0, reach))), 16).double().unsqueeze(-1)
    starts = center + radii * torch.tensor([0.8, 0.6])
    direction = torch.tensor([1.0, -1.0]).double().repeat_interleave(len(starts)).unsqueeze(-1)
    paths = diagnostics.flow(_Plane(plane.game, direction), starts.repeat(2, 1), time, dt)
    found: list[tuple[LimitCycle, bool, int]] = []
    for path, stable in zip(paths.unbind(1), (direction > 0).squeeze(-1).tolist(), strict=True):
        cycle = diagnostics.limit_cycle(path, dt, center)
        if cycle is None or not torch.allclose(plane.project(cycle.points), cycle.points):
            continue
        twins = [i for i, (other, kind, _) in enumerate(found) if kind == stable and _same(cycle, other)]
        count = found.pop(twins[0])[2] + 1 if twins else 1
        found.append((cycle, stable, count))
    return [(cycle, stable) for cycle, stable, count in found if count > 1]


def _same(a: LimitCycle, b: LimitCycle) -> bool:
    pairs = ((a.amplitude, b.amplitude), (a.inner, b.inner), (a.period, b.period))
    return all(abs(p - q) <= 0.05 * max(p, q) for p, q in pairs)


def _window(runs: Tensor, center: Tensor, reach: float, cycles: list[Tensor]) -> Window:
    """Return the view: all of the runs that stay near, and of the others what is within three times their distance."""
    near = max([reach, 0.05, *(float((points - center).abs().max()) for points in cycles)])
    away = (runs - center).abs().amax(-1)
    stays = torch.isfinite(away).all(0) & (away.nan_to_num(torch.inf).amax(0) <= _FAR * near)
    around = center if bool(stays.all()) else torch.stack([center - 3 * near, center + 3 * near])
    points = torch.cat([runs[:, stays].reshape(-1, 2), around.reshape(-1, 2), *cycles])
    low, high = points.amin(0), points.amax(0)
    half = 1.06 * (high - low).clamp_min(0.1) / 2
    half = torch.maximum(half, 0.6 * half.max())  # at most 3 : 5
    (left, bottom), (right, top) = ((low + high) / 2 - half).tolist(), ((low + high) / 2 + half).tolist()
    return left, right, bottom, top


def _draw_field(axes: Axes, plane: _Plane, window: Window, density: float) -> None:
    left, right, bottom, top = window
    x, y = np.linspace(left, right, 41), np.linspace(bottom, top, 41)
    grid = torch.from_numpy(np.stack(np.meshgrid(x, y), -1))
    u, v = np.ma.masked_invalid(plane.field(grid).clamp(-1e100, 1e100).numpy()).transpose(2, 0, 1)
    axes.streamplot(x, y, u, v, color=colors().faint, linewidth=0.7, arrowsize=0.8, density=density, zorder=1)
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _draw_runs(axes: Axes, runs: Tensor, window: Window, label: str) -> Marks:
    left, right, bottom, top = window
    middle, half = torch.tensor([left + right, bottom + top]) / 2, max(right - left, top - bottom) / 2
    drawn = (runs - middle).abs().amax(-1) <= 10 * half  # also False for NaN
    return draw_paths(axes, torch.where(drawn.unsqueeze(-1), runs, torch.nan).numpy(), label)


def _draw_cycle(axes: Axes, plane: _Plane, cycle: LimitCycle, stable: bool) -> None:
    name, width, style = ("stable", 2.6, "-") if stable else ("unstable", 1.8, "--")
    label = f"{name} cycle, period {cycle.period:.2f}"
    # another turn, in steps fine enough for the eye and in the direction in which the cycle attracts
    attracting = _Plane(plane.game, 1.0 if stable else -1.0)
    points = diagnostics.flow(attracting, cycle.points[0], cycle.period, cycle.period / 250)
    axes.plot(*points.T.numpy(), color=colors().ink, lw=width, ls=style, zorder=3, label=label)


def _label_runs(runs: Tensor, count: int, dt: float, center: Tensor | None) -> str:
    label = "run" if count == 1 else f"{count} runs" if count <= SHOWN_RUNS else f"{SHOWN_RUNS} of {count} runs"
    diverged = int((~torch.isfinite(runs[-1]).all(-1)).sum())
    found = [diagnostics.limit_cycle(run, dt, center) for run in runs.unbind(1)] if len(runs) > 8 else []
    periods = [cycle.period for cycle in found if cycle is not None]
    if diverged:
        label += f", {diverged} diverged"
    if periods:
        period = sum(periods) / len(periods)
        label += f", {len(periods)} cycling (period {f'{period:.0f} iterates' if dt == 1 else f'{period:.2f}'})"
    return label


def _decorate(axes: Axes, plane: _Plane, game: Game, title: str) -> None:
    roles = (" (minimizer)", " (maximizer)") if isinstance(plane.game, ZeroSumGame) else ("", "")
    what = "first probability of " if plane.mixed else ""
    x, y = (f"{what}{player}{role}" for player, role in zip(game.players, roles, strict=True))
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title or repr(game), fontsize=10, color=colors().ink, parse_math=False)
    quiet(axes)
