"""Classifiers to attack, with the inputs on which they are attacked, and those of a saved run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from robustgames.attacks.inputs import Bounds
from robustgames.attacks.victim import Model
from robustgames.checkpoints import restoring
from robustgames.data.classified import real
from robustgames.data.labeled import class_names
from robustgames.errors import GameError
from robustgames.experiment.driver import read_experiment
from robustgames.experiment.folder import check_files
from robustgames.experiment.kept_files import with_kept_files
from robustgames.experiment.user_data import load_data
from robustgames.games import MLP, AdversarialClassification, Frozen, HeldOut
from robustgames.games.threat import ThreatModel, norm_name


@dataclass(frozen=True)
class Classifiers:
    """Classifiers, by name, on the same inputs.

    Attributes:
        title: Heading of a report.
        models: Classifiers, inputs -> logits (N, C), by name.
        images: The first inputs in the shape that the classifiers take, (K, ...): those whose examples are kept. They
            are all of them unless these are many.
        labels: Classes of the inputs, (N,), N >= K.
        threat: Norm and radius of the attack, and the bounds of the inputs.
        home: Folder for the results.
        class_names: Names of the classes for a report; empty if they are their numbers.
        rest: Function of a slice of 0 .. N that reads these inputs; None if `images` are all.
        numbers: Number of each input in its data, (N,); None if they are the first ones.
        part: Inputs that should be in memory together; None if all.
    """

    title: str
    models: dict[str, Model]
    images: Tensor
    labels: Tensor
    threat: ThreatModel
    home: Path
    class_names: tuple[str, ...] = ()
    rest: Callable[[slice], Tensor] | None = None
    numbers: Tensor | None = None
    part: int | None = None

    @property
    def bounds(self) -> Bounds:
        """Bounds of the inputs."""
        return self.threat.low, self.threat.high

    def read(self, rows: slice) -> Tensor:
        """Return some inputs; those that are not kept are read from their files."""
        if self.rest is None or rows.stop <= len(self.images):
            return self.images[rows]
        return self.rest(rows)


def from_run(
    folder: Path,
    count: int,
    eps: float | None = None,
    norm: str | None = None,
    data: str | None = None,
    run: int | None = None,
    device: str = "auto",
    trust: bool = False,
    kept: int | None = None,
) -> Classifiers:
    """Return the classifiers of a saved run, one for each run side by side that did not diverge.

    Args:
        folder: Folder of the run.
        count: Largest number of held-out images.
        eps: Radius of the attack; by default that of the run's game.
        norm: "linf", "l2" or "l1"; by default that of the run's game.
        data: Other images, see `robustgames.experiment.user_data.load_data`.
        run: Index of one run; by default all are returned.
        device: "auto", "cpu" or "cuda".
        trust: See `robustgames.experiment.read`.
        kept: Number of images whose examples are kept; by default all.

    Raises:
        GameError: No folder of a run, a game without a classifier, images of another size, or no such run.
    """
    experiment = replace(read_experiment(folder, trust), device=device, compile=False, shards=1)
    check_files(folder)
    with restoring(folder / "config.yaml"):
        first = with_kept_files(experiment, folder).make_agent()
    game = first.game.exact
    if not isinstance(game, HeldOut):
        raise GameError(
            f"{experiment.env} has no classifier to attack: give a run of robustgames/DigitsAdversarial-v0 or "
            "MnistAdversarial-v0, or a network of yours with --model module:function"
        )
    if norm is not None and norm_name(norm) != game.norm and eps is None:
        raise GameError(f"--norm {norm} differs from the game's {game.norm}: give its radius too, e.g. --eps 1")
    if data is None:
        x, y, names = game.held_out.images, game.held_out.labels, class_names(game.held_out.labels.cpu())
    else:
        x, y, names = _flat(data, count)
    if x.shape[1] != game.images.shape[1]:
        raise GameError(f"--data {data} has {x.shape[1]} pixels, the run's images have {game.images.shape[1]}")
    with restoring(folder):
        z = experiment.load_agent(folder, first).best()
    models = _models(game.held_out, z[..., : game.sizes[0]].reshape(-1, game.sizes[0]), run)
    title = f"{experiment.env.rpartition(':')[2]}, {experiment.agent}{'' if run is None else f', run {run}'}"
    threat = ThreatModel(norm or game.norm, game.eps if eps is None else eps)
    x, y = x[:count].to(z), y[:count].to(z.device)
    rest = None if kept is None or kept >= len(x) else lambda rows: x[rows]
    return Classifiers(title, models, x[:kept], y, threat, folder / "attacks", names, rest=rest)


def _models(game: AdversarialClassification, weights: Tensor, only: int | None) -> dict[str, Model]:
    """Return {run: classifier} of weights (runs, n), without those that diverged."""
    if only is not None and not 0 <= only < len(weights):
        raise GameError(f"--run is {only}: the folder holds {len(weights)} runs, --run 0 to --run {len(weights) - 1}")
    found: dict[str, Model] = {}
    for run in range(len(weights)) if only is None else [only]:
        if bool(torch.isfinite(weights[run]).all()):
            found[f"run {run}"] = _classifier(game, weights[run])
        else:
            warnings.warn(f"run {run} has diverged: its weights are not finite, and it is left out", stacklevel=2)
    if not found:
        raise GameError(
            "the weights of the run are not finite: there is nothing to attack; train again, e.g. --lr 0.001"
        )
    return found


def _classifier(game: AdversarialClassification, weights: Tensor) -> nn.Module:
    """Return the network as a module: attacks use the fast gradient of its convolutions, certificates its layers."""
    assert not isinstance(game.network, Frozen)
    module = game.network.as_module(weights)
    one = isinstance(game.network, MLP) and game.network.widths[-1] == 1
    return nn.Sequential(module, _as_logits().to(weights)).requires_grad_(False) if one else module


def _as_logits() -> nn.Linear:
    """Return one score s -> the logits (-s / 2, s / 2), see `games.losses.as_logits`."""
    layer = nn.Linear(1, 2, bias=False)
    layer.weight.data = torch.tensor([[-0.5], [0.5]])
    return layer


def _flat(data: str, count: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return inputs as the games take them, (n, p) in [0, 1], labels, and the names of the classes."""
    found = load_data(data, count)
    chosen = found.chosen(count)
    return real(found.read(chosen), 0.0, 1.0).flatten(1), found.labels[chosen], found.names
