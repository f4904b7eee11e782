"""The flag `--transfer` of `robustgames attack`: perturbations found on one network, judged on another."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Generator, Tensor

from robustgames.attacks.report import Report
from robustgames.attacks.transfers import Transfers, transfer
from robustgames.errors import GameError
from robustgames.experiment.any_classifier import DataOptions, NetworkOptions, another_network
from robustgames.experiment.classifiers import Classifiers

TOLERATED = 0.002  # share of inputs that transfer may fool beyond the attacks on the network itself
CHANCE = 0.007
"""Most of the inputs of a stochastic network that its passes call surely robust, and others fooled, by chance alone.

The largest product of both binomial probabilities is 0.0045 for 10 passes, 0.0056 for 20 and 0.0061 for 100.
"""


def check(words: tuple[str, ...], subject: str | None) -> None:
    """Refuse a network that is named twice."""
    for at, word in enumerate(words):
        if word in words[:at] or word == subject:
            raise GameError(f"--transfer names {word} twice: name each network once, e.g. --transfer my_nets:other")


def transfers_of(
    subject: Classifiers,
    reports: Mapping[str, Report],
    words: tuple[str, ...],
    data: DataOptions,
    trust: bool,
    settings: Any,
) -> Transfers | None:
    """Return the verdicts of all networks on perturbations found on each; warn if they are stronger than the attacks.

    Args:
        subject: The networks under attack, and their inputs, of which those in memory are used.
        reports: Results of the attacks on them.
        words: The other networks.
        data: How inputs are read; a normalization is put before the other networks as well.
        trust: Whether to load a file of TorchScript.
        settings: The flags `seed` and `batch`.
    """
    if not words:
        return None
    x, threat = subject.images, subject.threat
    y = subject.labels[: len(x)]
    models = {name: subject.models[name] for name in reports}
    models |= {word: another_network(NetworkOptions(word, trust=trust), data, x) for word in words}
    generator = Generator(x.device).manual_seed(settings.seed)
    found = transfer(
        models,
        x,
        y,
        threat.eps,
        threat.norm,
        bounds=subject.bounds,
        generator=generator,
        eot=max(report.eot for report in reports.values()),
        batch_size=settings.batch,
    )
    _warn_of_masking(found, reports)
    return found


def _warn_of_masking(found: Transfers, reports: Mapping[str, Report]) -> None:
    """Warn if perturbations of another network fool one that its own attacks could not."""
    count = found.clean.shape[-1]
    for t, target in enumerate(found.names):
        if target not in reports:
            continue
        robust = _surely_robust(reports[target])[:count]
        won = {source: int((robust & ~found.right[s, t]).sum()) for s, source in enumerate(found.names) if s != t}
        source = max(won, key=won.__getitem__, default="")
        noise = 0 if reports[target].robust_passes is None else CHANCE * count
        if source and won[source] > TOLERATED * count + noise + 3 * noise**0.5:
            warnings.warn(
                f"perturbations found on {source} fool {won[source]} of {count} inputs of {target} that the attacks on "
                "itself could not: they count as robust above, and its gradients may be masked",
                stacklevel=2,
            )


def _surely_robust(report: Report) -> Tensor:
    """Return the inputs that are robust, of a stochastic network those in clearly more than half of the passes.

    Passes of one that is right in about half of them come out either way, which does not show masking.
    """
    if report.robust_passes is None:
        return report.robust
    return report.robust_passes.double().mean(0) >= 0.5 + 1.5 / report.eot**0.5
