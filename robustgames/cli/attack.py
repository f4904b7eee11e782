"""The command `robustgames attack`: the classifier of a saved run, of the zoo, or of the user, under attack."""

from __future__ import annotations

import shlex
import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from robustgames.attacks.members import MEMBERS, check_norm, members_of, names_of
from robustgames.attacks.passes import check_passes
from robustgames.attacks.report import Report
from robustgames.attacks.saving import Quantized
from robustgames.attacks.transfers import Transfers
from robustgames.certificates import CERTIFICATES, Certificate, Verdicts
from robustgames.cli import certify, corruptions, flags, launch, transfer
from robustgames.cli.attack_curve import curves_of
from robustgames.cli.attack_report import Outcome, content_of, show, write
from robustgames.cli.attack_run import attack_classifier, not_attacked
from robustgames.cli.screen import plain
from robustgames.cli.words import numbers, pairs
from robustgames.data.corruptions import CORRUPTIONS, STANDARD, kinds_of
from robustgames.data.decoding import LONGEST_SIDE
from robustgames.data.labeled import shipped
from robustgames.errors import GameError, check_writable, shorten, unknown
from robustgames.evaluation.under_corruption import Corrupted
from robustgames.experiment.any_classifier import DataOptions, NetworkOptions, from_module
from robustgames.experiment.classifiers import Classifiers, from_run
from robustgames.experiment.naming import own_label
from robustgames.games.classification import PRECISIONS
from robustgames.games.threat import ThreatModel, norm_name
from robustgames.interrupts import deferred_interrupt
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
OF_PROGRAMMERS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
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


def attack(words: list[str]) -> int:
    """Attack, write the files, print the table; return 130 after Ctrl-C, 1 if a certificate is contradicted, else 0."""
    options = flags.read(AttackOptions, "robustgames attack", words)
    options = _of_zoo(options if options.norm is None else replace(options, norm=norm_name(options.norm)))
    names = _check(options)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        outcome = _attack(options, names, certify.certificates_of(options))
    except KeyboardInterrupt:
        if launch.may_report():
            console.print("[red]robustgames:[/] interrupted: nothing is written")
        return 130
    if not launch.is_first():
        return 0
    folder, command = _folder(options, outcome.subject), shlex.join(["robustgames", "attack", *words])
    settings = {"command": command} | asdict(options)
    curves = curves_of(outcome.subject, outcome.reports, settings)
    with deferred_interrupt() as pressed:  # a second Ctrl-C gives the results up
        content = content_of(outcome, settings, curves)
        write(folder, outcome, content)
    show(outcome, content, folder)
    interrupted = outcome.interrupted or bool(pressed)
    if interrupted:
        console.print(f"[red]robustgames:[/] interrupted; the results so far are in {plain(folder)}")
    for line in outcome.contradictions:
        console.print(f"[bold red]robustgames:[/] {plain(line)}")
    return 130 if interrupted else 1 if outcome.contradictions else 0


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


def _check(options: AttackOptions) -> tuple[str, ...]:
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
    _data_options(options)
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


def _folder(options: AttackOptions, subject: Classifiers) -> Path:
    """Return the folder of the files; fail now, not after a long attack, if it cannot be written."""
    run = [] if options.run is None else [f"run{options.run}"]
    attacks = "+".join(options.attack).replace(":", "-")
    words = [attacks, subject.threat.norm, f"{float(subject.threat.eps):g}", *run, own_label(_chosen(options))]
    folder = options.out or subject.home / "-".join(filter(None, words))
    check_writable(folder)
    return folder


def _chosen(options: AttackOptions) -> dict[str, Any]:
    """Return the options that tell an attack from others by its numbers, without those that are named anyway."""
    found = {name: value for name, value in vars(options).items() if name not in NOT_IN_NAMES}
    return {name: value for name, value in found.items() if value != getattr(AttackOptions, name)}


def _subject(options: AttackOptions) -> Classifiers:
    eps, norm, device, trust = options.eps, options.norm, options.device, options.trust
    if options.model is not None:
        _warn_of_seen_images(options)
        network = NetworkOptions(options.model, pairs(options.model_set, "--model-set", "width=64"), trust)
        return from_module(network, _data_options(options), eps, norm, device)
    folder = options.folder or Path(".")
    return from_run(folder, options.images, eps, norm, options.data, options.run, device, trust, options.save_examples)


def _warn_of_seen_images(options: AttackOptions) -> None:
    """Warn if a classifier of the zoo was trained on the images on which it is attacked."""
    name = options.model or ""
    if name.startswith(table.PREFIX) and table.entry(name).data == table.MNIST and shipped(options.data or "mnist"):
        warnings.warn(
            f"the shipped images are out of MNIST's training set, on which {name} was trained: give its test images, "
            "--data with the folder of MNIST's four IDX files, or --data openml",
            stacklevel=2,
        )


def _data_options(options: AttackOptions) -> DataOptions:
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


# -- attacking ------------------------------------------------------------------------------------------
def _attack(options: AttackOptions, names: tuple[str, ...], methods: dict[str, Certificate]) -> Outcome:
    with warnings.catch_warnings(record=True) as caught:  # printed below the table
        warnings.simplefilter("always")
        for kind in OF_PROGRAMMERS:
            warnings.simplefilter("ignore", kind)
        subject, began = _subject(options), time.perf_counter()
        _folder(options, subject)
        certify.check(subject, methods)
        corruptions.check(subject, options.corruptions)
        reports, verdicts, quantized, interrupted = _attack_each(subject, names, options, methods)
        changed: dict[str, Corrupted] = {}
        transfers: Transfers | None = None
        if not interrupted:
            transfers, changed, interrupted = _also(subject, reports, options)
    notes = list(dict.fromkeys(str(warning.message) for warning in caught))
    levels = {name: one for name, one in quantized.items() if one is not None}
    seconds = time.perf_counter() - began
    return Outcome(subject, reports, verdicts, levels, notes, interrupted, seconds, transfers, changed)


def _also(
    subject: Classifiers, reports: dict[str, Report], options: AttackOptions
) -> tuple[Transfers | None, dict[str, Corrupted], bool]:
    """Return the transfers, the accuracies under corruption, and whether Ctrl-C came; what is done is kept."""
    data = _data_options(options)
    try:
        transfers = transfer.transfers_of(subject, reports, options.transfer, data, options.trust, options)
    except KeyboardInterrupt:
        return None, {}, True
    changed, interrupted = corruptions.corrupted(subject, reports, options.corruptions, options.seed, options.batch)
    return transfers, changed, interrupted


def _attack_each(
    subject: Classifiers, names: tuple[str, ...], options: AttackOptions, methods: dict[str, Certificate]
) -> tuple[dict[str, Report], dict[str, dict[str, Verdicts]], dict[str, Quantized | None], bool]:
    """Return {classifier: report}, its verdicts of each certificate, its images in 8 bits, and whether Ctrl-C came."""
    reports: dict[str, Report] = {}
    verdicts: dict[str, dict[str, Verdicts]] = {}
    quantized: dict[str, Quantized | None] = {}
    for name in subject.models:
        try:
            reports[name], quantized[name], verdicts[name] = _attack_one(subject, name, names, options, methods)
        except KeyboardInterrupt:
            if reports:
                return reports, verdicts, quantized, True
            raise
        if reports[name].interrupted:
            return reports, verdicts, quantized, True
    return reports, verdicts, quantized, False


def _attack_one(
    subject: Classifiers, name: str, names: tuple[str, ...], options: AttackOptions, methods: dict[str, Certificate]
) -> tuple[Report, Quantized | None, dict[str, Verdicts]]:
    """Return the report of a classifier, images in 8 bits, and verdicts; Ctrl-C keeps the verdicts there are."""
    found = certify.certify(subject, name, methods)
    if not certify.interrupted(found):
        try:
            return *attack_classifier(subject, name, names, options), found
        except KeyboardInterrupt:
            if not found:
                raise
    return *not_attacked(subject, name, options), found
