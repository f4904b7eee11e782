"""The result of a run on one screen, and what to type next."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def report(results: list[dict[str, Any]], folders: list[Path]) -> None:
    """Print one table of mean ± std over the runs, and what to type next."""
    console = Console(highlight=False)
    first = results[0]
    spread = f", mean ± std over {first['runs']} runs" if first["runs"] > 1 else ""
    settings = first["game"].partition("(")[2].removesuffix(")")
    told = f" ({escape(settings)})" if settings else ""
    console.print(f"[bold]{first['env'].rpartition(':')[2]}[/]{told}{spread}", soft_wrap=True)
    console.print(_table(results))
    _warn(results, console)
    for verdict, number in first.get("verdicts", {}).items():
        console.print(f"{number} of {count(first['runs'])}: {escape(verdict)}")
    for folder in folders:
        console.print(f"run folder   {folder}", soft_wrap=True)
    common = Path(os.path.commonpath(folders)) if len(folders) > 1 else folders[0]
    console.print(f"curves       tensorboard --logdir {common}", soft_wrap=True)


def _table(results: list[dict[str, Any]]) -> Table:
    first, table = results[0], Table()
    table.add_column("")
    starts = first["start"] if len(results) == 1 else {}
    for heading in (["start"] if starts else []) + [r["agent"] for r in results]:
        table.add_column(heading, justify="right")
    for name in first["metrics"]:
        cells = ([starts] if starts else []) + [r["metrics"] for r in results]
        table.add_row(_label(name), *(_cell(name, c.get(name), first["runs"]) for c in cells))
    blank = [""] if starts else []
    table.add_row(f"{first.get('timestep', 'oracle call')}s", *blank, *(f"{r['timesteps']:,}" for r in results))
    if all("seconds" in r for r in results):
        table.add_row("seconds", *blank, *(f"{r['seconds']:.1f}" for r in results))
    if any(r["diverged"] for r in results):
        table.add_row("[red]diverged runs[/]", *blank, *(f"{r['diverged']} of {r['runs']}" for r in results))
    return table


def _warn(results: list[dict[str, Any]], console: Console) -> None:
    for r in results:
        if any(collapsed := r.get("catastrophic_overfitting", [])):
            whose = f"{sum(collapsed)} of {count(r['runs'])} of {r['agent']}"
            console.print(
                f"[yellow]warning:[/] catastrophic overfitting in {whose}: FGSM is resisted, PGD is not; "
                "take more attack steps (adversarial_training --inner-steps 7), or stop early (--patience 5)"
            )


def count(runs: int) -> str:
    """Return "1 run" or "5 runs"."""
    return "1 run" if runs == 1 else f"{runs} runs"


def _label(name: str) -> str:
    return re.sub(r"^pgd(\d+)", r"PGD-\1", name).replace("fgsm", "FGSM").replace("_", " ")


def _cell(name: str, row: dict[str, Any] | None, runs: int) -> str:
    if row is None:
        return ""
    mean, std = row["mean"], row["std"]
    if name.endswith(("accuracy", "high_quality")):
        return f"{100 * mean:.1f} ± {100 * std:.1f} %" if runs > 1 else f"{100 * mean:.1f} %"
    return f"{mean:.4g} ± {std:.2g}" if runs > 1 else f"{mean:.4g}"
