"""The result of a run on one screen, and what to type next."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

from rich.console import Console
from rich.table import Table

from robustgames.cli.certified_returns import report_certificates
from robustgames.cli.screen import plain
from robustgames.disk import typed
from robustgames.envs.control.perturbations import NOISES
from robustgames.evaluation.intervals import FEWEST, Interval
from robustgames.evaluation.metrics import metric_of
from robustgames.evaluation.rounding import cell
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
    console.print(f"curves       tensorboard --logdir {plain(typed(common))}", soft_wrap=True)


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
    if "episodes" in first:
        table.add_row("starts of every run", *blank, *(f"{r['episodes']}" for r in results))
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


def report_figures(folder: Path) -> None:
    """Print where the figures of a run are, and their names."""
    names = ", ".join(sorted(path.stem for path in folder.glob("*.png")))
    if names:
        Console(highlight=False).print(f"figures      {plain(folder)}: {plain(names)}", soft_wrap=True)


# -- numbers ---------------------------------------------------------------------------------------------
def _setting(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"


# -- runs of control under perturbations -----------------------------------------------------------------
LISTED = 10
"""Most runs whose worst point is printed; the others are in evaluation.json."""
WHOLE = 10
"""Largest number of cells of which the worst 10 % are the worst one."""


def report_robustness(result: Content, figure: Path) -> None:
    """Print the summaries of a sweep, of the random adversaries and of a best response, and where the figure is."""
    console, found = Console(highlight=False), result["robustness"]
    swept = found["sweep"]
    axes = " x ".join(f"{name} {values[0]:g}…{values[-1]:g}" for name, values in swept["axes"].items())
    runs = len(swept["returns"])
    console.print(
        f"\n[bold]returns under perturbation[/] of {plain(swept['env'])}, no adversary: {plain(axes or 'no axis')}",
        soft_wrap=True,
    )
    table = Table()
    table.add_column(f"starts of every run: {len(_flat(swept['returns'][0]))}")
    table.add_column(f"mean of {count(runs)}{_spread(runs)}", justify="right")
    for label, interval, each in _rows(result):
        table.add_row(label, plain(_with_spread(interval, each)))
    if best := result.get("best_response"):
        table.add_row(*_best_response(best))
    console.print(table)
    for run, point in enumerate(result.get("worst_case", {}).get("worst_points", [])[:LISTED]):
        of = f" of run {run}" if runs > 1 else ""
        console.print(f"worst case{of}: {plain(_named(point))}", soft_wrap=True)
    for attack, reason in result.get("observation_attacks", {}).get("left_out", {}).items():
        console.print(f"[yellow]attack {plain(attack)} left out:[/] {plain(reason)}", soft_wrap=True)
    if "policy_certificates" in result:
        report_certificates(result["policy_certificates"], console)
    for axis, reason in {**found["idle"], **result.get("worst_case", {}).get("idle", {})}.items():
        console.print(f"[yellow]{plain(axis)} left out:[/] {plain(reason)}", soft_wrap=True)
    if swept["axes"] and figure.exists():  # without an axis nothing is drawn, and the file is that of an earlier grid
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
    attacks = result.get("observation_attacks")
    nominal = all(value == (0 if name in NOISES else 1) for name, value in found["nominal_point"].items())
    labels = {"nominal": "nominal, no adversary" if nominal else f"point nearest to nominal: {_point(found)}"}
    labels |= {"mean": "mean over the grid", "worst": "worst point", "iqm": "interquartile mean of all points and runs"}
    labels |= {"cvar": "worst 10 % of the grid (CVaR)"} if cells > WHOLE else {}
    summary, each = found["summary"], found["per_run"]
    starts = len(_flat(found["sweep"]["returns"][0]))
    more = "" if random.get("episodes", starts) == starts else f", {random['episodes']} starts"
    if nominal and more:  # the same quantity on more starts is in the result and below
        del labels["nominal"]
    rows = [(labels[name], summary[name], each.get(name, [])) for name in summary if name in labels]
    rows += _worst_case(result["worst_case"], starts) if "worst_case" in result else []
    shown = [] if nominal and not more else ["without"]
    shown += [name for name in ("mixing", "replacement") if name in random]  # finite actions are not mixed
    for name in shown:
        label = "nominal, no adversary" if name == "without" else f"random {name}, share {random['alpha']:g}"
        rows.append((f"{label}{more}", random[name], random["per_run"][name]))
    return rows + (_observation_attacks(attacks, bool(more)) if attacks else [])


def _worst_case(found: Content, starts: int) -> list[tuple[str, list[float], list[float]]]:
    """Return the rows of the search for the worst point."""
    labels = {
        "worst": f"worst of {found['budget']} points of a search",
        "fresh": f"that point, {starts} other start{'' if starts == 1 else 's'}",
    }
    return [(label, found["summary"][name], found["per_run"][name]) for name, label in labels.items()]


def _observation_attacks(found: Content, alone: bool) -> list[tuple[str, list[float], list[float]]]:
    """Return a row of every attack on observations, and one of the strongest of each run.

    Args:
        found: Numbers of the attacks.
        alone: Whether to begin with the return without an attack, if no other row has it on the same starts.
    """
    names = [name for name in found["summary"] if alone or name != "nominal"]
    shown = {**dict(zip(names, names, strict=True)), "worst": "strongest"}
    labels = {name: f"observation attack {shown[name]}, eps {found['eps']:g}" for name in names}
    labels["nominal"] = "no observation attack"
    return [(labels[name], found["summary"][name], found["per_run"][name]) for name in names]


def _best_response(best: Content) -> tuple[str, str]:
    """Return the row of an adversary trained against one run: no interval over runs, but a count of its starts."""
    count = f", harmed in {best['harmed']} of {best['starts']} starts" if "harmed" in best else ""
    label = f"exploitability of run 0 ({best['algorithm']}, {best['steps']:,} steps)"
    return label, f"{best['exploitability'][0]:.4g}{count}"


def _point(found: Content) -> str:
    return _named(found["nominal_point"])


def _named(point: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in point.items())
