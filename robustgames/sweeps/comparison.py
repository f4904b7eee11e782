"""A comparison of runs on disk: methods, their metrics, their differences, and their learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from robustgames.errors import GameError
from robustgames.evaluation.intervals import Interval, holm
from robustgames.evaluation.metrics import metric_of
from robustgames.evaluation.reliability import Paired, bootstrap, mean_over_runs, paired, probability_of_improvement
from robustgames.experiment.folder import CONFIG, Content, read_config, read_end
from robustgames.experiment.naming import short_env

OWN = ("seed", "seeds", "versions", "checkpoint", "device")
"""Entries of a config in which the runs of one method may differ."""
DICTS = ("settings", "env_settings", "solver_settings")
SIDE_BY_SIDE = ("settings.lr", "settings.lr_y")
NESTED = "."  # between the name of a dictionary and that of its entry


@dataclass
class Method:
    """Runs that differ in their seeds alone.

    Attributes:
        config: Config of the first run, flat: {"settings.lr": 0.1, …}.
        folders: Folders of the runs, in the order of their seeds.
        values: {metric: {(seed, run): value}} over the runs with a result.
        name: What distinguishes the method from the others of the comparison.
        seconds: CPU seconds of each folder with a result.
        finished: These folders.
        repeated: Folders with a result whose seeds a later folder has as well; the later one counts.
    """

    config: dict[str, Any]
    folders: list[Path] = field(default_factory=list)
    values: dict[str, dict[tuple[int, int], float]] = field(default_factory=dict)
    name: str = ""
    seconds: list[float] = field(default_factory=list)
    finished: list[Path] = field(default_factory=list)
    repeated: list[Path] = field(default_factory=list)

    def finite(self, metric: str) -> dict[tuple[int, int], float]:
        """Return a metric of the runs that did not diverge."""
        return {key: value for key, value in self.values.get(metric, {}).items() if math.isfinite(value)}

    def interval(self, metric: str) -> Interval:
        """Return the mean of a metric with its 95 % interval, which has no ends below five runs."""
        return mean_over_runs([*self.finite(metric).values()], *metric_of(metric).range)


@dataclass(frozen=True)
class Difference:
    """A method against the first one, in one metric.

    Attributes:
        difference: Mean of the method minus mean of the first, with its interval.
        paired: The comparison run by run if they have the same seeds; None if the intervals are of independent runs.
        improvement: Probability that a run of the method is better than a run of the first.
        p_value: Two-sided p-value of "no difference", by Holm over all methods; NaN if it is not paired.
    """

    difference: Interval
    paired: Paired | None
    improvement: Interval
    p_value: float


def methods_in(paths: Sequence[Path]) -> list[Method]:
    """Return the methods of the runs in some folders, at any depth, in the order of the folders.

    Raises:
        GameError: A path without a run, or runs without a result.
    """
    found: dict[str, Method] = {}
    latest: dict[tuple[str, frozenset[Trial]], tuple[Path, Content, dict[Trial, int]]] = {}
    for folder in dict.fromkeys(run for path in paths for run in runs_in(path)):
        config, result = read_config(folder), read_end(folder)
        for own, trials in _parts(config):
            key = repr(sorted(own.items(), key=lambda item: item[0]))
            method = found.setdefault(key, Method(own))
            method.folders.append(folder)
            if result is not None:  # the same seeds again do not count as further runs
                before = latest.get((key, frozenset(trials)))
                method.repeated += [before[0]] if before else []
                latest[key, frozenset(trials)] = folder, result, trials
    for (key, _), (folder, result, trials) in latest.items():
        _add(found[key], result, trials)
        found[key].finished.append(folder)
    methods = list(found.values())
    if not any(method.values for method in methods):
        raise GameError(f"no run in {', '.join(map(str, paths))} has a result: finish one, train --resume RUN")
    for method, name in zip(methods, names([method.config for method in methods]), strict=True):
        method.name = name
    return methods


def runs_in(path: Path) -> list[Path]:
    """Return the run folders in a folder: itself, or those below it.

    Raises:
        GameError: There is none.
    """
    found = sorted(config.parent for config in path.rglob(CONFIG)) if path.is_dir() else []
    if not found:
        raise GameError(f"{path} has no run: give folders of runs, of sweeps, or one above them, e.g. runs")
    return found


Trial = tuple[int, int]
"""(seed, number of the run among those of this seed)."""


def _parts(config: Content) -> list[tuple[dict[str, Any], dict[Trial, int]]]:
    """Return (flat config, {trial: its place in the lists of a result}) of every method in a run folder.

    It is one, unless the runs of a sweep on a small game are side by side in the folder, see `sweeps.together`. They
    have a seed each, and are run 0 of this seed wherever they stand.
    """
    own, seeds = flat(config), config.get("seeds") or []
    rates = {name: own[name] for name in own if name in SIDE_BY_SIDE and isinstance(own[name], tuple)}
    if not seeds:
        return [(own, {(int(config.get("seed", 0)), run): run for run in range(int(config.get("runs", 1)))})]
    found: dict[tuple, dict[Trial, int]] = {}
    for run, seed in enumerate(seeds):
        found.setdefault(tuple(values[run] for values in rates.values()), {})[int(seed), 0] = run
    return [(own | {"runs": 1} | dict(zip(rates, key, strict=True)), trials) for key, trials in found.items()]


def _add(method: Method, result: Content, trials: dict[Trial, int]) -> None:
    """Add the metrics of some runs in a result to those of a method."""
    for name, row in result["metrics"].items():
        runs, mine = row.get("runs", [row["mean"]]), method.values.setdefault(name, {})
        for trial, run in trials.items():
            mine[trial] = float(runs[run])
    seconds = float(result.get("cpu_seconds", result.get("seconds", math.nan)))
    method.seconds.append(seconds * len(trials) / max(int(result["runs"]), 1))


def flat(config: Content) -> dict[str, Any]:
    """Return what distinguishes the method of a config from others, without dictionaries in it."""
    own = {name: value for name, value in config.items() if name not in OWN}
    nested = {f"{name}{NESTED}{key}": value for name in DICTS for key, value in own.pop(name, {}).items()}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in (own | nested).items()}


def names(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Return a short name of every config: its agent, if agents differ, and what else differs.

    Example:
        >>> names([{"agent": "gda", "settings.lr": 0.1}, {"agent": "gda", "settings.lr": 0.2}])
        ['lr=0.1', 'lr=0.2']
    """
    keys = list(dict.fromkeys(key for config in configs for key in config))
    differ = [key for key in keys if len({repr(config.get(key)) for config in configs}) > 1]
    found = []
    for config in configs:
        agent = [str(config["agent"])] if "agent" in differ else []
        env = [short_env(str(config["env"]))] if "env" in differ else []
        rest = [f"{key.rpartition(NESTED)[2]}={_word(config[key])}" for key in differ if _tells(key, config, configs)]
        found.append(" ".join([*agent, *env, *rest]) or str(config["agent"]))
    return [name if found.count(name) == 1 else f"{name} #{i}" for i, name in enumerate(found)]


def _tells(key: str, config: dict[str, Any], configs: Sequence[dict[str, Any]]) -> bool:
    """Return whether an entry says more than the agent, whose settings are its own."""
    if key in ("agent", "env") or key not in config:
        return False
    alike = [other for other in configs if other["agent"] == config["agent"]]
    return len({repr(other.get(key)) for other in alike}) > 1


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def common_metrics(methods: Sequence[Method]) -> list[str]:
    """Return the metrics that every method with a result has, those first of which a direction is better."""
    with_result = [method for method in methods if method.values]
    shared = [name for name in with_result[0].values if all(name in method.values for method in with_result)]
    return sorted(shared, key=lambda name: metric_of(name).better is None)


def against_first(methods: Sequence[Method], metric: str) -> list[Difference | None]:
    """Return the difference of every method from the first one; None of the first, and without finite values."""
    first = methods[0].finite(metric)
    rows: list[Difference | None] = []
    sign = -1.0 if metric_of(metric).better == "lower" else 1.0
    for method in methods[1:]:
        own = method.finite(metric)
        if not own or not first:
            rows.append(None)
            continue
        a, b = np.array(list(own.values())), np.array(list(first.values()))
        shared = sorted(own.keys() & first.keys())
        pairs = None
        if len(shared) == len(own) == len(first):
            pairs = paired(np.array([own[k] for k in shared]), np.array([first[k] for k in shared]))
        apart = pairs.difference if pairs else bootstrap(a, b, statistic=lambda x, y: x.mean() - y.mean())[0]
        apart = apart.within(*metric_of(metric).range_of_differences)
        pairs = pairs and pairs._replace(difference=apart)
        better = probability_of_improvement(sign * a[:, None], sign * b[:, None])
        rows.append(Difference(apart, pairs, better, pairs.p_value if pairs else math.nan))
    adjusted = holm(np.array([math.nan if row is None else row.p_value for row in rows]))
    every = zip(rows, adjusted, strict=True)
    return [None, *(row and replace(row, p_value=float(value)) for row, value in every)]


def are_joint(methods: Sequence[Method], method: Method) -> bool:
    """Return whether a log of a method is that of other methods as well, see `sweeps.together`."""
    others = {folder for other in methods if other is not method for folder in other.folders}
    return not others.isdisjoint(method.finished or method.folders)


def runs_of(folder: Path) -> int:
    """Return the number of runs in a log of a folder."""
    return int(read_config(folder).get("runs", 1))


Curve = dict[str, np.ndarray]
"""Columns of a progress.csv: "time/timesteps", metrics, and their standard deviations."""


def joined(curves: Sequence[Curve], runs: Sequence[int]) -> Curve:
    """Return one curve of several runs: means and standard deviations of all runs at the steps that all have logged.

    Args:
        curves: Curve of every folder.
        runs: Number of runs in every folder.

    Example:
        >>> one, two = ({"time/timesteps": np.array([1.0]), "eval/x": np.array([value])} for value in (1.0, 3.0))
        >>> both = joined([one, two], [1, 1])
        >>> float(both["eval/x"][0]), round(float(both["eval_std/x"][0]), 4)
        (2.0, 1.4142)
    """
    if len(curves) == 1:
        return curves[0]
    steps = np.array(sorted(set.intersection(*(set(curve["time/timesteps"].tolist()) for curve in curves))))
    rows = [np.searchsorted(curve["time/timesteps"], steps) for curve in curves]
    found, weights = {"time/timesteps": steps}, np.array(runs, dtype=np.float64)[:, None]
    for name in curves[0]:
        group, slash, metric = name.partition("/")
        if group.endswith("_std") or group == "time" or not all(name in curve for curve in curves):
            continue
        means = np.stack([curve[name][row] for curve, row in zip(curves, rows, strict=True)])
        spread = f"{group}_std{slash}{metric}"
        none = np.zeros(int(max(row.max(initial=0) for row in rows)) + 1)
        stds = np.stack([curve.get(spread, none)[row] for curve, row in zip(curves, rows, strict=True)])
        total = weights.sum()
        mean = (weights * means).sum(0) / total
        squares = ((weights - 1) * stds**2 + weights * (means - mean) ** 2).sum(0)
        found[name], found[spread] = mean, np.sqrt(squares / max(total - 1, 1))
    return found


def in_seconds(curve: Curve, seconds: float) -> Curve:
    """Return a curve against CPU seconds, of a run that took so many: a step takes as long as any other."""
    steps = curve["time/timesteps"]
    return curve | {"time/timesteps": steps / max(steps[-1], 1) * seconds}
