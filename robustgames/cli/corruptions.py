"""The flag `--corruptions` of `robustgames attack`: accuracy on images with noise, blur, weather and the like."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from robustgames.data.corruptions import as_images, kinds_of
from robustgames.errors import GameError
from robustgames.evaluation.under_corruption import Corrupted, under_corruption
from robustgames.experiment.classifiers import Classifiers


def check(subject: Classifiers, words: tuple[str, ...]) -> None:
    """Refuse, before any attack, inputs that are not images."""
    if words and as_images(subject.images) is None:
        shape = tuple(subject.images.shape[1:])
        raise GameError(f"--corruptions are of images of 1 or 3 channels, the inputs are {shape}: leave it out")
    if "saturate" in kinds_of(words) and (images := as_images(subject.images)) is not None and images.shape[1] == 1:
        raise GameError("saturate changes colors, the images are gray: leave it out, e.g. --corruptions all")


def corrupted(
    subject: Classifiers, names: Iterable[str], words: tuple[str, ...], seed: int, batch: int
) -> tuple[dict[str, Corrupted], bool]:
    """Return {classifier: accuracies}, of the kinds that were done, and whether Ctrl-C came."""
    kinds, found = kinds_of(words), dict[str, Corrupted]()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        for name in names if words else ():
            task = bar.add_task(f"{name}  corruptions", total=len(kinds))

            def progress(so_far: Corrupted, name: str = name, task: object = task) -> None:
                found[name] = so_far
                bar.update(task, advance=1)  # pyright: ignore[reportArgumentType]

            x = subject.images
            model, labels, bounds = subject.models[name], subject.labels[: len(x)], subject.bounds
            try:
                under_corruption(model, x, labels, kinds, bounds=bounds, seed=seed, batch_size=batch, progress=progress)
            except KeyboardInterrupt:
                return found, True
    return found, False
