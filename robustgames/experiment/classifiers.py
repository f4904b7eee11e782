"""Classifiers to attack: those of a saved run, or a user's own network, with held-out images."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from robustgames.checkpoints import restoring
from robustgames.data import digits, mnist
from robustgames.errors import GameError, unknown
from robustgames.experiment.driver import read_experiment
from robustgames.experiment.folder import check_files
from robustgames.games import MLP, AdversarialClassification, Frozen, HeldOut
from robustgames.games.threat import ThreatModel
from robustgames.tensors import choose_device

DEFAULT_EPS = {"digits": 0.1, "mnist": 0.3}


@dataclass(frozen=True)
class Classifiers:
    """Classifiers, by name, on the same images.

    Attributes:
        title: Heading of a report.
        models: Modules, images -> logits (N, C), by name.
        images: Images, (N, ...).
        labels: Their classes, (N,).
        threat: Norm and radius of the attack.
        home: Folder for the results.
        class_names: Names of the classes for a report; empty if they are their numbers.
    """

    title: str
    models: dict[str, nn.Module]
    images: Tensor
    labels: Tensor
    threat: ThreatModel
    home: Path
    class_names: tuple[str, ...] = ()


def from_run(
    folder: Path,
    count: int,
    eps: float | None = None,
    norm: str | None = None,
    data: str | None = None,
    run: int | None = None,
    device: str = "auto",
    trust: bool = False,
) -> Classifiers:
    """Return the classifiers of a saved run, one for each run side by side that did not diverge.

    Args:
        folder: Folder of the run.
        count: Largest number of held-out images.
        eps: Radius of the attack; by default that of the run's game.
        norm: "linf", "l2" or "l1"; by default that of the run's game.
        data: Other images, see `from_module`.
        run: Index of one run; by default all are returned.
        device: "auto", "cpu" or "cuda".
        trust: See `robustgames.experiment.read`.

    Raises:
        GameError: No folder of a run, a game without a classifier, images of another size, or no such run.
    """
    experiment = replace(read_experiment(folder, trust), device=device, compile=False, shards=1)
    check_files(folder)
    with restoring(folder / "config.yaml"):
        first = experiment.make_agent()
    game = first.game.exact
    if not isinstance(game, HeldOut):
        raise GameError(
            f"{experiment.env} has no classifier to attack: give a run of robustgames/DigitsAdversarial-v0 or "
            "MnistAdversarial-v0, or a network of yours with --model module:function"
        )
    if norm not in (None, game.norm) and eps is None:
        raise GameError(f"--norm {norm} differs from the game's {game.norm}: give its radius too, e.g. --eps 1")
    x, y = (game.held_out.images, game.held_out.labels) if data is None else _images(data)
    if x.shape[1] != game.images.shape[1]:
        raise GameError(f"--data {data} has {x.shape[1]} pixels, the run's images have {game.images.shape[1]}")
    with restoring(folder):
        z = experiment.load_agent(folder, first).best()
    models = _models(game.held_out, z[..., : game.sizes[0]].reshape(-1, game.sizes[0]), run)
    title = f"{experiment.env.rpartition(':')[2]}, {experiment.agent}{'' if run is None else f', run {run}'}"
    threat = ThreatModel(norm or game.norm, game.eps if eps is None else eps)
    return Classifiers(title, models, x[:count].to(z), y[:count].to(z.device), threat, folder / "attacks")


def from_module(
    name: str,
    count: int,
    eps: float | None = None,
    norm: str | None = None,
    data: str | None = None,
    device: str = "auto",
) -> Classifiers:
    """Return a user's network, with images in the shape that it takes: (N, 1, side, side) or flat.

    Args:
        name: "module:function", which returns a torch.nn.Module, or "module:module".
        count: Largest number of held-out images.
        eps: Radius of the attack; by default 0.3, on digits 0.1.
        norm: "linf" (default), "l2" or "l1".
        data: "digits", "mnist" (default) or a folder of MNIST's four IDX files.
        device: "auto", "cpu" or "cuda".

    Raises:
        GameError: The name cannot be imported or called, is not a module, or does not map images to logits.
    """
    source, place = data or "mnist", choose_device(device)
    if eps is None and norm not in (None, "linf"):
        raise GameError(f"--norm {norm} needs its radius: give --eps too, e.g. --eps 1")
    model = _load(name).to(place).eval().requires_grad_(False)
    x, y = (part[:count].to(place) for part in _images(source))
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    threat = ThreatModel(norm or "linf", DEFAULT_EPS.get(source, 0.3) if eps is None else eps)
    images = _fit(name, model, x.to(dtype))
    return Classifiers(name, {name: model}, images, y, threat, Path("attacks") / name.replace(":", "-"))


def _models(game: AdversarialClassification, weights: Tensor, only: int | None) -> dict[str, nn.Module]:
    """Return {run: classifier} of weights (runs, n), without those that diverged."""
    if only is not None and not 0 <= only < len(weights):
        raise GameError(f"--run is {only}: the folder holds {len(weights)} runs, --run 0 to --run {len(weights) - 1}")
    found = {}
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


def _load(name: str) -> nn.Module:
    """Return the module that module:attribute is or returns."""
    found = _import(name)
    if not isinstance(found, nn.Module) and callable(found):
        try:
            found = found()
        except Exception as error:
            raise GameError(f"{name}() failed with {_in_words(error)}; it is called without arguments") from error
    if not isinstance(found, nn.Module):
        kind = type(found).__name__
        raise GameError(f"{name} gives an object of type {kind}: a torch.nn.Module, or a function that returns one")
    return found


def _import(name: str) -> object:
    """Return the object module:attribute."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise GameError(
            f"--model is {name!r}: give module:function, e.g. --model my_nets:load for load() in my_nets.py"
        )
    try:
        found = importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise GameError(f"no module {module!r} for --model {name}: run from the folder of {module}.py") from error
        raise GameError(f"importing {module!r} failed with {_in_words(error)}") from error
    if not hasattr(found, attribute):
        raise unknown(f"name in {module}", attribute, (n for n in vars(found) if not n.startswith("_")))
    return getattr(found, attribute)


def _fit(name: str, model: nn.Module, x: Tensor) -> Tensor:
    """Return the images as (N, 1, side, side) or flat (N, p), whichever the network takes."""
    side = round(x.shape[1] ** 0.5)
    problems = []
    for images in (x.view(-1, 1, side, side), x):
        try:
            with torch.no_grad():
                scores = model(images[:2])
        except Exception as error:
            problems.append(f"{tuple(images[:2].shape)} {_in_words(error)}")
            continue
        if isinstance(scores, Tensor) and scores.dim() == 2 and len(scores) == len(images[:2]) and scores.shape[1] > 1:
            return images
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
        single = isinstance(scores, Tensor) and scores.numel() == len(images[:2])
        problems.append(f"{tuple(images[:2].shape)} {shape}" + (", for one output z return [-z, z]" if single else ""))
    raise GameError(f"{name} does not map images to logits (N, classes >= 2): it gave for {'; for '.join(problems)}")


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".removesuffix(": ")


def _images(source: str) -> tuple[Tensor, Tensor]:
    """Return held-out images (N, p) and labels; a folder named "digits" or "mnist" takes precedence."""
    if source == "digits" and not Path(source).is_dir():
        data = digits()
    else:
        data = mnist(None if source == "mnist" and not Path(source).is_dir() else source)
    return data.test_images, data.test_labels
