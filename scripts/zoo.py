"""The files of the zoo: store the classifier of a run, and attack a stored one behind its threshold.

    python scripts/zoo.py store --run runs/.../20260101-120000-seed0 --name mnist-linf
    robustgames attack zoo:mnist-linf --data FOLDER
    python scripts/zoo.py behind --name mnist-linf --data FOLDER

The weights are stored in float16: what is attacked, and what the table reports, is the stored classifier. A threshold
hides the gradient from the attacks of `robustgames attack`; `behind` attacks in what the network sees, see
`robustgames.games.attackers.BehindThreshold`, and prints the share of images that withstand every start.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro
from behind import withstand
from torch import Generator

from robustgames.data import mnist
from robustgames.errors import GameError
from robustgames.experiment.classifiers import from_run
from robustgames.games.threat import ThreatModel
from robustgames.zoo import entry, load
from robustgames.zoo.loading import FOLDER, store


def store_run(run: Path, name: str, folder: Path = FOLDER) -> None:
    """Store the classifier of a run.

    Args:
        run: Folder of the run, of one run side by side.
        name: Name of the classifier in the zoo.
        folder: Folder of the file.
    """
    (network,) = from_run(run, 1).models.values()
    path = folder / f"{name}.safetensors"
    store(network, path)  # type: ignore[arg-type]
    print(f"{path}: {path.stat().st_size:,} bytes")


def behind(name: str, data: str | None = None, images: int = 1000, starts: int = 10, steps: int = 50) -> None:
    """Attack a classifier with a threshold by PGD on what it sees.

    Args:
        name: Name of the classifier in the zoo.
        data: Folder of the IDX files.
        images: Number of test images, the first ones.
        starts: Starts of each image, most of them at corners.
        steps: Steps from each, of decreasing size.
    """
    line, network = entry(name), load(name)
    if line.threshold is None or line.norm != "linf":
        raise GameError(f"{name} has no threshold in linf: use robustgames attack zoo:{name}")
    split = mnist(data)
    x, labels = split.test_images[:images], split.test_labels[:images]
    threat, generator = ThreatModel(line.norm, line.eps), Generator().manual_seed(0)
    robust = network(x).argmax(-1) == labels
    print(f"clean {100 * float(robust.double().mean()):.1f} %")
    for start in range(starts):
        for rows in robust.nonzero().flatten().split(250):
            found = withstand(network, x[rows], labels[rows], threat, line.threshold, generator, steps, line.slope)
            robust[rows] = found
        print(f"{start + 1} starts: {100 * float(robust.double().mean()):.1f} %", flush=True)


def main() -> int:
    """Run the chosen command."""
    try:
        tyro.extras.subcommand_cli_from_dict({"store": store_run, "behind": behind}, description=__doc__)
    except GameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
