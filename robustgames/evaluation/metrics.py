"""What a metric is: its label, its unit, and which direction is better."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, log
from typing import Literal

SHARE = "share"
"""Unit of a part of a whole, in [0, 1]; tables show it in percent."""

FINAL_ATTACK_STEPS = 40
"""Steps of PGD against a trained classifier; learning curves and early stopping take fewer."""

POSITIVE = (0.0, inf)
"""Range of distances, divergences and counts."""

LAST = "last_"
"""Prefix of the metrics of the last iterate, in a result whose metrics are those of an average."""


@dataclass(frozen=True)
class Metric:
    """How the values of a metric are to be read.

    Attributes:
        name: Key in the dictionaries of metrics and in result.json.
        label: Words of a table.
        unit: `SHARE`, the name of another unit such as "nats", or "" for a number without a unit.
        better: Direction that is better, None if neither is.
        range: Least and largest possible value, infinite if unknown. A share is in [0, 1].
    """

    name: str
    label: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    range: tuple[float, float] = (-inf, inf)

    def __post_init__(self) -> None:
        if self.unit == SHARE:
            object.__setattr__(self, "range", (0.0, 1.0))

    @property
    def range_of_differences(self) -> tuple[float, float]:
        """Least and largest possible difference of two values."""
        least, most = self.range
        return least - most, most - least


def pgd_accuracy(steps: int) -> Metric:
    """Return the metric of the share of images classified correctly under PGD with so many steps."""
    return Metric(f"pgd{steps}_accuracy", f"PGD-{steps} accuracy", SHARE, "higher")


FGSM_ACCURACY = Metric("fgsm_accuracy", "FGSM accuracy", SHARE, "higher")

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        # games with a known solution
        Metric("residual", "residual", better="lower", range=POSITIVE),
        Metric("distance", "distance", better="lower", range=POSITIVE),
        Metric("duality_gap", "duality gap", better="lower", range=POSITIVE),
        # classifiers
        Metric("accuracy", "accuracy", SHARE),  # of the attacker's game, whose players disagree about it
        Metric("batch_accuracy", "batch accuracy", SHARE, "higher"),
        Metric("clean_accuracy", "clean accuracy", SHARE, "higher"),
        Metric("robust_accuracy", "robust accuracy", SHARE, "higher"),
        Metric("certified_accuracy", "certified accuracy (IBP)", SHARE, "higher"),
        FGSM_ACCURACY,
        pgd_accuracy(FINAL_ATTACK_STEPS),
        # generators
        Metric("modes", "modes", better="higher", range=POSITIVE),
        Metric("high_quality", "high quality", SHARE, "higher"),
        Metric("reverse_kl", "reverse KL", "nats", "lower", range=POSITIVE),
        Metric("jsd", "JSD", "nats", "lower", range=(0.0, log(2))),
        Metric("wasserstein", "wasserstein", better="lower", range=POSITIVE),
        Metric("sliced_wasserstein", "sliced wasserstein", better="lower", range=POSITIVE),
        Metric("frechet_digits", "frechet digits", better="lower", range=POSITIVE),
        Metric("frechet_mnist", "frechet mnist", better="lower", range=POSITIVE),
        Metric("frechet_random", "frechet random", better="lower", range=POSITIVE),
        Metric("class_entropy", "class entropy", "nats", "higher", range=POSITIVE),
        # control
        Metric("return", "return", better="higher"),
        Metric("return_under_adversary", "return under adversary", better="higher"),
        Metric("episode_length", "episode length", "steps", range=POSITIVE),
    )
}
"""The metrics of the package. Those of a user's game need no entry, see `metric_of`."""


def metric_of(name: str) -> Metric:
    """Return the metric of a name; one that is not in `METRICS` has no unit, and its name with spaces as its label.

    Example:
        >>> metric_of("clean_accuracy").unit, metric_of("my_loss").label
        ('share', 'my loss')
    """
    if name.startswith(LAST):
        metric = metric_of(name.removeprefix(LAST))
        return replace(metric, name=name, label=f"{metric.label} of the last iterate")
    return METRICS.get(name, Metric(name, name.replace("_", " ")))
