"""Words of a command line that denote perturbations: a grid of them, or one."""

from __future__ import annotations

from collections.abc import Sequence

from robustgames.envs.control.perturbations import AXES, Perturbation
from robustgames.envs.control.uncertainty_sets import UNCERTAINTY_SETS, Axis, UncertaintySet, axis_name
from robustgames.errors import GameError, shorten, unknown

LARGEST = 1e9  # beyond it, a simulation overflows
SCALES = (0.5, 2.0)
BOUNDS = {"action_noise": (0.0, 0.5), "observation_noise": (0.0, 0.1)}
"""Bounds of an axis without words for them, `SCALES` for the relative ones: the ranges of Tessler et al."""
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


def parse_bounds(words: Sequence[str]) -> str | dict[Axis, tuple[float, ...]]:
    """Return the name of an uncertainty set, or {axis or (axis, body): (low, high)} of words axis, axis=low,high.

    Axes without bounds, which may be joined by commas, have `BOUNDS`.

    Raises:
        GameError: An unknown name, or a word of another form.

    Example:
        >>> parse_bounds(["mass,friction", "damping=0.8,1.2"])
        {'mass': (0.5, 2.0), 'friction': (0.5, 2.0), 'damping': (0.8, 1.2)}
    """
    if len(words) == 1 and words[0] in UNCERTAINTY_SETS:
        return words[0]
    named = []
    for word in words:
        for name in [word] if "=" in word else word.split(","):
            if "=" not in name and name.partition(":")[0] not in AXES:
                raise unknown("axis or set of a worst case", name, [*AXES, *UNCERTAINTY_SETS])
            low, high = BOUNDS.get(name, SCALES)
            named.append(name if "=" in name else f"{name}={low},{high}")
    bounds = parse_grid(named)
    assert not isinstance(bounds, str)
    for axis, values in bounds.items():
        if len(values) != 2 or not values[0] < values[1]:
            what, got = axis_name(axis), ",".join(f"{value:g}" for value in values)
            raise GameError(f"the worst case has {what}={got}: two bounds, the lower first, e.g. {what}=0.5,2")
    return bounds


def parse_box(text: str) -> str | dict[Axis, tuple[float, float]]:
    """Return the name of a set, or {axis or (axis, body): (low, high)} of axis=low:high,axis:body=low:high.

    An axis without bounds has `BOUNDS`, or `SCALES`. Equal bounds fix an axis.

    Raises:
        GameError: An unknown name or axis, or a text of another form.

    Example:
        >>> parse_box("mass=0.5:2,mass_alone:pole=1:31,length")
        {'mass': (0.5, 2.0), ('mass_alone', 'pole'): (1.0, 31.0), 'length': (0.5, 2.0)}
    """
    words = text.replace(",", " ").split()
    if len(words) == 1 and words[0] in UNCERTAINTY_SETS:
        return words[0]
    named = []
    for word in words:
        name, equals, values = word.partition("=")
        if text.count("=") and name.replace(".", "", 1).isdigit():
            raise GameError(f"the uncertainty is {text!r}: a colon joins two bounds, e.g. mass=0.5:2,length=0.5:1.5")
        if name.partition(":")[0] not in AXES:
            raise unknown("axis or set of the uncertainty", name, [*AXES, *UNCERTAINTY_SETS])
        low, high = BOUNDS.get(name, SCALES)
        named.append(f"{name}={values.replace(':', ',')}" if equals else f"{name}={low},{high}")
    if not named:
        raise GameError("the uncertainty is empty: name axes and their bounds, e.g. mass=0.5:2,length=0.5:2")
    bounds, found = parse_grid(named), {}
    assert not isinstance(bounds, str)
    for axis, values in bounds.items():
        if len(values) != 2 or not values[0] <= values[1]:
            what = axis_name(axis)
            got = ":".join(f"{value:g}" for value in values)
            raise GameError(f"the uncertainty has {what}={got}: two bounds, the lower first, e.g. {what}=0.5:2")
        found[axis] = values
    return found


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
