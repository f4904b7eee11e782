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

import torch
import tyro
from behind import withstand
from torch import Generator, Tensor, nn

from robustgames.attacks.saving import load_examples
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


def behind(
    name: str,
    data: str | None = None,
    images: int = 1000,
    starts: int = 10,
    steps: int = 50,
    examples: Path | None = None,
) -> None:
    """Attack a classifier with a threshold by PGD on what it sees: the cross-entropy, then each other class.

    Args:
        name: Name of the classifier in the zoo.
        data: Folder of the IDX files.
        images: Number of test images, the first ones.
        starts: Starts of each image, most of them at corners; each other class has one more.
        steps: Steps from each, of decreasing size.
        examples: examples.safetensors of an attack on the same images; those that it fooled are fooled from the start.
    """
    line, network = entry(name), load(name)
    if line.threshold is None or line.norm != "linf":
        raise GameError(f"{name} has no threshold in linf: use robustgames attack zoo:{name}")
    split = mnist(data)
    x, labels = split.test_images[:images], split.test_labels[:images]
    threat, generator = ThreatModel(line.norm, line.eps), Generator().manual_seed(0)
    scores = network(x)
    robust, order = scores.argmax(-1) == labels, scores.argsort(-1, descending=True)
    print(f"clean {100 * float(robust.double().mean()):.1f} %")
    if examples is not None:
        robust &= _withstood(network, examples, x)
        print(f"left by {examples}: {100 * float(robust.double().mean()):.1f} %")
    for start in range(starts + order.shape[1] - 1):
        goals = None if start < starts else order[:, start - starts + 1]  # the label is first where it is robust
        for rows in robust.nonzero().flatten().split(250):
            aims = None if goals is None else goals[rows]
            robust[rows] = withstand(
                network, x[rows], labels[rows], threat, line.threshold, generator, steps, goals=aims
            )
        aim = "cross-entropy" if goals is None else f"class of rank {start - starts + 2}"
        print(f"{start + 1} starts, {aim}: {100 * float(robust.double().mean()):.1f} %", flush=True)


def _withstood(network: nn.Module, examples: Path, images: Tensor) -> Tensor:
    """Return which images an attack left, by the examples that it wrote."""
    found = load_examples(examples)
    clean = found.clean.view(images.shape[0], -1) if len(found.clean) == len(images) else None
    if clean is None or not torch.equal(clean, images):
        raise GameError(f"{examples} is not of the first {len(images)} images: give the same --images to both")
    return network(found.adversarial.view(images.shape)).argmax(-1) == found.labels


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
