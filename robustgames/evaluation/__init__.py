"""Evaluation: certificates, statistics over runs, figures."""

from robustgames.evaluation.certificates import (
    accuracies,
    catastrophic_overfitting,
    certificates,
    final_certificates,
    verdicts,
)
from robustgames.evaluation.statistics import mean_and_std, summarize

__all__ = [
    "accuracies",
    "catastrophic_overfitting",
    "certificates",
    "final_certificates",
    "mean_and_std",
    "summarize",
    "verdicts",
]
