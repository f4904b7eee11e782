"""The result of a run, which a notebook shows as a table."""

from __future__ import annotations

from typing import Any

from robustgames.evaluation.metrics import metric_of
from robustgames.evaluation.rounding import cell
from robustgames.notebook import html_table


class Result(dict[str, Any]):
    """Content of result.json or evaluation.json: a dictionary that prints as its table of metrics.

    Example:
        >>> metrics = {"residual": {"mean": 4.859, "std": 10.2, "runs": [1.0, 8.7]}}
        >>> print(Result(agent="gda", env="robustgames/Bilinear-v0", runs=2, timesteps=1000, metrics=metrics))
        gda on robustgames/Bilinear-v0, 2 runs, 1,000 oracle calls
        residual  5 ± 10
    """

    def __repr__(self) -> str:
        if "metrics" not in self:
            return super().__repr__()
        wide = max((len(row[0]) for row in self._rows()), default=0)
        return "\n".join([self._caption(), *(f"{row[0]:{wide}}  {row[-1]}" for row in self._rows())])

    def _repr_html_(self) -> str | None:
        if "metrics" not in self:
            return None
        head = ("", "start", self["agent"]) if self.get("start") else ("", self["agent"])
        return html_table(self._rows(), head, self._caption(), numbers=True)

    def _rows(self) -> list[tuple[str, ...]]:
        """Return (label, start if there is one, end) of every metric."""
        columns = [self["start"], self["metrics"]] if self.get("start") else [self["metrics"]]
        metrics = [metric_of(name) for name in self["metrics"]]
        return [(m.label, *(cell(m, column.get(m.name), self["runs"]) for column in columns)) for m in metrics]

    def _caption(self) -> str:
        runs = "1 run" if self["runs"] == 1 else f"{self['runs']} runs"
        diverged = f", {self['diverged']} diverged" if self.get("diverged") else ""
        timesteps = f"{self['timesteps']:,} {self.get('timestep', 'oracle call')}s"
        return f"{self['agent']} on {self['env']}, {runs}{diverged}, {timesteps}"
