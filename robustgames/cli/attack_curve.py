"""Accuracy against the radius, for the report of `robustgames attack`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial

import torch
from torch import Generator

from robustgames.attacks import apgd
from robustgames.attacks.members import MEMBERS
from robustgames.attacks.minimum_norm import MinimumNorm
from robustgames.attacks.report import Report
from robustgames.certificates.verdicts import clopper_pearson
from robustgames.evaluation.under_attack import accuracies_at, accuracies_from_sizes, interval, passes_at
from robustgames.experiment.classifiers import Classifiers
from robustgames.experiment.folder import Content
from robustgames.games.threat import ThreatModel

SUBSET, STEPS = 200, 20  # images and steps of the sweep
SWEPT = (0, 0.25, 0.5, 0.75, 1, 1.5, 2)  # radii of the sweep, in units of eps
FINE = 20  # intervals of the radii of a curve from sizes


def curves_of(subject: Classifiers, reports: Mapping[str, Report], settings: Content) -> dict[str, Content | None]:
    """Return the curve of each classifier as content of attack.json, or None.

    With --curve it is a sweep of a cheap attack over a subset. Without it, a curve costs nothing and is there if the
    first attack is a minimum-norm attack, whose perturbations are as small as it can make them: an image is fooled
    from the size of its perturbation on. Ctrl-C ends a sweep, and later classifiers have no curve.
    """
    found: dict[str, Content | None] = dict.fromkeys(reports)
    if not float(subject.threat.eps) > 0 or len(subject.images) == 0:
        return found
    try:
        for name, report in reports.items():
            if settings["curve"] and not any(one.interrupted for one in reports.values()):
                found[name] = _swept(subject, name, settings["seed"], report.eot)
            elif report.eot == 1 and report.attacks and _seeks_the_nearest(report.attacks[0].name):
                found[name] = _from_sizes(subject, report)
    except KeyboardInterrupt:
        pass
    return found


def _seeks_the_nearest(attack: str) -> bool:
    """Return whether an attack looks for the smallest perturbation; FAB of an ensemble stops inside the ball."""
    return attack in MEMBERS and isinstance(MEMBERS[attack].attack, MinimumNorm)


def _swept(subject: Classifiers, name: str, seed: int, eot: int) -> Content:
    x, y, threat = subject.images[:SUBSET], subject.labels[:SUBSET], subject.threat
    radii = [share * float(threat.eps) for share in SWEPT]
    y, drawn = y[: len(x)], Generator(x.device).manual_seed(seed)
    attack = partial(apgd, steps=STEPS, early="drop", eot=eot, bounds=subject.bounds, generator=drawn)
    posed = (subject.models[name], x, y, radii, threat.norm, attack)
    source = f"APGD with {STEPS} steps on the first {len(x)} images"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the attacks before have told them
        if eot == 1:
            return _content(radii, accuracies_at(*posed), len(x), source)
        passes = passes_at(*posed, eot, drawn)
    shares = [float(right.double().mean()) for right in passes]
    ends = [interval(right.double().mean(0) > 0.5, right) for right in passes]
    return _content(radii, shares, len(x), f"{source}, means over {eot} passes", ends)


def _from_sizes(subject: Classifiers, report: Report) -> Content:
    kept, threat = len(report.x_adv), subject.threat  # inputs whose examples are in memory
    x, eps = subject.images[:kept], float(threat.eps)
    radii = [eps * k / FINE for k in range(FINE + 1)]
    if threat.norm == "l0":
        radii = sorted({float(round(radius)) for radius in radii})
    with torch.no_grad():
        sizes = ThreatModel(threat.norm, eps).size((report.x_adv.double() - x.double()).flatten(1))
        sizes = sizes.clamp_max(eps)  # all are in the ball, up to the rounding of a + η
    shares = accuracies_from_sizes(report.clean[:kept], report.robust[:kept], sizes, radii)
    return _content(radii, shares, len(x), f"the sizes of the perturbations found by {report.attacks[0].name}")


def _content(
    radii: list[float], shares: list[float], count: int, source: str, ends: list[tuple[float, float]] | None = None
) -> Content:
    ends = [clopper_pearson(round(share * count), count) for share in shares] if ends is None else ends
    return {"eps": radii, "accuracy": shares, "intervals": ends, "images": count, "source": source}
