"""Numbers over independent runs: mean, spread, and who diverged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def summarize(values: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Return {name: {mean, std, runs}} over the runs with a finite value; std is that of a sample (0 for one run).

    One copy from the device for all names together.

    Example:
        >>> summarize({"loss": torch.tensor([1.0, 3.0, float("nan")])})["loss"]["mean"]
        2.0
    """
    if not values:
        return {}
    table = torch.stack([v.reshape(-1).double() for v in values.values()]).cpu()
    return {name: _row(row) for name, row in zip(values, table, strict=True)}


def _row(row: Tensor) -> dict[str, Any]:
    finite = row[torch.isfinite(row)]
    mean = float(finite.mean()) if len(finite) else float("nan")
    std = float(finite.std()) if len(finite) > 1 else 0.0
    return {"mean": mean, "std": std, "runs": row.tolist()}
