"""Scores of predictions, thin adapters over scikit-learn and SciPy, and intervals and tests for them.

Every score is called with references first, then predictions. Names are imported when they are first used.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "Difference": "intervals",
    "Interval": "intervals",
    "JudgeQuality": "agreement",
    "PairedTest": "shares",
    "Share": "shares",
    "accuracy": "scores",
    "accuracy_and_f1": "scores",
    "bootstrap_interval": "intervals",
    "cluster_draws": "clusters",
    "cluster_interval": "clusters",
    "clustered_difference": "clusters",
    "cohen_kappa": "agreement",
    "corrected_interval": "agreement",
    "exact_match": "scores",
    "exact_matches": "scores",
    "holm": "shares",
    "judge_quality": "agreement",
    "krippendorff_alpha": "agreement",
    "macro_f1": "scores",
    "matthews": "scores",
    "mcnemar": "shares",
    "normalized_difference": "normalized",
    "normalized_interval": "normalized",
    "normalized_score": "normalized",
    "paired_difference": "intervals",
    "pearson": "scores",
    "pearson_spearman": "scores",
    "rogan_gladen": "agreement",
    "spearman": "scores",
    "uniformity_p": "agreement",
    "wilson": "shares",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
