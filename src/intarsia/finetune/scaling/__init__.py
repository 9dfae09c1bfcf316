"""The scaling law of LoRA runs: a table of runs, the fitted law, metrics compared, a rank recommended, the sweep.

Source of the law: The Scaling Law for LoRA Based on Mutual Information Upper Bound, arXiv 2501.03152.
"""

from intarsia.finetune.scaling.compare import MetricComparison, MetricScore, compare_metrics, seed_cv
from intarsia.finetune.scaling.concordance import Trend, trend
from intarsia.finetune.scaling.config import AXES, Axis, ScalingConfig, SweepConfig
from intarsia.finetune.scaling.law import Cell, Parameter, ScalingFit, fit_scaling_law
from intarsia.finetune.scaling.recommend import RankRecommendation, recommend_rank, smallest_rank_within_error
from intarsia.finetune.scaling.table import Run, RunTable

__all__ = [
    "AXES",
    "Axis",
    "Cell",
    "MetricComparison",
    "MetricScore",
    "Parameter",
    "RankRecommendation",
    "Run",
    "RunTable",
    "ScalingConfig",
    "ScalingFit",
    "SweepConfig",
    "Trend",
    "compare_metrics",
    "fit_scaling_law",
    "recommend_rank",
    "seed_cv",
    "smallest_rank_within_error",
    "trend",
]
