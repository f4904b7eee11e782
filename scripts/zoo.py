"""Store the classifier of a run as a file of the zoo, and print the line that the table needs.

    python scripts/zoo.py --run runs/.../20260101-120000-seed0 --name mnist-linf
    robustgames attack zoo:mnist-linf --data FOLDER

The weights are stored in float16: what is attacked, and what the table reports, is the stored classifier.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from robustgames.errors import GameError
from robustgames.experiment.classifiers import from_run
from robustgames.zoo.loading import FOLDER, store


def main(run: Path, name: str, folder: Path = FOLDER) -> int:
    """Store the classifier of a run.

    Args:
        run: Folder of the run, of one run side by side.
        name: Name of the classifier in the zoo.
        folder: Folder of the file.
    """
    try:
        (network,) = from_run(run, 1).models.values()
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = folder / f"{name}.safetensors"
    store(network, path)  # type: ignore[arg-type]
    print(f"{path}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
