"""What solvers buy in practice: GANs and robust control by many solvers at equal cost.

    python scripts/practice.py --tasks gaussians [--solvers adam half_turn ...] [--runs 6] [--out practice]

Every solver gets the same budget of search: five learning rates (three in control), each three times the one before,
on the same runs of a seed of their own. The best rate is trained on fresh runs, the same for all solvers. A call of
one player costs half a call of both. The tasks are named in `practice_tasks.py`.

Writes results.jsonl, a line for every trial, TASK.md, and practice.png to OUT. The same command continues an
interrupted comparison, and draws a finished one again. A task takes five to ten minutes of CPU with the
defaults.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from matplotlib.figure import Figure
from practice_tasks import SOLVERS, TASKS, trial
from results import Line, Log, Table

from robustgames.errors import GameError, unknown
from robustgames.evaluation.intervals import holm
from robustgames.evaluation.reliability import mean_over_runs, paired
from robustgames.figures.style import save


@dataclass(frozen=True)
class Options:
    """Run the trials that results.jsonl lacks, and write the tables and the figure.

    Attributes:
        tasks: Tasks, by default all.
        solvers: Solvers, by default all.
        runs: Fresh runs of the best rate of a solver, side by side.
        seed: Seed of the fresh runs.
        search_seed: Seed of the runs of the search.
        reference: Solver with which the others are compared run by run.
        out: Folder of the results.
    """

    tasks: tuple[str, ...] = ()
    solvers: tuple[str, ...] = ()
    runs: int = 6
    seed: int = 0
    search_seed: int = 1000
    reference: str = "adam"
    out: Path = Path("practice")


def score(task: str, line: Line | None) -> float:
    """Return the mean of the metric of a task over the runs of a trial, small if good; infinite if a run diverged."""
    if line is None or "error" in line:
        return math.inf
    values = np.array(line["found"][TASKS[task].metric])
    mean = float(values.mean()) * (1 if TASKS[task].lower else -1)
    return mean if math.isfinite(mean) else math.inf


def rates_of(task: str, solver: str) -> tuple[float, ...]:
    """Return the learning rates of the search, the middle ones if there are fewer than the solver has."""
    own = SOLVERS[solver].rates
    left_out = (len(own) - TASKS[task].rates) // 2
    return own[left_out : len(own) - left_out]


def search(task: str, solver: str, options: Options) -> Iterator[Line]:
    """Yield the jobs of the search for the rate of a solver."""
    for lr in rates_of(task, solver):
        runs, seed, budget = (
            TASKS[task].tuned_on,
            options.search_seed,
            round(TASKS[task].search_share * TASKS[task].budget),
        )
        yield {"task": task, "solver": solver, "lr": lr, "budget": budget, "runs": runs, "seed": seed, "search": True}


def fresh(task: str, solver: str, options: Options, log: Log) -> Line | None:
    """Return the job of the fresh runs at the best rate of the search, or None if no rate served."""
    tried = [(score(task, log.find(job)), job) for job in search(task, solver, options)]
    best = min(tried, key=lambda pair: pair[0])
    return (
        None
        if math.isinf(best[0])
        else {**best[1], "budget": TASKS[task].budget, "runs": options.runs, "seed": options.seed, "search": False}
    )


def table(task: str, options: Options, log: Log) -> Table:
    """Return mean [95 % interval] over the fresh runs, a row for each solver, and the difference from the reference."""
    shown, lines = TASKS[task].shown, finished(task, options, log)
    heads = ["solver", "lr", "CPU s a run", *(head for head, _, _ in shown.values()), f"minus {options.reference}"]
    metric, (_, factor, digits) = TASKS[task].metric, next(iter(shown.values()))
    base = lines.get(options.reference)
    apart = {
        name: paired(np.array(line["found"][metric]), np.array(base["found"][metric]))
        for name, line in lines.items()
        if base and name != options.reference and not _diverged(line, metric) and not _diverged(base, metric)
    }
    adjusted = dict(zip(apart, holm(np.array([each.p_value for each in apart.values()])), strict=True))
    rows = []
    for name, line in lines.items():
        cells = [name, _rate(task, name, line["lr"]), f"{line['cpu_seconds'] / line['runs']:.1f}"]
        cells += [_cell(task, key, line["found"][key]) for key in shown]
        last = ""
        if name in apart:
            difference = apart[name].difference
            last = _interval([factor * each for each in difference], digits, sign="+")
            last = f"**{last}**" if adjusted[name] < 0.05 else last
        rows.append([*cells, last])
    title = (
        f"{TASKS[task].title}: {options.runs} fresh runs at the rate with the best {TASKS[task].metric} of "
        f"{TASKS[task].rates}. Bold: the difference from {options.reference}, run by run, is not 0 after Holm's "
        "correction. "
        "*: the first or last rate of the search"
    )
    return Table(heads, rows, title)


def finished(task: str, options: Options, log: Log) -> dict[str, Line]:
    """Return {solver: line of its fresh runs}, the best first."""
    found = {}
    for name in options.solvers or SOLVERS:
        job = fresh(task, name, options, log)
        if job is not None and (line := log.find(job)) is not None:
            found[name] = line
    return dict(sorted(found.items(), key=lambda item: score(task, item[1])))


def _diverged(line: Line, metric: str) -> int:
    return int((~np.isfinite(line["found"][metric])).sum())


def _rate(task: str, name: str, lr: float) -> str:
    rates = rates_of(task, name)
    return f"{lr:g}*" if lr in (rates[0], rates[-1]) else f"{lr:g}"


def _cell(task: str, metric: str, values: list[float]) -> str:
    _, factor, digits = TASKS[task].shown[metric]
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < len(values):
        return f"not finite in {len(values) - len(finite)} of {len(values)}"
    return _interval([factor * end for end in mean_over_runs(finite, *TASKS[task].range_of(metric))], digits)


def _interval(interval: tuple[float, ...] | list[float], digits: int, sign: str = "") -> str:
    mean, low, high = (f"{value:{sign}.{digits}f}".replace("-", "−") for value in interval)
    return mean if "nan" in low else f"{mean} [{low}, {high}]"


def figure(options: Options, log: Log) -> Figure:
    """Draw the metric of every task, a panel for each, with intervals and single runs."""
    tasks = [task for task in options.tasks or TASKS if finished(task, options, log)]
    rows = max(len(finished(task, options, log)) for task in tasks)
    made = Figure(figsize=(3.6 * len(tasks), 1.2 + 0.3 * rows), layout="constrained")
    for axes, task in zip(made.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        head, factor, _ = next(iter(TASKS[task].shown.values()))
        lines = finished(task, options, log)
        for row, line in enumerate(lines.values()):
            metric, values = TASKS[task].metric, factor * np.array(line["found"][TASKS[task].metric])
            axes.plot(values, np.full(len(values), row), ".", color="0.7", markersize=4)
            if lost := _diverged(line, metric):
                label, at = f"not finite in {lost} of {line['runs']} ", axes.get_yaxis_transform()
                axes.text(1, row, label, transform=at, ha="right", va="center", fontsize=8)
                continue
            found = mean_over_runs(line["found"][metric], *TASKS[task].range_of(metric))
            mean, low, high = (factor * end for end in found)
            axes.plot([low, high], [row, row], "-", color="C0")
            axes.plot(mean, row, "o", color="C0", markersize=5)
        if TASKS[task].decades:
            axes.set_xscale("log")
        axes.set_yticks(range(len(lines)), lines, fontsize=8)
        axes.invert_yaxis()
        axes.set_title(TASKS[task].title, fontsize=10)
        axes.set_xlabel(head)
    return made


def main(options: Options) -> int:
    try:
        for kind, names, known in (("task", options.tasks, TASKS), ("solver", options.solvers, SOLVERS)):
            for name in names:
                if name not in known:
                    raise unknown(kind, name, known)
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    log, tasks = Log(options.out), options.tasks or tuple(TASKS)
    for solver in options.solvers or SOLVERS:  # all tasks of a solver first, so an interrupted table has whole rows
        for task in tasks:
            for line in log.complete(trial, search(task, solver, options)):
                said = line.get("error") or f"{abs(score(task, line)):.4g}"
                print(f"{task}, {solver}, lr {line['lr']:g}: {said}", flush=True)
            if job := fresh(task, solver, options, log):
                for line in log.complete(trial, [job]):
                    print(f"{task}, {solver}: {abs(score(task, line)):.4g} fresh", flush=True)
    for task in tasks:
        table(task, options, log).show(options.out / f"{task}.md", width=200)
    if any(finished(task, options, log) for task in tasks):
        save(figure(options, log), options.out / "practice.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
