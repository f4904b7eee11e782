"""The tables of `robustness.py`: every method over the grid, paired differences, and the loss to fresh adversaries."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from results import Table
from rich.console import Console
from robust_control.drawing import draw
from robust_control.methods import missing_controls
from robust_control.parts import Result

from robustgames.envs.control.perturbations import NOISES
from robustgames.errors import writing
from robustgames.evaluation.intervals import FEWEST, Interval, holm
from robustgames.evaluation.reliability import Paired, bootstrap, probability_of_improvement
from robustgames.evaluation.robustness import compare

HEADS = {"nominal": "nominal", "mean": "mean", "worst": "worst", "cvar": "CVaR 10 %"}
WHOLE = 10  # largest number of cells of which the worst 10 % are the worst one, which is not shown twice
LONGER = "train it longer, or several (--best-response, --best-response-learners)"
WIDTH = 170  # columns of a table that is not printed to a terminal


def report(results: Mapping[str, Result], out: Path, attack: Mapping[str, Any], failed: Sequence[str] = ()) -> None:
    """Print the tables, and write them and the figures.

    Args:
        results: Results by method, in the order of the table.
        out: Folder of table.md and the figures.
        attack: Entries "coupling", "alpha" and "steps" of the fresh adversaries.
        failed: Reasons why methods are missing.
    """
    tables = [over_the_grid(results), *differences(results), *under_attack(results, attack)]
    notes = [*verdicts(results), *remarks(results), *(f"failed: {reason}" for reason in failed)]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    for table in tables:
        console.print(table.rich())
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)
    text = "\n\n".join([*(table.markdown() for table in tables), "\n".join(f"* {note}" for note in notes)])
    with writing(out):
        (out / "table.md").write_text(text + "\n")
        draw(results, out)
    console.print(f"written to {out}", soft_wrap=True)


# -- the tables ------------------------------------------------------------------------------------------------------
def over_the_grid(results: Mapping[str, Result]) -> Table:
    """Return the summaries of every method, with intervals over runs and starts."""
    first = next(iter(results.values())).sweep
    runs, episodes = len(first.returns), first.returns.shape[-1]
    axes = " x ".join(f"{name} ({len(values)})" for name, values in first.axes.items()) or "nominal env alone"
    title = f"{first.env}, return over the grid {axes}: runs x episodes a cell: {runs} x {episodes}"
    rows = []
    for one in results.values():
        summary = one.sweep.summary()
        found = [*(summary[name] for name in shown_heads(results)), one.sweep.iqm()]
        cells = (_written(interval, _digits(results)) for interval in found)
        share = "" if isnan(one.alpha) else f"{one.alpha:g}"
        rows.append([one.label, share, f"{one.steps:,}", *cells])
    return Table(["method", "alpha", "env steps", *shown_heads(results).values(), "IQM"], rows, title)


def shown_heads(results: Mapping[str, Result]) -> dict[str, str]:
    """Return the summaries that differ on the grid, with their headings."""
    cells = next(iter(results.values())).sweep.cells[0].size
    return {name: head for name, head in HEADS.items() if name != "cvar" or cells > WHOLE}


def differences(results: Mapping[str, Result]) -> list[Table]:
    """Return paired differences of all methods to their `rivals`.

    Bold: the difference is not 0 after Holm's correction for all comparisons of the table.
    """
    rows = []
    for (one, other), row in comparisons(results).items():
        texts = [_written(p.difference, _digits(results), "+", f" {p.wins}/{p.runs}") for p, _ in row.values()]
        cells = [f"**{text}**" if clear else text for text, (_, clear) in zip(texts, row.values(), strict=True)]
        better = probability_of_improvement(one.sweep.cells, other.sweep.cells)
        rows.append([one.label, other.label, *cells, _written(better, 2)])
    rule = "bold: not 0 at 5 % after Holm's correction for the whole table"
    title = f"Paired differences, and in how many runs the first is better ({rule})"
    return (
        [Table(["method", "minus", *shown_heads(results).values(), "P(better in a cell)"], rows, title)] if rows else []
    )


def comparisons(results: Mapping[str, Result]) -> dict[tuple[Result, Result], dict[str, tuple[Paired, bool]]]:
    """Return {(method, other): {summary: (pairs, whether they differ at 5 % in all comparisons together)}}."""
    against = {one: rivals(one, results) for one in results.values()}
    pairs = [(one, others[0]) for one, others in against.items() if others]
    pairs += [(one, other) for one, others in against.items() for other in others[1:]]
    heads = shown_heads(results)
    every = {pair: compare(pair[0].sweep, pair[1].sweep) for pair in pairs}
    found = {pair: {name: row[name] for name in heads} for pair, row in every.items()}
    p_values = np.array([[p.p_value for p in row.values()] for row in found.values()]).reshape(len(found), len(heads))
    clear = holm(p_values) < 0.05
    return {
        pair: {name: (p, bool(known)) for (name, p), known in zip(row.items(), marks, strict=True)}
        for (pair, row), marks in zip(found.items(), clear, strict=True)
    }


def under_attack(results: Mapping[str, Result], attack: Mapping[str, Any]) -> list[Table]:
    """Return the returns of the frozen policies under fresh adversaries."""
    rows, digits = [], _digits(results)
    for one in results.values():
        if one.attacked:
            alone, chance, learned = (np.array(one.attacked[key]) for key in ("without", "random", "learned"))
            columns = [alone, chance, learned, alone - learned]
            found = bootstrap(np.stack(columns, -1))
            cells = (_with_runs(interval, each, digits) for interval, each in zip(found, columns, strict=True))
            rows.append([one.label, str(len(alone)), *cells])
    title = "Under a fresh adversary ({coupling}, share {alpha:g}, {steps:,} steps of TD3)".format(**attack)
    heads = ["method", "runs", "return without", "under a random one", "under the learned one", "exploitability"]
    return [Table(heads, rows, title)] if rows else []


def baseline(results: Mapping[str, Result]) -> str:
    """Return the method that the others are compared with: td3, or the first without an adversary, or the first."""
    plain = [name for name, one in results.items() if one.kind == "plain"]
    return "td3" if "td3" in results else [*plain, *results][0]


def rivals(one: Result, results: Mapping[str, Result]) -> list[Result]:
    """Return what a method is compared with: the method without an adversary that learns as it does, then its controls.

    A variant of SAC is compared with SAC if that is there; what has no such method, with the baseline. Only a method
    with a learned adversary has controls to beat.
    """
    family = [other for other in results.values() if other.method.family == one.method.family]
    base = results[baseline(results)]
    plain = [other for other in family if other.kind == "plain"]
    first = base if one in plain or base in plain or not plain else plain[0]
    controls = [other for other in family if other.kind == "control"] if one.kind == "robust" else []
    return [other for other in dict.fromkeys([first, *controls]) if other is not one]


# -- in words --------------------------------------------------------------------------------------------------------
def verdicts(results: Mapping[str, Result]) -> list[str]:
    """Return a sentence per claim that the intervals of a learned adversary support, over at least 5 runs."""
    if (count := len(next(iter(results.values())).sweep.returns)) < FEWEST:
        return [f"No verdict over {count} run{'s' if count > 1 else ''}: take --seeds {FEWEST} or more."]
    lines, found = [], comparisons(results)
    for one in (one for one in results.values() if one.kind == "robust"):
        others = rivals(one, results)
        for column in ("mean", "worst") if others else ():
            cells = {other.label: found[one, other][column] for other in others}
            above = [label for label, (p, clear) in cells.items() if clear and p.difference.estimate > 0]
            rest = [other.label for other in others if other.label not in above]
            shown = [f"above {' and '.join(above)}"] if above else []
            shown += [f"not shown to be above {' or '.join(rest)}"] if rest else []
            lines.append(f"{one.label}, {HEADS[column]} return: {', '.join(shown)}.")
    return lines + advice(results)


def advice(results: Mapping[str, Result]) -> list[str]:
    """Return a sentence per set of controls that methods with a learned adversary lack in this table."""
    present, lacking = [one.method for one in results.values()], dict[str, list[str]]()
    for one in (one for one in results.values() if one.kind == "robust"):
        if words := " ".join(missing_controls(one.method, present)):
            lacking.setdefault(words, []).append(one.label)
    return [
        f"No claim of robustness can be made for {' and '.join(labels)} without random controls: --methods {words}."
        for words, labels in lacking.items()
    ]


def remarks(results: Mapping[str, Result]) -> list[str]:
    """Return the remarks that a reader needs to interpret the numbers."""
    first = next(iter(results.values())).sweep
    lines = [f"Axis without effect on {first.env}, left out: {name} ({why})." for name, why in first.idle.items()]
    if any(value != (0.0 if name in NOISES else 1.0) for name, value in first.nominal_point.items()):
        point = ", ".join(f"{name} {value:g}" for name, value in first.nominal_point.items())
        lines.append(f"The grid misses the nominal env; nearest to it, and called nominal, is {point}.")
    weak = [one.label for one in results.values() if one.attacked and _is_weak(one.attacked)]
    if weak:
        lines.append(f"The learned adversary was no stronger than a random one against {', '.join(weak)}: {LONGER}.")
    if len({one.steps // one.method.turns for one in results.values()}) > 1:
        lines.append("The methods trained for different numbers of env steps: the comparison is not on equal terms.")
    if in_turns := [one.label for one in results.values() if one.method.turns > 1]:
        lines.append(f"Half of the env steps of {' and '.join(in_turns)} are those of the adversaries.")
    return lines


def _is_weak(attacked: Mapping[str, list[float]]) -> bool:
    return bool(np.mean(attacked["learned"]) >= np.mean(attacked["random"]))


def _digits(results: Mapping[str, Result]) -> int:
    largest = max(float(np.abs(one.sweep.cells).max()) for one in results.values())
    return 0 if largest >= 100 else 1 if largest >= 10 else 2


def _written(found: Interval, digits: int, sign: str = "", more: str = "") -> str:
    def number(value: float) -> str:
        return f"{value:{sign}.{digits}f}".replace("-", "−")

    if isnan(found.low):
        return f"{number(found.estimate)}{more}"
    return f"{number(found.estimate)} [{number(found.low)}, {number(found.high)}]{more}"


def _with_runs(found: Interval, each: np.ndarray, digits: int) -> str:
    """Return an interval, or the numbers of the runs if they are too few for one."""
    if len(each) in (1, *range(FEWEST, len(each) + 1)):
        return _written(found, digits)
    numbers = ", ".join(f"{value:.{digits}f}" for value in each).replace("-", "−")
    return f"{_written(found, digits)} ({numbers})"
