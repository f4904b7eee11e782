"""Words of a command line that denote perturbations: a grid of them, or one."""

from __future__ import annotations

from collections.abc import Sequence

from robustgames.envs.control.perturbations import Perturbation
from robustgames.envs.control.uncertainty_sets import UNCERTAINTY_SETS, Axis, UncertaintySet
from robustgames.errors import GameError, unknown


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
    grid: dict[Axis, tuple[float, ...]] = {}
    for word in words:
        name, _, values = word.partition("=")
        axis, _, body = name.partition(":")
        try:
            grid[(axis, body) if body else axis] = tuple(float(value) for value in values.split(","))
        except ValueError:
            wanted = "a name such as tessler-mass-noise, or axis=value,value …, e.g. mass=0.5,1,2 action_noise=0,0.2"
            raise GameError(f"the grid has {word!r}: {wanted}") from None
    return grid


def parse_point(words: Sequence[str]) -> Perturbation:
    """Return the perturbation of words axis=value or axis:body=value.

    Raises:
        GameError: A word of another form.

    Example:
        >>> parse_point(["mass=2", "action_noise=0.1"])
        {'mass': 2.0, 'action_noise': 0.1}
    """
    grid = parse_grid(words) if words else {}
    if isinstance(grid, str) or any(len(values) != 1 for values in grid.values()):
        raise GameError(f"a video has one perturbation, got {grid}: e.g. --perturbation mass=2 action_noise=0.1")
    return UncertaintySet(grid, "").points()[0]
