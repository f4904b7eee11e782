"""Evaluation: certificates, metrics and their statistics over runs. Numbers only; `robustgames.figures` draws them."""

from robustgames.evaluation.certificates import (
    accuracies,
    catastrophic_overfitting,
    certificates,
    final_certificates,
    take_long,
    verdicts,
)
from robustgames.evaluation.metrics import LAST, METRICS, Metric, metric_of
from robustgames.evaluation.statistics import mean_and_std, summarize

__all__ = [
    "LAST",
    "METRICS",
    "Metric",
    "accuracies",
    "catastrophic_overfitting",
    "certificates",
    "final_certificates",
    "mean_and_std",
    "metric_of",
    "summarize",
    "take_long",
    "verdicts",
]
