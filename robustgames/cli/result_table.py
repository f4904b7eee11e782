"""The result of a run on one screen, and what to type next."""

from __future__ import annotations

import os
from math import floor, inf, isfinite, log10, prod
from pathlib import Path

from rich.console import Console
from rich.table import Table

from robustgames.cli.screen import plain
from robustgames.envs.control.perturbations import NOISES
from robustgames.evaluation.intervals import FEWEST, Interval
from robustgames.evaluation.metrics import SHARE, Metric, metric_of
from robustgames.evaluation.statistics import Summary
from robustgames.experiment.folder import Content


def report(results: list[Content], folders: list[Path]) -> None:
    """Print one table of mean ± std over the runs, and what to type next."""
    console = Console(highlight=False)
    first = results[0]
    spread = f", mean ± std over {first['runs']} runs" if first["runs"] > 1 else ""
    shown = ", ".join(f"{name}={_setting(value)}" for name, value in first.get("settings", {}).items())
    settings = f" ({plain(shown)})" if shown else ""
    console.print(f"[bold]{plain(first['env'].rpartition(':')[2])}[/]{settings}{spread}", soft_wrap=True)
    console.print(_table(results))
    _warn(results, console)
    for verdict, number in first.get("verdicts", {}).items():
        console.print(f"{number} of {count(first['runs'])}: {plain(verdict)}")
    for folder in folders:
        console.print(f"run folder   {plain(folder)}", soft_wrap=True)
    common = Path(os.path.commonpath(folders)) if len(folders) > 1 else folders[0]
    console.print(f"curves       tensorboard --logdir {plain(common)}", soft_wrap=True)


def _table(results: list[Content]) -> Table:
    first, table = results[0], Table()
    table.add_column("")
    starts = first["start"] if len(results) == 1 else {}
    for heading in (["start"] if starts else []) + [r["agent"] for r in results]:
        table.add_column(heading, justify="right")
    for metric in map(metric_of, first["metrics"]):
        columns = ([starts] if starts else []) + [r["metrics"] for r in results]
        table.add_row(metric.label, *(cell(metric, column.get(metric.name), first["runs"]) for column in columns))
    blank = [""] if starts else []
    table.add_row(f"{first.get('timestep', 'oracle call')}s", *blank, *(f"{r['timesteps']:,}" for r in results))
    if all("seconds" in r for r in results):
        table.add_row("seconds", *blank, *(f"{r['seconds']:.1f}" for r in results))
    if any(r["diverged"] for r in results):
        table.add_row("[red]diverged runs[/]", *blank, *(f"{r['diverged']} of {r['runs']}" for r in results))
    return table


def _warn(results: list[Content], console: Console) -> None:
    for r in results:
        if any(collapsed := r.get("catastrophic_overfitting", [])):
            runs = f"{sum(collapsed)} of {count(r['runs'])} of {r['agent']}"
            console.print(
                f"[yellow]warning:[/] catastrophic overfitting in {runs}: FGSM is resisted, PGD is not; "
                "take more attack steps (adversarial_training --inner-steps 7), or stop early (--patience 5)"
            )


def count(runs: int) -> str:
    """Return "1 run" or "5 runs"."""
    return "1 run" if runs == 1 else f"{runs} runs"


# -- numbers ---------------------------------------------------------------------------------------------
def cell(metric: Metric, row: Summary | None, runs: int) -> str:
    """Return "mean ± std unit" of a metric over several runs, or the number of a single run; "" without a row."""
    if row is None:
        return ""
    mean, std = row["mean"], row["std"]
    if metric.unit == SHARE:
        return f"{100 * mean:.1f} ± {100 * std:.1f} %" if runs > 1 else f"{100 * mean:.1f} %"
    number = mean_and_spread(mean, std) if runs > 1 else f"{mean:.4g}"
    return f"{number} {metric.unit}".rstrip()


def mean_and_spread(mean: float, std: float) -> str:
    """Return "mean ± std": std to two digits, the mean to the same decimal place and to at most six digits.

    Example:
        >>> mean_and_spread(4.859, 10.2), mean_and_spread(0.31415, 0.0123), mean_and_spread(3.1415926, 1e-4)
        ('5 ± 10', '0.314 ± 0.012', '3.14159 ± 0.00010')
    """
    size = max(abs(mean), std)
    if not isfinite(size) or std == 0:
        return f"{mean:.4g} ± {std:.2g}"
    place = min(_place(mean, 6), _place(std, 2))
    if 1e-4 <= size < 1e6:
        return f"{_fixed(mean, place)} ± {_fixed(std, _place(std, 2)) if std >= 1e-4 else f'{std:.2g}'}"
    exponent = floor(log10(size))
    return f"{_fixed(mean / 10**exponent, place + exponent)}e{exponent:+03d} ± {std:.1e}"


def _place(value: float, digits: int) -> float:
    """Return the number of decimals that show so many digits of a value; -1 rounds to tens."""
    return digits - 1 - floor(log10(abs(value))) if value else inf


def _fixed(value: float, place: float) -> str:
    """Return a value rounded to a decimal place."""
    if not isfinite(place):
        return "0"
    rounded = round(value, int(place)) + 0.0  # -0.0 becomes 0.0
    return f"{rounded:.{max(0, int(place))}f}"


def _setting(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"


# -- runs of control under perturbations -----------------------------------------------------------------
WHOLE = 10
"""Largest number of cells of which the worst 10 % are the worst one."""


def report_robustness(result: Content, figure: Path) -> None:
    """Print the summaries of a sweep, of the random adversaries and of a best response, and where the figure is."""
    console, found = Console(highlight=False), result["robustness"]
    swept = found["sweep"]
    axes = " x ".join(f"{name} {values[0]:g}…{values[-1]:g}" for name, values in swept["axes"].items())
    runs = len(swept["returns"])
    console.print(
        f"\n[bold]returns under perturbation[/] of {plain(swept['env'])}, no adversary: {plain(axes)}", soft_wrap=True
    )
    table = Table()
    table.add_column(f"starts of every run: {len(_flat(swept['returns'][0]))}")
    table.add_column(f"mean of {count(runs)}{_spread(runs)}", justify="right")
    for label, interval, each in _rows(result):
        table.add_row(label, plain(_with_spread(interval, each)))
    console.print(table)
    for axis, reason in found["idle"].items():
        console.print(f"[yellow]{plain(axis)} left out:[/] {plain(reason)}", soft_wrap=True)
    if figure.exists():
        console.print(f"figure       {plain(figure)}", soft_wrap=True)


def _flat(cells: list) -> list:
    """Return the episodes of the first cell of a grid."""
    return _flat(cells[0]) if isinstance(cells[0], list) else cells


def _spread(runs: int) -> str:
    return " [95 % interval]" if runs >= FEWEST else " (each run)" if runs > 1 else ""


def _with_spread(interval: list[float], each: list[float]) -> str:
    """Return an estimate with its interval, or with the numbers of the runs if they are too few for one."""
    if len(each) >= FEWEST or len(each) < 2:
        return str(Interval(*interval))
    return f"{interval[0]:.4g} ({', '.join(f'{value:.4g}' for value in each)})"


def _rows(result: Content) -> list[tuple[str, list[float], list[float]]]:
    """Return (label, (estimate, low, high), numbers of the runs) of every row."""
    found, random = result["robustness"], result["random_adversary"]
    cells = prod(len(values) for values in found["sweep"]["axes"].values())
    nominal = all(value == (0 if name in NOISES else 1) for name, value in found["nominal_point"].items())
    labels = {"nominal": "nominal, no adversary" if nominal else f"point nearest to nominal: {_point(found)}"}
    labels |= {"mean": "mean over the grid", "worst": "worst point", "iqm": "interquartile mean of all points and runs"}
    labels |= {"cvar": "worst 10 % of the grid (CVaR)"} if cells > WHOLE else {}
    summary, each = found["summary"], found["per_run"]
    rows = [(labels[name], summary[name], each.get(name, [])) for name in summary if name in labels]
    shown = [] if nominal else ["without"]
    for name in [*shown, "mixing", "replacement"]:
        label = "nominal, no adversary" if name == "without" else f"random {name}, share {random['alpha']:g}"
        rows.append((label, random[name], random["per_run"][name]))
    if best := result.get("best_response"):
        label = f"exploitability of run 0 ({best['algorithm']}, {best['steps']:,} steps), over 10 starts"
        rows.append((label, best["exploitability"], []))
    return rows


def _point(found: Content) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in found["nominal_point"].items())
