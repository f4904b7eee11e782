"""Numbers over independent runs: mean and spread over those that are finite."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor


class Summary(TypedDict):
    """A metric in a result file.

    Attributes:
        mean: Mean over the runs with a finite value; NaN if there is none.
        std: Standard deviation of a sample, over the same runs; 0 for one run.
        runs: Value of every run.
    """

    mean: float
    std: float
    runs: list[float]


def mean_and_std(values: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """Return {name: (mean, std)} over the runs with a finite value; std is that of a sample, 0 for one run.

    Computed on the device of the values, with one copy from it for all names together.

    Args:
        values: Metrics by name, each with one element per run.

    Example:
        >>> mean_and_std({"loss": torch.tensor([1.0, 3.0, float("nan")])})["loss"][0]
        2.0
    """
    if not values:
        return {}
    table = torch.stack([value.reshape(-1).double() for value in values.values()])
    finite = torch.isfinite(table)
    count = finite.sum(-1)
    mean = torch.where(finite, table, 0).sum(-1) / count  # 0 / 0 = NaN if no run is finite
    square = torch.where(finite, (table - mean.unsqueeze(-1)) ** 2, 0).sum(-1)
    both = torch.stack([mean, (square / (count - 1).clamp_min(1)).sqrt()], -1).tolist()
    return {name: (row[0], row[1]) for name, row in zip(values, both, strict=True)}


def summarize(values: dict[str, Tensor]) -> dict[str, Summary]:
    """Return {name: summary} of metrics with one element per run, for a result file."""
    means = mean_and_std(values)
    return {
        name: {"mean": means[name][0], "std": means[name][1], "runs": value.reshape(-1).tolist()}
        for name, value in values.items()
    }
