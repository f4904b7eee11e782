"""Sweeps: one experiment with many settings and seeds, on many processes, that survive a kill."""

from robustgames.executors import Executor, executor
from robustgames.sweeps.plan import OF_ENV, Axis, Plan, Range, Trial
from robustgames.sweeps.search import Search
from robustgames.sweeps.sweep import Sweep, begin, load, perform
from robustgames.sweeps.table import Ranking, Row
from robustgames.sweeps.trial import Outcome

__all__ = [
    "OF_ENV",
    "Axis",
    "Executor",
    "Outcome",
    "Plan",
    "Range",
    "Ranking",
    "Row",
    "Search",
    "Sweep",
    "Trial",
    "begin",
    "executor",
    "load",
    "perform",
]
