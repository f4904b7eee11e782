"""Evaluation: certificates, statistics over runs, figures."""

from robustgames.evaluation.certificates import accuracies, certificates
from robustgames.evaluation.statistics import summarize

__all__ = ["accuracies", "certificates", "summarize"]
