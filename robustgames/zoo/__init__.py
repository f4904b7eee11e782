"""Trained robust classifiers that the package ships: `zoo.load("mnist-linf")`, `robustgames attack zoo:mnist-linf`.

The table can be read without PyTorch, which is imported with `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustgames.lazy import attach
from robustgames.zoo.table import ZOO, Entry, entry

if TYPE_CHECKING:
    from robustgames.zoo.loading import load
else:
    __getattr__, __dir__ = attach(__name__, __file__)

__all__ = ["ZOO", "Entry", "entry", "load"]
