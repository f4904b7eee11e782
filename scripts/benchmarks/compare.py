"""Two files of results: which rows moved by more than their noise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Rows = dict[tuple[str, str], dict[str, Any]]


@dataclass(frozen=True)
class Change:
    """One row of two files.

    Attributes:
        suite: Its suite.
        name: Its name.
        old: Ratio with the least and the largest of the rounds in the first file; None if it has no such row.
        new: The same in the second file.
        verdict: "better" or "worse" in the direction of its target, "moved" without one, "within noise", "one round" if
            a row has no range to compare, "new" or "gone".
    """

    suite: str
    name: str
    old: tuple[float, float, float] | None
    new: tuple[float, float, float] | None
    verdict: str

    @property
    def flagged(self) -> bool:
        """Whether the ranges of the paired ratios do not overlap, or the row is gone."""
        return self.verdict in ("better", "worse", "moved", "gone")

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a table."""
        shown = [f"{v[0]:.3g} ({v[1]:.3g} – {v[2]:.3g})" if v else "" for v in (self.old, self.new)]
        factor = f"{self.new[0] / self.old[0]:.3g}" if self.old and self.new else ""
        color = {"better": "[green]", "worse": "[red]", "moved": "[yellow]", "gone": "[red]"}.get(self.verdict, "")
        return self.suite, self.name, *shown, factor, color + self.verdict


def read_rows(path: Path) -> tuple[dict[str, Any], Rows]:
    """Return (the machine, {(suite, name): row}) of a file that --out has written.

    Raises:
        SystemExit: It is not such a file.
    """
    try:
        content = json.loads(path.read_text())
        rows = {(row["suite"], row["name"]): row for row in content["rows"]}
        for row in rows.values():
            _check(row)
        return dict(content["machine"]), rows
    except OSError as error:
        raise SystemExit(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path} has no rows: give a file that `benchmark.py SUITE --out FILE` wrote") from error


def changes(old: Rows, new: Rows) -> Iterator[Change]:
    """Yield the rows of both files, in their order; those of the second file alone come last."""
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        yield Change(*key, _range(before), _range(after), _verdict(before, after))


def _check(row: dict[str, Any]) -> None:
    """Raise unless a row has everything that is compared."""
    numbers = [float(row[name]) for name in ("ratio", "low", "high", "rounds")]
    targets = [row[name] for name in ("at_least", "at_most")]
    if not all(number > 0 for number in numbers) or row["low"] > row["high"]:
        raise ValueError(numbers, targets)


def _range(row: dict[str, Any] | None) -> tuple[float, float, float] | None:
    return None if row is None else (row["ratio"], row["low"], row["high"])


def _verdict(old: dict[str, Any] | None, new: dict[str, Any] | None) -> str:
    if old is None or new is None:
        return "new" if old is None else "gone"
    if min(old["rounds"], new["rounds"]) < 2:
        return "one round"
    up, down = new["low"] > old["high"], new["high"] < old["low"]
    if not up and not down:
        return "within noise"
    if new["at_least"] is None and new["at_most"] is None:
        return "moved"
    wanted_up = new["at_least"] is not None
    return "better" if up == wanted_up else "worse"
