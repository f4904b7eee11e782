"""The certificates of policies on one screen."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from robustgames.cli.screen import plain
from robustgames.experiment.folder import Content


def report_certificates(found: Content, console: Console) -> None:
    """Print what `robustgames evaluate RUN --certify` found: means over runs."""
    if actions := found.get("actions"):
        rows = {name: np.array(values) for name, values in actions["per_run"].items()}
        shown = [f"{rows[f'{a}mean'].mean():.3g}, largest {rows[f'{a}largest'].max():.3g}" for a in ("", "attacked_")]
        console.print(
            f"action change at eps {actions['eps']:g}: at most {shown[0]} ({actions['method']}); an attack finds "
            f"{shown[1]}",
            soft_wrap=True,
        )
    if "left_out" in found:
        console.print(f"[yellow]bounds of actions left out:[/] {plain(found['left_out'])}", soft_wrap=True)
    if returns := found.get("returns"):
        each = returns["per_run"]
        runs = len(each["mean"])
        console.print(
            f"\n[bold]certified returns[/] of the policy with noise {returns['noise']:g} on its observations, "
            f"{returns['episodes']:,} episodes, wrong with probability {returns['alpha']:g} per run",
            soft_wrap=True,
        )
        table = Table()
        table.add_column("budget of every attack")
        for name in ("mean", "median"):
            table.add_column(f"{name} return{f', mean of {runs} runs' if runs > 1 else ''}", justify="right")
        table.add_row("no attack, estimate", *(f"{np.mean(each[name]):.4g}" for name in ("mean", "median")))
        for k, budget in enumerate(returns["budgets"]):
            cells = [_cell([None if r is None else r[k] for r in each[f"certified_{n}"]]) for n in ("mean", "median")]
            table.add_row(f"{budget:g}", *cells)
        console.print(table)


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f">= {np.mean(known):.4g}" if len(known) == len(values) else "no bound"
