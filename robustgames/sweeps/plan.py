"""The plan of a sweep: an experiment, the settings that vary, the seeds; and the trials that follow from it."""

from __future__ import annotations

import inspect
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from robustgames.agents import Agent
from robustgames.errors import GameError, unknown
from robustgames.experiment import CONTROL_AGENTS, Experiment, GameExperiment
from robustgames.experiment.driver import has_type
from robustgames.experiment.user_solvers import parameters_of_solver
from robustgames.solvers import RECIPES

Settings = dict[str, Any]
"""Values of the axes of one trial: {name: value}."""

OF_ENV = "set."
"""Prefix of an axis that is a setting of the env."""
LONGEST = 120
"""Characters of a folder's name; a longer one ends in a digest of what it leaves out."""
FIXED = ("agent", "env", "settings", "env_settings", "solver_settings", "seed", "seeds")
"""Fields of an experiment that cannot be an axis; seeds have a place of their own."""


@dataclass(frozen=True)
class Range:
    """An interval from which a search draws; whole numbers if its ends are.

    Attributes:
        low: Least value.
        high: Largest value.
    """

    low: float
    high: float

    @property
    def log(self) -> bool:
        """Whether values are drawn uniformly in their logarithm: from positive ones that differ by 10 or more."""
        return self.low > 0 and self.high >= 10 * self.low

    @property
    def whole(self) -> bool:
        """Whether values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Axis = tuple[Any, ...] | Range
"""Values of a setting, or the interval in which a search looks for one."""


@dataclass(frozen=True)
class Trial:
    """One experiment of a sweep.

    Attributes:
        experiment: The experiment, with the settings and the seed of the trial.
        settings: Values of the axes.
        folder: Its folder, relative to that of the sweep: the settings, then the seed.
    """

    experiment: Experiment
    settings: Settings
    folder: Path


@dataclass(frozen=True)
class Plan:
    """Every combination of the values of the axes, with every seed.

    Attributes:
        base: Experiment whose settings the axes replace.
        axes: {name: values}. A name is a setting of the agent or of its solver, a field of the experiment such as
            steps, or "set.NAME", a setting of the env.
        seeds: Seeds of every combination.

    Raises:
        GameError: A name that nothing has, with close matches; an axis without values; no seeds.

    Example:
        >>> plan = Plan(GameExperiment("gda", "robustgames/Bilinear-v0", runs=1), {"lr": (0.1, 0.2)}, seeds=(0, 1))
        >>> [str(trial.folder) for trial in plan.trials()]
        ['lr=0.1/seed0', 'lr=0.1/seed1', 'lr=0.2/seed0', 'lr=0.2/seed1']
    """

    base: Experiment
    axes: Mapping[str, Axis] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        known = _places(self.base)
        for name, axis in self.axes.items():
            if not name.startswith(OF_ENV) and name not in known:
                raise unknown(f"setting of {self.base.agent}", name, known)
            values = axis if isinstance(axis, tuple) else (axis.low, axis.high)
            wrong = [value for value in values if known.get(name) == name and not has_type(name, value)]
            if wrong:
                raise GameError(f"{name} is {_word(wrong[0])}: see `robustgames train {self.base.agent} --help`")
            if isinstance(axis, tuple) and not axis:
                raise GameError(f"{name} has no values: give some, e.g. --grid {name}=0.1,0.2")
            if isinstance(axis, tuple) and len({_word(value) for value in axis}) < len(axis):
                raise GameError(f"{name} has a value twice: {', '.join(map(_word, axis))}; give each once")
        if not self.seeds:
            raise GameError("seeds is empty: give some, e.g. --seeds 0:5 for 0, 1, 2, 3, 4")
        if len(set(self.seeds)) < len(self.seeds):
            raise GameError("seeds has a seed twice: give each once, e.g. --seeds 0:5")

    def __len__(self) -> int:
        return math.prod(len(axis) for axis in self.choices().values()) * len(self.seeds)

    def choices(self) -> dict[str, tuple[Any, ...]]:
        """Return the axes of a grid.

        Raises:
            GameError: An axis is a range, which only a search can use.
        """
        for name, axis in self.axes.items():
            if isinstance(axis, Range):
                raise GameError(
                    f"{name} is the range {axis.low:g}..{axis.high:g}: a grid needs values, {name}={axis.low:g},"
                    f"{axis.high:g}; for a search add --search tpe --trials 50 --maximize METRIC"
                )
        return {name: axis for name, axis in self.axes.items() if isinstance(axis, tuple)}

    def trials(self) -> Iterator[Trial]:
        """Yield the trials, all seeds of a combination one after the other."""
        axes = self.choices()
        for values in itertools.product(*axes.values()):
            yield from self.of(dict(zip(axes, values, strict=True)))

    def of(self, settings: Settings) -> Iterator[Trial]:
        """Yield the trials of one combination."""
        for seed in self.seeds:
            yield Trial(self.experiment(settings, seed), settings, Path(label(settings), f"seed{seed}"))

    def experiment(self, settings: Settings, seed: int) -> Experiment:
        """Return the experiment of one combination and seed."""
        found = self.base
        for name, value in settings.items():
            found = varied(found, name, value)
        return replace(found, seed=seed)

    def check(self) -> tuple[Experiment, Agent]:
        """Make the agent of every value of every axis once, before anything runs; return the first and its experiment.

        Raises:
            GameError: A value that cannot be used; the message names it.
        """
        settings = {name: axis.low if isinstance(axis, Range) else axis[0] for name, axis in self.axes.items()}
        first = self.experiment(settings, self.seeds[0])
        agent = first.make_agent()
        for name, axis in self.axes.items():
            for value in (axis.high,) if isinstance(axis, Range) else axis[1:]:
                try:
                    self.experiment({**settings, name: value}, self.seeds[0]).make_agent()
                except GameError as error:
                    raise GameError(f"with {name.removeprefix(OF_ENV)}={_word(value)}: {error}") from error
        return first, agent

    # -- on disk ---------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Return axes and seeds for a file; with them and the experiment `load` makes this plan again."""
        axes = {
            name: {"low": axis.low, "high": axis.high} if isinstance(axis, Range) else list(axis)
            for name, axis in self.axes.items()
        }
        return {"axes": axes, "seeds": list(self.seeds)}

    @classmethod
    def load(cls, content: Mapping[str, Any], base: Experiment) -> Self:
        """Return the plan of a file.

        Raises:
            GameError: Axes or seeds have another form.
        """
        axes, seeds = content.get("axes"), content.get("seeds")
        if not isinstance(axes, dict) or not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
            raise GameError("axes or seeds are not those of a sweep")
        read: dict[str, Axis] = {}
        for name, axis in axes.items():
            if isinstance(axis, dict) and axis.keys() == {"low", "high"}:
                read[name] = Range(**axis)
            elif isinstance(axis, list):
                read[name] = tuple(axis)
            else:
                raise GameError(f"the axis {name} is neither a list nor a range")
        return cls(base, read, tuple(seeds))


def varied(experiment: Experiment, name: str, value: Any) -> Experiment:
    """Return the experiment with one of its settings replaced.

    Raises:
        GameError: Nothing of the experiment has this name.
    """
    place, key = ("env_settings", name.removeprefix(OF_ENV)) if name.startswith(OF_ENV) else (None, name)
    place = place or _places(experiment).get(name)
    if place is None:
        raise unknown(f"setting of {experiment.agent}", name, _places(experiment))
    if place == key:
        return replace(experiment, **{key: value})
    return replace(experiment, **{place: {**getattr(experiment, place), key: value}})


def _places(experiment: Experiment) -> dict[str, str]:
    """Return {name of an axis: field of the experiment that holds it}, which is the name itself of a plain field."""
    found = {f.name: f.name for f in fields(experiment) if f.name not in FIXED}
    if isinstance(experiment, GameExperiment):
        own = parameters_of_solver(experiment.agent)
        return {**found, **dict.fromkeys(own, "settings")}
    solver = RECIPES.get(getattr(experiment, "solver", ""))
    of_solver = dict.fromkeys(inspect.signature(solver).parameters if solver else (), "solver_settings")
    own = dict.fromkeys((f.name for f in fields(CONTROL_AGENTS[experiment.agent].preset)), "settings")
    return {**of_solver, **found, **own}


def label(settings: Settings) -> str:
    """Return the settings of a trial as the name of its folder.

    Example:
        >>> label({"lr": 1e-3, "set.objective": "vanilla", "betas": (0.5, 0.9)})
        'lr=0.001,objective=vanilla,betas=0.5_0.9'
    """
    short = {name: name.removeprefix(OF_ENV) for name in settings}
    names = short if len(set(short.values())) == len(short) else {name: name for name in settings}
    words = ",".join(f"{names[name]}={_word(value)}" for name, value in settings.items()) or "all"
    plain = re.sub(r"[^\w.,=+-]+", "_", words)
    if plain == words and len(words) <= LONGEST:
        return words
    return f"{plain[: LONGEST - 13]}-{sha256(words.encode()).hexdigest()[:12]}"


def _word(value: Any) -> str:
    """Return a value as a word that no other value has."""
    return "_".join(map(_word, value)) if isinstance(value, tuple | list) else str(value)
