"""The table of a sweep: one row per combination of settings, the best first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from robustgames.evaluation.intervals import Interval
from robustgames.evaluation.metrics import metric_of
from robustgames.evaluation.reliability import mean_over_runs
from robustgames.sweeps.plan import Settings
from robustgames.sweeps.trial import Outcome


@dataclass(frozen=True)
class Ranking:
    """What is best.

    Attributes:
        metric: Metric of the results; by default the first of which a direction is better.
        maximize: Whether large values are better; by default what the metric itself says.
    """

    metric: str = ""
    maximize: bool | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the content of a file from which this ranking is made again."""
        return asdict(self)

    def resolved(self, results: Iterable[dict[str, Any]]) -> Ranking:
        """Return the ranking with its defaults filled in from the first result."""
        names = next((list(result["metrics"]) for result in results), [])
        usual = next((name for name in names if metric_of(name).better), names[0] if names else "")
        name = self.metric or usual
        return Ranking(name, metric_of(name).better != "lower" if self.maximize is None else self.maximize)


@dataclass
class Row:
    """One combination of settings.

    Attributes:
        settings: Values of the axes.
        values: Metric of the ranking, of every run of every seed that has a result; NaN of a run that diverged.
        outcomes: What became of the trial of every seed.
        metric: Name of this metric.
    """

    settings: Settings
    values: list[float] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    metric: str = ""

    @property
    def finite(self) -> list[float]:
        """The values of the runs that did not diverge."""
        return [value for value in self.values if math.isfinite(value)]

    @property
    def interval(self) -> Interval:
        """Mean over the finite runs with its 95 % interval, which has no ends below five of them."""
        return mean_over_runs(self.finite, *metric_of(self.metric).range)

    def state_dict(self, ranking: Ranking) -> dict[str, Any]:
        """Return the row for a JSON file."""
        ends = {f"seed {seed}": outcome.line or outcome.status for seed, outcome in self.outcomes.items()}
        return {
            "settings": {name: list(v) if isinstance(v, tuple) else v for name, v in self.settings.items()},
            "metric": ranking.metric,
            "interval": list(self.interval),
            "runs": self.values,
            "trials": ends,
            "cpu_seconds": round(sum((o.result or {}).get("cpu_seconds", 0.0) for o in self.outcomes.values()), 2),
        }


def rows_of(found: Iterable[tuple[Settings, int, Outcome]], ranking: Ranking) -> tuple[Ranking, list[Row]]:
    """Return the ranking without defaults, and the rows of (settings, seed, outcome), the best first.

    Combinations of which runs diverged or failed come after the others, those without a finite value last.
    """
    found = list(found)
    ranking = ranking.resolved(outcome.result for _, _, outcome in found if outcome.result)
    rows: dict[str, Row] = {}
    for settings, seed, outcome in found:
        row = rows.setdefault(repr(settings), Row(settings, metric=ranking.metric))
        row.outcomes[seed] = outcome
        row.values += outcome.values(ranking.metric)
    sign = -1 if ranking.maximize else 1

    def key(row: Row) -> tuple[bool, bool, float]:
        estimate, whole = row.interval.estimate, len(row.finite) == len(row.values)
        lost = not whole or any(outcome.status != "done" for outcome in row.outcomes.values())
        return math.isnan(estimate), lost, sign * estimate

    return ranking, sorted(rows.values(), key=key)
