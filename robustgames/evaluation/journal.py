"""The played cells of a long evaluation in a file, with which an interrupted one continues."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robustgames.errors import writing
from robustgames.evaluation.cells import Cell, PlayedCell


class Journal:
    """Results of cells, one JSON line each, after a line that describes the evaluation.

    Args:
        path: File. If None, nothing is written.
        description: What all cells depend on. A file with another description is started again.
    """

    def __init__(self, path: Path | None, description: Mapping[str, Any]) -> None:
        self._path, self._description = path, json.loads(json.dumps(description))
        self._known: dict[tuple[int, int], dict[str, Any]] = {}
        lines = path.read_text().splitlines() if path is not None and path.is_file() else []
        found = [entry for entry in map(_parsed, lines) if entry is not None]  # the last line may be cut off
        if found and found[0] == self._description:
            self._known = {(entry["run"], entry["number"]): entry for entry in found[1:]}
        elif path is not None:
            self.forget()

    def recall(self, cell: Cell) -> PlayedCell | None:
        """Return the result of a cell, if it is known."""
        entry = self._known.get((cell.run, cell.number))
        if entry is None or (entry["point"], entry["seed"]) != (json.loads(json.dumps(cell.point)), cell.seed):
            return None
        return PlayedCell(np.array(entry["returns"]), tuple(entry["stamps"]))

    def record(self, cell: Cell, played: PlayedCell) -> None:
        """Write the result of a cell."""
        if self._path is None:
            return
        entry = {**cell.__dict__, "returns": played.returns.tolist(), "stamps": list(map(int, played.stamps))}
        with writing(self._path.parent), self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def forget(self) -> None:
        """Start the file again: its results are those of other policies or of another env."""
        self._known = {}
        if self._path is not None:
            with writing(self._path.parent):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_text(json.dumps(self._description) + "\n")

    def remove(self) -> None:
        """Delete the file of an evaluation that has ended."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
