"""The flags of `robustgames attack`: what they mean, and which of them are refused before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from robustgames.attacks.members import MEMBERS, check_norm, members_of, names_of
from robustgames.attacks.passes import check_passes
from robustgames.certificates import CERTIFICATES
from robustgames.cli import certify, flags, transfer
from robustgames.cli.words import numbers, pairs
from robustgames.data.corruptions import CORRUPTIONS, STANDARD, kinds_of
from robustgames.data.decoding import LONGEST_SIDE
from robustgames.errors import GameError, shorten, unknown
from robustgames.experiment.any_classifier import DataOptions
from robustgames.experiment.naming import own_label
from robustgames.games.classification import PRECISIONS
from robustgames.games.threat import ThreatModel, norm_name
from robustgames.tensors import choose_device
from robustgames.zoo import table

EXAMPLE = "robustgames attack runs/…/20260101-120000-seed0, or robustgames attack --model my_nets:load"
ATTACKS = (
    "autoattack (= standard), plus, rand, or names; each attack runs on the images that are still robust: "
    f"{' '.join(MEMBERS)}; or foolbox:NAME and art:NAME for the attacks of these libraries."
)
CERTIFICATES_HELP = (
    f"Certificates of the same images, before the attacks: {' '.join(CERTIFICATES)}. Several may be named."
)
CORRUPTIONS_HELP = (
    f"Also evaluate on corrupted images at severities 1 to 5: all, which are {' '.join(STANDARD)}; or names, also of "
    f"{' '.join(kind for kind in CORRUPTIONS if kind not in STANDARD)}."
)
NOT_IN_NAMES = ("folder", "model", "attack", "eps", "norm", "run", "batch", "save_examples", "device", "out", "trust")
OF_USER = ("resize", "bounds", "mean", "std", "labels", "model_set")  # flags of --model alone


@dataclass(frozen=True)
class AttackOptions:
    """Attack the classifier of a saved run on its held-out images, one of the zoo, or yours with --model."""

    folder: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN")] = None
    """Folder of the run, or a classifier of the zoo, e.g. zoo:mnist-linf; robustgames list names them."""
    model: str | None = None
    """module:function in your folder, which returns a torch.nn.Module or a function of images, or is one: images to
    logits. Or a file of TorchScript, model.pt."""
    model_set: tuple[str, ...] = ()
    """Arguments key=value of the function of --model."""
    attack: Annotated[tuple[str, ...], tyro.conf.arg(help=ATTACKS)] = ("autoattack",)
    attack_set: tuple[str, ...] = ()
    """Settings key=value of the attacks, e.g. steps=1000, each for those that have it."""
    transfer: tuple[str, ...] = ()
    """Other networks, as in --model: perturbations found on each network are judged on all of them."""
    corruptions: Annotated[tuple[str, ...], tyro.conf.arg(help=CORRUPTIONS_HELP)] = ()
    certify: Annotated[tuple[str, ...], tyro.conf.arg(help=CERTIFICATES_HELP)] = ()
    time_limit: float = 60.0
    """Seconds of milp for one image."""
    sigma: float = 0.25
    """Standard deviation of the noise of smoothing."""
    draws: int = 10_000
    """Draws of the noise of smoothing for one image."""
    eps: float | None = None
    """Radius of the ball, e.g. 0.03 or 8/255; by default that of the run's game, or 0.3 on MNIST (digits: 0.1)."""
    norm: str | None = None
    """linf, l2, l1, or l0, in which eps is the number of coordinates that may change and fmn is the attack; by default
    that of the run's game, or linf."""
    eot: int | None = None
    """Passes of a stochastic network over which gradients, losses and verdicts are means; 20 for rand, else 1."""
    images: int = 1000
    """Largest number of held-out images to attack."""
    batch: int = 250
    """Images attacked together."""
    run: int | None = None
    """Number of the run to attack among those side by side; by default all of them in turn."""
    data: str | None = None
    """digits, mnist, a folder of images by class, IDX files or their folder, .npz or .safetensors with images and
    labels, or module:function in your folder, which returns both or a Dataset; by default the run's own images, or
    mnist for --model."""
    resize: str | None = None
    """Size H or HxW to which the images of a folder are resized."""
    bounds: str | None = None
    """Least and largest value of an input; by default 0,1, and of a table the limits of each feature in the data."""
    mean: str | None = None
    """Mean of a normalization before the network, one number per channel: 0.5 or 0.49,0.48,0.45. eps is in pixels."""
    std: str | None = None
    """Standard deviation of that normalization."""
    labels: str | None = None
    """Number that is added to the labels, e.g. -1 if they begin at 1; or the network's numbers of the classes of the
    data, e.g. 243,559 for two sub-folders of ImageNet."""
    save_examples: int | None = None
    """Number of images whose adversarial examples are saved; by default all that fit into 128 MiB."""
    precision: str = "float32"
    """Precision of the search: float32, or bfloat16, which is faster; successes are verified in the model's own."""
    seed: int = 0
    """Seed of the attacks' random starts."""
    curve: bool = False
    """Also attack up to 200 images at radii up to 2 eps, by APGD with 20 steps, for the curve of the report."""
    device: str = "auto"
    """auto, cpu or cuda."""
    out: Path | None = None
    """Folder of the report and of the examples; by default RUN/attacks/<attack>-<norm>-<eps>-<other settings>."""
    trust: bool = False
    """Import code that the config of the run names, or load a file of TorchScript; both can run anything."""


def read_flags(words: list[str]) -> AttackOptions:
    """Return the flags that are typed; a classifier of the zoo becomes a network with its norm, radius and data."""
    options = flags.read(AttackOptions, "robustgames attack", words)
    return _of_zoo(options if options.norm is None else replace(options, norm=norm_name(options.norm)))


def _of_zoo(options: AttackOptions) -> AttackOptions:
    """Return options that name a classifier of the zoo as a network with its own norm, radius and data."""
    name = str(options.folder if options.model is None else options.model)
    if not name.startswith(table.PREFIX) or (options.folder and options.model):
        return options
    found = table.entry(name)
    if options.data is None and found.data == table.FASHION:
        raise GameError(f"{name} is attacked on Fashion-MNIST: give --data with the folder of its four IDX files")
    own = options.norm in (None, found.norm)
    eps = found.eps if own and options.eps is None else options.eps
    return replace(options, folder=None, model=name, norm=options.norm or found.norm, eps=eps)


def check(options: AttackOptions) -> tuple[str, ...]:
    """Check the options that do not depend on the classifier; return the names of the attacks."""
    nothing = options.folder is None and options.model is None
    if nothing and (taken := [word for word in options.attack if Path(word).is_dir()]):
        raise GameError(f"{taken[0]} is listed as an attack: put it first, robustgames attack {taken[0]} --attack ...")
    if (options.folder is None) == (options.model is None):
        both = "both a run and --model are" if options.model else "neither a run nor --model is"
        raise GameError(f"{both} given: give one of them, e.g. {EXAMPLE}")
    if options.run is not None and options.model is not None:
        raise GameError("--run picks a run of a folder: leave it out with --model")
    for name in OF_USER if options.model is None else ():
        if getattr(options, name):
            flag = name.replace("_", "-")
            raise GameError(f"--{flag} is for a network of yours: leave it out, or name the network with --model")
    if options.eot is not None:
        check_passes(options.eot)
    for name in ("images", "batch", "seed", "save_examples"):
        value, least = getattr(options, name), 0 if name == "seed" else 1
        if value is not None and not least <= value < 2**63:
            flag = name.replace("_", "-")
            raise GameError(f"{name} is {value}: it must be a whole number of at least {least}, e.g. --{flag} 100")
    data_options(options)
    if options.precision not in PRECISIONS:
        raise unknown("precision", options.precision, PRECISIONS)
    ThreatModel(options.norm or "linf", options.eps if options.eps is not None else 0.0)  # refuses the wrong ones
    if options.norm is not None and norm_name(options.norm) == "l0":
        _check_l0(options)
    choose_device(options.device)
    for method in certify.certificates_of(options).values():
        if options.norm is not None:
            method.check_norm(options.norm)
    kinds_of(options.corruptions)
    transfer.check(options.transfer, options.model)
    found = [name for word in options.attack for name in names_of("standard" if word == "autoattack" else word)]
    names = names_of(list(dict.fromkeys(found)))
    members = members_of(names, pairs(options.attack_set, "--attack-set", "steps=100"))
    if options.norm is not None:
        check_norm(members, norm_name(options.norm))
    return names


def _check_l0(options: AttackOptions) -> None:
    """Refuse what has no meaning in ℓ0."""
    if options.eps is not None and options.eps < 1:
        raise GameError(
            f"eps is {options.eps:g}: in l0 it is the number of coordinates that may change, at least 1, e.g. --eps 5"
        )
    if options.curve:
        raise GameError(
            "--curve sweeps the radii with APGD, which has no version in l0: leave it out; --attack fmn gives the curve"
        )


def folder_name(options: AttackOptions, norm: str, eps: float) -> str:
    """Return the name of the attack's folder: <attack>-<norm>-<eps>-<other settings>."""
    attacks, run = "+".join(options.attack).replace(":", "-"), "" if options.run is None else f"run{options.run}"
    return "-".join(filter(None, [attacks, norm, f"{eps:g}", run, own_label(_chosen(options))]))


def _chosen(options: AttackOptions) -> dict[str, Any]:
    """Return the options that tell an attack from others by its numbers, without those that are named anyway."""
    found = {name: value for name, value in vars(options).items() if name not in NOT_IN_NAMES}
    return {name: value for name, value in found.items() if value != getattr(AttackOptions, name)}


def data_options(options: AttackOptions) -> DataOptions:
    """Return how the inputs are read; refuse words without meaning."""
    bounds = options.bounds and numbers(options.bounds, "--bounds", "0,1")
    if bounds and (len(bounds) != 2 or bounds[0] >= bounds[1]):
        raise GameError(
            f"--bounds is {options.bounds!r}: it must be the least and the largest value, e.g. --bounds 0,1"
        )
    mean, std = (
        numbers(word, f"--{name}", "0.5,0.5,0.5") if (word := getattr(options, name)) else ()
        for name in ("mean", "std")
    )
    if std and min(std) <= 0:
        raise GameError(f"--std is {options.std!r}: it must be positive numbers, e.g. --std 0.5")
    shift, classes = _label_options(options.labels)
    return DataOptions(
        options.data or "mnist",
        options.images,
        options.save_examples,
        _size(options.resize),
        (bounds[0], bounds[1]) if bounds else None,
        mean,
        std,
        shift,
        classes,
    )


def _label_options(word: str | None) -> tuple[int, tuple[int, ...]]:
    """Return the number that --labels adds, and the numbers of the classes that it lists."""
    found = numbers(word, "--labels", "-1 or --labels 243,559") if word else (0.0,)
    whole = tuple(int(one) for one in found if one.is_integer() and abs(one) < 2**31)
    if len(whole) < len(found) or (len(whole) > 1 and (min(whole) < 0 or len(set(whole)) < len(whole))):
        raise GameError(
            f"--labels is {shorten(str(word))!r}: it must be a whole number that is added, or several different class "
            "numbers, e.g. --labels -1 or --labels 243,559"
        )
    return (whole[0], ()) if len(whole) == 1 else (0, whole)


def _size(word: str | None) -> tuple[int, int] | None:
    """Return the height and width that a word such as 32 or 32x48 denotes."""
    if word is None:
        return None
    sides = word.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and 0 < int(side) <= LONGEST_SIDE for side in sides):
        raise GameError(
            f"--resize is {shorten(word)!r}: it must be pixels H or HxW, e.g. --resize 224 or --resize 32x48"
        )
    return int(sides[0]), int(sides[-1])
