"""Numbers of a table: a mean is rounded to its spread."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, inf, isfinite, log10

from robustgames.evaluation.intervals import FEWEST, Interval
from robustgames.evaluation.metrics import SHARE, Metric
from robustgames.evaluation.reliability import mean_over_runs
from robustgames.evaluation.statistics import Summary


def cell(metric: Metric, row: Summary | None, runs: int) -> str:
    """Return "mean ± std unit" of a metric over several runs, or the number of a single run; "" without a row.

    Runs whose value is not finite are counted, since the mean leaves them out.

    Example:
        >>> from robustgames.evaluation.metrics import metric_of
        >>> cell(metric_of("reverse_kl"), Summary(mean=1.5, std=0.25, runs=[1.25, 1.75, inf]), 3)
        '1.50 ± 0.25 nats, not finite in 1'
    """
    if row is None:
        return ""
    mean, std, lost = row["mean"], row["std"], sum(not isfinite(value) for value in row["runs"])
    if not isfinite(mean):
        return "not finite"
    if metric.unit == SHARE:
        text = f"{100 * mean:.1f} ± {100 * std:.1f} %" if runs > 1 else f"{100 * mean:.1f} %"
    else:
        text = f"{mean_and_spread(mean, std) if runs > 1 else f'{mean:.4g}'} {metric.unit}".rstrip()
    return f"{text}, not finite in {lost}" if lost else text


def heading(metric: Metric) -> str:
    """Return the label of a metric, with its unit, for the head of a column."""
    unit = "%" if metric.unit == SHARE else metric.unit
    return f"{metric.label} ({unit})" if unit else metric.label


def scaled(metric: Metric, interval: Interval) -> Interval:
    """Return an interval in the unit of `heading`."""
    factor = 100.0 if metric.unit == SHARE else 1.0
    return Interval(*(factor * end for end in interval))


def mean_of_runs(metric: Metric, values: Sequence[float]) -> str:
    """Return the mean of a metric over runs, in the unit of `heading`: with its interval, or else with each number.

    Example:
        >>> from robustgames.evaluation.metrics import metric_of
        >>> mean_of_runs(metric_of("accuracy"), [0.5, 0.75]), mean_of_runs(metric_of("modes"), [25.0])
        ('62.5 (50, 75)', '25')
    """
    each = [f"{scaled(metric, Interval(value, value, value)).estimate:.4g}" for value in values]
    mean = str(scaled(metric, mean_over_runs(values, *metric.range))) if values else ""
    return f"{mean} ({', '.join(each)})" if 1 < len(each) < FEWEST else mean


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
