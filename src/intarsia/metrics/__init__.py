"""Scores of predictions, thin adapters over scikit-learn and SciPy, and bootstrap intervals for them.

Every score is called with references first, then predictions.
"""

from intarsia.metrics.intervals import Difference, Interval, bootstrap_interval, paired_difference
from intarsia.metrics.normalized import normalized_difference, normalized_interval, normalized_score
from intarsia.metrics.scores import (
    accuracy,
    accuracy_and_f1,
    exact_match,
    exact_matches,
    macro_f1,
    matthews,
    pearson,
    pearson_spearman,
    spearman,
)

__all__ = [
    "Difference",
    "Interval",
    "accuracy",
    "accuracy_and_f1",
    "bootstrap_interval",
    "exact_match",
    "exact_matches",
    "macro_f1",
    "matthews",
    "normalized_difference",
    "normalized_interval",
    "normalized_score",
    "paired_difference",
    "pearson",
    "pearson_spearman",
    "spearman",
]
