"""The command `robustgames attack`: the classifier of a saved run, or a user's network, under attack."""

from __future__ import annotations

import shlex
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Generator

from robustgames.attacks.ensemble import evaluate
from robustgames.attacks.gradient import fgsm, pgd
from robustgames.attacks.members import MEMBERS, names_of
from robustgames.attacks.passes import check_passes
from robustgames.attacks.report import Report
from robustgames.attacks.saving import Quantized, to_8_bit
from robustgames.certificates import CERTIFICATES, Certificate, Verdicts
from robustgames.cli import certify, flags, launch
from robustgames.cli.attack_report import Outcome, content_of, predict, show, write
from robustgames.cli.screen import plain
from robustgames.errors import GameError, check_writable, unknown
from robustgames.evaluation.certificates import catastrophic_overfitting
from robustgames.evaluation.metrics import FGSM_ACCURACY, pgd_accuracy
from robustgames.experiment.classifiers import Classifiers, from_module, from_run
from robustgames.games.classification import PRECISIONS
from robustgames.games.threat import ThreatModel
from robustgames.processes import current
from robustgames.tensors import choose_device

EXAMPLE = "robustgames attack runs/…/20260101-120000-seed0, or robustgames attack --model my_nets:load"
ATTACKS = (
    "autoattack (= standard), plus, rand, or names; each attack runs on the images that are still robust: "
    f"{' '.join(MEMBERS)}."
)
CERTIFICATES_HELP = (
    f"Certificates of the same images, before the attacks: {' '.join(CERTIFICATES)}. Several may be named."
)
FEW, STEPS = 250, 20  # images and PGD steps of the check for catastrophic overfitting


@dataclass(frozen=True)
class AttackOptions:
    """Attack the classifier of a saved run on its held-out images, or a network of yours with --model."""

    folder: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="RUN")] = None
    """Folder of the run."""
    model: str | None = None
    """module:function in your folder, which returns a torch.nn.Module (or is one): images to logits."""
    attack: Annotated[tuple[str, ...], tyro.conf.arg(help=ATTACKS)] = ("autoattack",)
    certify: Annotated[tuple[str, ...], tyro.conf.arg(help=CERTIFICATES_HELP)] = ()
    time_limit: float = 60.0
    """Seconds of milp for one image."""
    sigma: float = 0.25
    """Standard deviation of the noise of smoothing."""
    draws: int = 10_000
    """Draws of the noise of smoothing for one image."""
    eps: float | None = None
    """Radius of the ball; by default that of the run's game, or 0.3 (digits: 0.1) for --model."""
    norm: str | None = None
    """linf, l2 or l1; by default that of the run's game, or linf."""
    eot: int | None = None
    """Passes of a stochastic network over which gradients, losses and verdicts are means; 20 for rand, else 1."""
    images: int = 1000
    """Largest number of held-out images to attack."""
    batch: int = 250
    """Images attacked together."""
    run: int | None = None
    """Number of the run to attack among those side by side; by default all of them in turn."""
    data: str | None = None
    """digits, mnist, or a folder of MNIST's four IDX files; by default the run's own images, or mnist for --model."""
    precision: str = "float32"
    """Precision of the search: float32, or bfloat16, which is faster; successes are verified in the model's own."""
    seed: int = 0
    """Seed of the attacks' random starts."""
    curve: bool = False
    """Also attack up to 200 images at radii up to 2 eps, by APGD with 20 steps, for the curve of the report."""
    device: str = "auto"
    """auto, cpu or cuda."""
    out: Path | None = None
    """Folder of the report and of the examples; by default RUN/attacks/<attack>-<norm>-<eps>."""
    trust: bool = False
    """Import code that the config of the run names, which can run anything."""


def attack(words: list[str]) -> int:
    """Attack, write the files, print the table; return 130 after Ctrl-C, 1 if a certificate is contradicted, else 0."""
    options = flags.read(AttackOptions, "robustgames attack", words)
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
    content = content_of(outcome, {"command": command} | asdict(options))
    write(folder, outcome, content)
    show(outcome, content, folder)
    if outcome.interrupted:
        console.print(f"[red]robustgames:[/] interrupted; the results so far are in {plain(folder)}")
    for line in outcome.contradictions:
        console.print(f"[bold red]robustgames:[/] {plain(line)}")
    return 130 if outcome.interrupted else 1 if outcome.contradictions else 0


def _check(options: AttackOptions) -> tuple[str, ...]:
    """Check the options that do not depend on the classifier; return the names of the attacks."""
    if options.folder is None and (taken := [word for word in options.attack if Path(word).is_dir()]):
        raise GameError(f"{taken[0]} is listed as an attack: put it first, robustgames attack {taken[0]} --attack ...")
    if (options.folder is None) == (options.model is None):
        both = "both a run and --model are" if options.model else "neither a run nor --model is"
        raise GameError(f"{both} given: give one of them, e.g. {EXAMPLE}")
    if options.run is not None and options.model is not None:
        raise GameError("--run picks a run of a folder: leave it out with --model")
    if options.eot is not None:
        check_passes(options.eot)
    for name in ("images", "batch", "seed"):
        value, least = getattr(options, name), 0 if name == "seed" else 1
        if not least <= value < 2**63:
            raise GameError(f"{name} is {value}: it must be a whole number of at least {least}, e.g. --{name} 100")
    if options.precision not in PRECISIONS:
        raise unknown("precision", options.precision, PRECISIONS)
    ThreatModel(options.norm or "linf", options.eps if options.eps is not None else 0.0)  # refuses the wrong ones
    choose_device(options.device)
    for method in certify.certificates_of(options).values():
        if options.norm is not None:
            method.check_norm(options.norm)
    found = [name for word in options.attack for name in names_of("standard" if word == "autoattack" else word)]
    return names_of(list(dict.fromkeys(found)))


def _folder(options: AttackOptions, subject: Classifiers) -> Path:
    """Return the folder of the files; fail now, not after a long attack, if it cannot be written."""
    run = "" if options.run is None else f"-run{options.run}"
    name = f"{'+'.join(options.attack)}-{subject.threat.norm}-{float(subject.threat.eps):g}{run}"
    folder = options.out or subject.home / name
    check_writable(folder)
    return folder


def _subject(options: AttackOptions) -> Classifiers:
    common = {key: getattr(options, key) for key in ("eps", "norm", "data", "device")}
    if options.model is not None:
        return from_module(options.model, options.images, **common)
    return from_run(Path(options.folder or "."), options.images, run=options.run, trust=options.trust, **common)


# -- attacking ------------------------------------------------------------------------------------------
def _attack(options: AttackOptions, names: tuple[str, ...], methods: dict[str, Certificate]) -> Outcome:
    with warnings.catch_warnings(record=True) as caught:  # printed below the table
        warnings.simplefilter("always")
        subject, began = _subject(options), time.perf_counter()
        _folder(options, subject)
        certify.check(subject, methods)
        reports, verdicts, interrupted = _attack_each(subject, names, options, methods)
        quantized = {name: _quantize(subject, name, r) for name, r in reports.items() if launch.is_first()}
    notes = list(dict.fromkeys(str(warning.message) for warning in caught))
    return Outcome(subject, reports, verdicts, quantized, notes, interrupted, time.perf_counter() - began)


def _attack_each(
    subject: Classifiers, names: tuple[str, ...], options: AttackOptions, methods: dict[str, Certificate]
) -> tuple[dict[str, Report], dict[str, dict[str, Verdicts]], bool]:
    """Return {classifier: report}, {classifier: verdicts of each certificate}, and whether Ctrl-C ended it."""
    reports: dict[str, Report] = {}
    verdicts: dict[str, dict[str, Verdicts]] = {}
    for name in subject.models:
        try:
            found = certify.certify(subject, name, methods)
            reports[name] = _attack_one(subject, name, names, options)
        except KeyboardInterrupt:
            if reports:
                return reports, verdicts, True
            raise
        verdicts[name] = found
        if reports[name].interrupted:
            return reports, verdicts, True
    return reports, verdicts, False


def _attack_one(subject: Classifiers, name: str, names: tuple[str, ...], options: AttackOptions) -> Report:
    x, threat = subject.images, subject.threat
    generator = Generator(x.device).manual_seed(options.seed)
    _warn_of_overfitting(subject, name, generator, options.eot or 1)
    with _bar(name, names[0], len(x)) as progress:
        return evaluate(
            subject.models[name],
            x,
            subject.labels,
            threat.eps,
            threat.norm,
            names,
            generator=generator,
            eot=options.eot,
            batch_size=options.batch,
            precision=PRECISIONS[options.precision],
            progress=progress,
            processes=current(),
        )


@contextmanager
def _bar(classifier: str, first: str, count: int) -> Iterator[Callable[[str, int, int, int], None]]:
    """Show the progress of each attack on a terminal; yield the function that updates it."""
    robust = TextColumn("{task.fields[robust]} robust")
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), robust, TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not (console.is_terminal and launch.is_first())
    ) as bar:
        tasks = {first: bar.add_task(f"{classifier}  {first}", total=count, robust="…")}

        def progress(attack: str, done: int, total: int, robust: int) -> None:
            if attack not in tasks:
                tasks[attack] = bar.add_task(f"{classifier}  {attack}", robust=robust)
            bar.update(tasks[attack], completed=done, total=total, robust=robust)

        yield progress


def _warn_of_overfitting(subject: Classifiers, name: str, generator: Generator, eot: int) -> None:
    """Warn if a classifier resists FGSM but not PGD."""
    model, x, y, threat = subject.models[name], subject.images[:FEW], subject.labels[:FEW], subject.threat
    found = {
        FGSM_ACCURACY.name: fgsm(model, x, y, threat.eps, threat.norm, eot=eot),
        pgd_accuracy(STEPS).name: pgd(model, x, y, threat.eps, threat.norm, STEPS, generator=generator, eot=eot),
    }
    shares = {key: (predict(model, x_adv, eot) == y).double().mean() for key, x_adv in found.items()}
    if (misled := catastrophic_overfitting(shares, STEPS)) is not None and bool(misled):
        one, several = (f"{100 * float(share):.0f} %" for share in shares.values())
        warnings.warn(
            f"catastrophic overfitting of {name}: FGSM leaves {one}, {STEPS} steps of PGD {several}; it was trained "
            "against weak attacks only",
            stacklevel=2,
        )


def _quantize(subject: Classifiers, name: str, report: Report) -> Quantized:
    eps, norm = float(subject.threat.eps), subject.threat.norm
    return to_8_bit(subject.models[name], subject.images, report.x_adv, subject.labels, eps, norm, eot=report.eot)
