"""The command `robustgames compare`: learning curves over one another, and one table of methods."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from robustgames.cli import flags
from robustgames.cli.screen import markdown, plain
from robustgames.disk import typed
from robustgames.errors import GameError, check_writable, shorten, unknown, writing
from robustgames.evaluation.metrics import Metric, metric_of
from robustgames.evaluation.rounding import heading, mean_of_runs, scaled

if TYPE_CHECKING:
    from robustgames.sweeps.comparison import Curve, Difference, Method

PROGRAM = "robustgames compare"
MOST_CURVES = 10
"""Methods whose curves are drawn, as many as there are colors."""
Runs = Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN ...")]


@dataclass(frozen=True)
class CompareOptions:
    """Compare runs: those that differ in their seeds alone are one method, and the first one is the reference.

    Writes curves.png, table.md and table.json, and hyper-parameters with results for TensorBoard.
    """

    runs: Runs = ()
    """Folders of runs or sweeps, or folders above them; at least one."""
    metric: str | None = None
    """Metric of the table on the terminal; by default the first of which a direction is better."""
    by: Literal["steps", "seconds"] = "steps"
    """Horizontal axis of the curves: timesteps, or CPU seconds."""
    out: Path = Path("comparison")
    """Folder of the results."""


def compare(words: list[str]) -> None:
    """Compare runs on disk."""
    from robustgames.sweeps import comparison

    options = flags.read(CompareOptions, PROGRAM, words)
    if not options.runs:
        raise GameError(f"{PROGRAM} takes folders of runs: {PROGRAM} runs/MyEnv/gda runs/MyEnv/extragradient")
    check_writable(options.out)
    methods = comparison.methods_in(options.runs)
    known = comparison.common_metrics(methods)
    if not known:
        raise GameError("the runs have no metric in common: compare runs of one kind of env")
    if options.metric is not None and options.metric not in known:
        raise unknown("metric", options.metric, known)
    metric = options.metric or known[0]
    write(methods, known, options.out, options.by)
    console = Console(highlight=False)
    show(methods, metric, console)
    names = ", ".join(path.name for path in sorted(options.out.glob("*")) if path.suffix in (".png", ".md", ".json"))
    console.print(f"files        {plain(options.out)}: {names}", soft_wrap=True)
    if again := sum(len(method.repeated) for method in methods):
        console.print(f"[yellow]left out[/] {again} of the results: a later run has the same settings and seeds")
    if joint := [method.name for method in methods if comparison.are_joint(methods, method)]:
        console.print(
            f"[yellow]no curves of[/] {plain(shorten(', '.join(joint)))}: they are runs of one tensor, whose log has "
            "means over all of them",
            soft_wrap=True,
        )
    console.print(f"hparams      tensorboard --logdir {plain(typed(options.out))}", soft_wrap=True)


def show(methods: list[Method], metric: str, console: Console) -> None:
    """Print the table of one metric."""
    heads, rows = table_of(methods, metric)
    table = Table()
    for i, head in enumerate(heads):
        table.add_column(head, justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(plain, row))
    console.print(table)


def table_of(methods: list[Method], metric: str) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the cells of the table of one metric."""
    from robustgames.sweeps.comparison import against_first

    known = metric_of(metric)
    differences = against_first(methods, metric)
    heads = ["method", "runs", heading(known), "CPU s"]
    if len(methods) > 1:
        heads += ["difference", "P(better)"]
    rows = []
    for method, difference in zip(methods, differences, strict=True):
        seconds = sum(method.seconds)
        row = [method.name, _runs(method, metric), mean_of_runs(known, [*method.finite(metric).values()])]
        row.append(f"{seconds:.1f}" if math.isfinite(seconds) else "")
        if len(methods) > 1:
            row += _difference(difference, known)
        rows.append(row)
    return heads, rows


def _runs(method: Method, metric: str) -> str:
    finite, every = len(method.finite(metric)), len(method.values.get(metric, {}))
    missing = len(method.folders) - len(method.finished) - len(method.repeated)
    lost = f" of {every}" if finite < every else ""
    return f"{finite}{lost}" + (f" (+{missing} unfinished)" if missing else "")


def _difference(found: Difference | None, metric: Metric) -> list[str]:
    if found is None:
        return ["", ""]
    pair = found.paired
    difference = scaled(metric, found.difference)
    text = f"{difference}" if pair is None else f"{difference}, more in {pair.wins} of {pair.runs}"
    adjusted = "" if math.isnan(found.p_value) else f", p {found.p_value:.2g}"
    return [text + adjusted, f"{found.improvement.estimate:.2f}"]


def write(methods: list[Method], metrics: list[str], out: Path, by: str) -> None:
    """Write the figure, the tables of all metrics as Markdown and JSON, and the hyper-parameters for TensorBoard."""
    from robustgames.experiment.folder import write_result
    from robustgames.figures import save

    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        tables = [f"## {metric_of(name).label}\n\n{markdown(*table_of(methods, name))}" for name in metrics]
        (out / "table.md").write_text("\n".join(tables), encoding="utf-8")
    write_result(out, "table.json", {"methods": [_content(method, metrics) for method in methods]})
    (out / "curves.png").unlink(missing_ok=True)  # that of an earlier comparison
    if (curves := _curves(methods, by)) is not None:
        save(curves, out / "curves.png")
    _write_hparams(methods, metrics, out)


def _content(method: Method, metrics: list[str]) -> dict[str, Any]:
    values = {
        name: {"interval": list(method.interval(name)), "runs": list(method.values.get(name, {}).values())}
        for name in metrics
    }
    folders = [str(folder) for folder in method.folders]
    config = {name: list(value) if isinstance(value, tuple) else value for name, value in method.config.items()}
    return {"name": method.name, "config": config, "folders": folders, "metrics": values}


def _curves(methods: list[Method], by: str) -> Any:
    """Return the figure of the learning curves of the first methods; None if there is none.

    A curve is that of the finished runs, as the table is. A log of several methods has their means, see `are_joint`.
    """
    from robustgames.figures.curves import draw_curves, has_metrics, read_curves
    from robustgames.sweeps.comparison import are_joint, in_seconds, joined, runs_of

    tables: dict[str, Curve] = {}
    counts: set[int] = set()
    for method in methods[:MOST_CURVES]:
        parts = {folder: sorted(folder.glob("progress*.csv")) for folder in method.finished or method.folders}
        logged = {folder: files for folder, files in parts.items() if has_metrics(files)}
        if logged and (by == "steps" or method.seconds) and not are_joint(methods, method):
            found = [curve for files in logged.values() for curve in read_curves(files).values()]
            runs = [runs_of(folder) for folder in logged]
            counts.add(sum(runs))
            curve = joined(found, runs)
            tables[method.name] = in_seconds(curve, fmean(method.seconds)) if by == "seconds" else curve
    if not tables:
        return None
    env = ", ".join(dict.fromkeys(str(method.config["env"]).rpartition("/")[2] for method in methods))
    more = f", {MOST_CURVES} of {len(methods)} methods" if len(methods) > MOST_CURVES else ""
    return draw_curves(
        tables,
        f"{env}{more}",
        counts.pop() if len(counts) == 1 else 0,
        "CPU seconds" if by == "seconds" else "",
    )


def _write_hparams(methods: list[Method], metrics: list[str], out: Path) -> None:
    """Write one event file per method with its settings and mean metrics, which TensorBoard shows under HPARAMS."""
    from stable_baselines3.common.logger import HParam, Logger, TensorBoardOutputFormat

    for old in (out / "hparams").glob("*/events.out.tfevents.*"):  # of an earlier comparison, perhaps of more methods
        old.unlink()
    for number, method in enumerate(methods):
        folder = out / "hparams" / f"{number:02d}"
        with writing(folder):
            output = TensorBoardOutputFormat(str(folder))
        plain_values = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in method.config.items()}
        means = {f"eval/{name}": method.interval(name).estimate for name in metrics}
        logger = Logger(None, [output])
        logger.record(
            "hparams", HParam(plain_values, dict.fromkeys(means, 0.0)), exclude=("stdout", "log", "json", "csv")
        )
        for name, value in means.items():
            logger.record(name, value)
        logger.dump(0)
        logger.close()
