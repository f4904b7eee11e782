"""Words of a command line that denote perturbations: a grid of them, or one."""

from __future__ import annotations

from collections.abc import Sequence

from robustgames.envs.control.perturbations import Perturbation
from robustgames.envs.control.uncertainty_sets import UNCERTAINTY_SETS, Axis, UncertaintySet
from robustgames.errors import GameError, shorten, unknown

LARGEST = 1e9  # beyond it, a simulation overflows
WANTED = "a name such as tessler-mass-noise, or axis=value,value …, e.g. mass=0.5,1,2 action_noise=0,0.2"


def parse_grid(words: Sequence[str]) -> str | dict[Axis, tuple[float, ...]]:
    """Return the name of an uncertainty set, or {axis or (axis, body): values} of words axis=v,v or axis:body=v,v.

    Raises:
        GameError: An unknown name, or a word of another form.

    Example:
        >>> parse_grid(["mass=0.5,1,2", "action_noise=0,0.2"])
        {'mass': (0.5, 1.0, 2.0), 'action_noise': (0.0, 0.2)}
    """
    if len(words) == 1 and "=" not in words[0]:
        if words[0] not in UNCERTAINTY_SETS:
            raise unknown("grid", words[0], UNCERTAINTY_SETS)
        return words[0]
    if not words:
        raise GameError(f"the grid is empty: {WANTED}")
    grid: dict[Axis, tuple[float, ...]] = {}
    for word in words:
        axis, values = _axis(word)
        for other in grid:
            if axis == other:
                raise GameError(f"the grid has {word.partition('=')[0]} twice: give all its values at once, axis=1,2")
            if _property(axis) == _property(other) and str in (type(axis), type(other)):
                what = f"{_property(axis)} of all bodies and of one"
                raise GameError(f"the grid has {what}: give one of the two, or name the bodies, axis:body=1,2")
        grid[axis] = values
    return grid


def _property(axis: Axis) -> str:
    return axis if isinstance(axis, str) else axis[0]


def _axis(word: str) -> tuple[Axis, tuple[float, ...]]:
    """Return the axis and the values of a word."""
    name, _, words = word.partition("=")
    axis, colon, body = name.partition(":")
    try:
        values = tuple(float(value) for value in words.split(","))
    except ValueError:
        values = ()
    if not values or not axis or (colon and not body) or not all(abs(value) <= LARGEST for value in values):
        raise GameError(f"the grid has {shorten(word)!r}: {WANTED}")
    return (axis, body) if body else axis, values


def parse_point(words: Sequence[str]) -> Perturbation:
    """Return the perturbation of words axis=value or axis:body=value.

    Raises:
        GameError: A word of another form.

    Example:
        >>> parse_point(["mass=2", "action_noise=0.1"])
        {'mass': 2.0, 'action_noise': 0.1}
    """
    for word in words:
        if "=" not in word or "," in word:
            wanted = "name it as axis=value, e.g. --perturbation mass=2 action_noise=0.1"
            raise GameError(f"a video has one perturbation, got {shorten(word)!r}: {wanted}")
    grid = parse_grid(words) if words else {}
    assert isinstance(grid, dict)
    return UncertaintySet(grid, "").points()[0]
