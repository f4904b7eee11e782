"""The curves of a run on disk: progress.csv and TensorBoard's event files, where every step is written once."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import HParam, Logger, TensorBoardOutputFormat, make_output_format
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[attr-defined]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined]
from tensorboard.summary.writer.record_writer import RecordWriter

from robustgames.disk import write_new
from robustgames.errors import writing
from robustgames.figures.style import Figure, png, shrink
from robustgames.figures.video import log_picture

STEP = "time/timesteps"
EVENTS = "events.out.tfevents.*"
PATIENCE = 1.0  # seconds for which events may wait: to wait for the disk takes longer than a log


@dataclass(frozen=True)
class Page:
    """What TensorBoard shows of a run next to its curves.

    Attributes:
        text: Markdown of the page "run" in TEXT.
        hparams: Hyper-parameters of HPARAMS; their metrics are those under eval/, of games without any under game/.
    """

    text: str
    hparams: dict[str, bool | str | float]


class EventFile(TensorBoardOutputFormat):
    """An event file in which the numbers of a log are one event; it is on the disk after a second, or by `flush`.

    Stable-Baselines3 writes an event for each, and waits for the disk after every log.

    Args:
        folder: Folder of the file.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._waiting: list[Event] = []
        self._flushed = 0.0

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        shown = {name: v for name, v in sorted(key_values.items()) if "tensorboard" not in (key_excluded[name] or ())}
        numbers = {name: v for name, v in shown.items() if isinstance(v, int | float | np.number)}
        if numbers:
            values = [Summary.Value(tag=name, simple_value=float(v)) for name, v in numbers.items()]
            self._waiting.append(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        if others := {name: v for name, v in shown.items() if name not in numbers}:
            self._hand_over()
            super().write(others, dict.fromkeys(others, ()), step)
        if time.perf_counter() - self._flushed > PATIENCE:
            self.flush()

    def flush(self) -> None:
        """Write what waits to the disk."""
        self._hand_over()
        self.writer.flush()

    def _hand_over(self) -> None:
        """Give what waits, in one go, to the thread that writes it, which takes a millisecond to wake up."""
        waiting, self._waiting, self._flushed = self._waiting, [], time.perf_counter()
        for event in waiting:
            self.writer._get_file_writer().event_writer.add_event(event)  # type: ignore[union-attr]

    def close(self) -> None:
        """Write what waits, and close the file."""
        self.flush()
        super().close()


class RunLogger(Logger):
    """Writes progress.csv and an event file to a run folder; an error of the disk is a `GameError`.

    Args:
        folder: Folder of the run.
        suffix: End of the names of the files before their extension.
        page: Page of the run, written with the first log, its hyper-parameters with the first metrics; or None.

    Attributes:
        before_dump: Functions that are called before every log and record more.
    """

    def __init__(self, folder: Path, suffix: str, page: Page | None = None) -> None:
        self._folder, self._page = folder, page
        self._unmeasured: Page | None = None
        self.before_dump: list[Callable[[], None]] = []
        with writing(folder):
            self._events = EventFile(folder)
            super().__init__(str(folder), [make_output_format("csv", str(folder), suffix), self._events])

    def dump(self, step: int = 0) -> None:
        for record_more in self.before_dump:
            record_more()
        names = sorted(self.name_to_value)
        with writing(self._folder):
            super().dump(step)
            if self._page is not None and names:
                self._write({"run": self._page.text}, step)
                self._unmeasured, self._page = self._page, None
            if self._unmeasured is not None and (metrics := _measured(names)):
                values = dict.fromkeys(metrics, 0.0)  # TensorBoard reads the values from the curves
                self._write({"hparams": HParam(self._unmeasured.hparams, values)}, step)
                self._write_bands(names)
                self._unmeasured = None

    def _write(self, shown: dict[str, Any], step: int) -> None:
        for output in self.output_formats:
            if isinstance(output, TensorBoardOutputFormat):
                output.write(shown, dict.fromkeys(shown, ()), step)

    def _write_bands(self, names: list[str]) -> None:
        """Describe the charts of CUSTOM SCALARS: every mean over the runs, in a band from the least to the largest."""
        ends = ("/min", "/max")
        bands = [name for name in names if all(f"spread/{name}{end}" in names for end in ends)]
        charts = {name: ["Margin", [name, *(f"spread/{name}{end}" for end in ends)]] for name in bands}
        for output in self.output_formats if charts else ():
            if isinstance(output, TensorBoardOutputFormat):
                output.writer.add_custom_scalars({"mean over the runs, from the least to the largest": charts})

    def flush(self) -> None:
        """Write to the disk what waits; a checkpoint must not be newer than the curves up to it."""
        if self.output_formats:
            with writing(self._folder):
                self._events.flush()

    def close(self) -> None:
        """Close the files; a second call does nothing."""
        formats, self.output_formats = self.output_formats, []
        with writing(self._folder):
            for output in formats:
                output.close()


class SilentLogger(Logger):
    """The logger of a process that writes nothing: its functions take part in what all processes record.

    Attributes:
        before_dump: See `RunLogger`.
    """

    def __init__(self) -> None:
        super().__init__(None, [])
        self.before_dump: list[Callable[[], None]] = []

    def dump(self, step: int = 0) -> None:
        for record_more in self.before_dump:
            record_more()
        super().dump(step)

    def flush(self) -> None:
        """Do nothing."""


def show_figures(output: TensorBoardOutputFormat, drawn: Mapping[str, Figure], step: int) -> None:
    """Write figures to TensorBoard, small enough that their text is legible in its panels."""
    for name, figure in drawn.items():
        shrink(figure)
        log_picture(output, f"figures/{name}", png(figure, 100), step)


def _measured(names: list[str]) -> list[str]:
    """Return the metrics that compare runs: those of the evaluated point; of games without any, of the iterate."""
    return next((found for group in ("eval/", "game/") if (found := [n for n in names if n.startswith(group)])), [])


def open_logger(folder: Path, timesteps: int, kept: int, page: Page | None = None) -> RunLogger:
    """Return the logger of a run that begins or continues.

    A resumed run writes its curve next to the first part, which Stable-Baselines3 would overwrite. What a killed run
    has logged after its last checkpoint is removed, because it is logged again.

    Args:
        folder: Folder of the run.
        timesteps: Timesteps of the run so far.
        kept: Largest timestep whose lines in the files are kept.
        page: Page of the run; the first part of a resumed run has written it.

    Raises:
        GameError: The files cannot be written.
    """
    with writing(folder):
        for path in sorted(folder.glob("progress*.csv")):
            _trim_csv(path, kept)
        for path in sorted(folder.glob(EVENTS)):
            _trim_events(path, kept)
        suffix = f"-{timesteps}" if (folder / "progress.csv").exists() else ""
        (folder / f"progress{suffix}.csv").unlink(missing_ok=True)  # Stable-Baselines3 would write through a hard link
    return RunLogger(folder, suffix, None if suffix else page)


def _trim_csv(path: Path, kept: int) -> None:
    """Remove the rows of later timesteps, and rows that are cut off."""
    text = path.read_text(encoding="utf-8", errors="replace")
    rows = list(csv.reader(text.splitlines()))
    header = rows[0] if rows else []
    at = header.index(STEP) if STEP in header else None
    right = [row for row in rows[1:] if len(row) == len(header) and at is not None and _number(row[at]) <= kept]
    if len(right) == len(rows) - 1 and text.endswith("\n"):
        return
    if not right:
        path.unlink()
        return
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *right])
    _replace(path, file.getvalue().encode())


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("inf")


def _trim_events(path: Path, kept: int) -> None:
    """Remove the events of later timesteps, and an event that is cut off."""
    found = list(_events(path))
    right = [event for event in found if not event.HasField("summary") or event.step <= kept]
    if len(right) == len(found):
        return
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in right:
        writer.write(event.SerializeToString())
    _replace(path, file.getvalue())


def _events(path: Path) -> Iterator[Any]:
    yield from LegacyEventFileLoader(str(path)).Load()


def _replace(path: Path, data: bytes) -> None:
    os.replace(write_new(path, data), path)
