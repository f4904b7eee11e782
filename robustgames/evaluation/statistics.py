"""Numbers over independent runs: mean, spread, and who diverged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def mean_and_std(values: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """Return {name: (mean, std)} over the runs with a finite value; std is that of a sample, 0 for one run.

    Computed where the values are, with one copy from the device for all names together.

    Example:
        >>> mean_and_std({"loss": torch.tensor([1.0, 3.0, float("nan")])})["loss"][0]
        2.0
    """
    if not values:
        return {}
    table = torch.stack([value.reshape(-1).double() for value in values.values()])
    finite = torch.isfinite(table)
    count = finite.sum(-1)
    mean = torch.where(finite, table, 0).sum(-1) / count  # 0 / 0 = NaN where no run is finite
    square = torch.where(finite, (table - mean.unsqueeze(-1)) ** 2, 0).sum(-1)
    both = torch.stack([mean, (square / (count - 1).clamp_min(1)).sqrt()], -1).tolist()
    return {name: (row[0], row[1]) for name, row in zip(values, both, strict=True)}


def summarize(values: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Return {name: {"mean", "std", "runs"}}, for a result file."""
    means = mean_and_std(values)
    return {
        name: {"mean": means[name][0], "std": means[name][1], "runs": value.reshape(-1).tolist()}
        for name, value in values.items()
    }
