"""The scaling law of LoRA runs: a table of runs, the fitted law, metrics compared, a rank recommended, the sweep.

`run_sweep(SweepConfig(...))` trains a grid and gives a `RunTable`; `analyse(table)` fits, compares and recommends.

Source of the law: The Scaling Law for LoRA Base on Mutual Information Upper Bound, arXiv 2501.03152.
"""

from intarsia.finetune.scaling.analysis import COMPARED, PolicyAnalysis, analyse
from intarsia.finetune.scaling.compare import MetricComparison, MetricScore, compare_metrics, seed_cv
from intarsia.finetune.scaling.concordance import Trend, trend
from intarsia.finetune.scaling.config import AXES, Axis, ScalingConfig, SweepConfig
from intarsia.finetune.scaling.law import Cell, Parameter, ScalingFit, fit_scaling_law, identifiable_part
from intarsia.finetune.scaling.plots import draw_curves, save_figure
from intarsia.finetune.scaling.recommend import RankRecommendation, recommend_rank, smallest_rank_within_error
from intarsia.finetune.scaling.sweep import run_sweep, trials
from intarsia.finetune.scaling.table import Run, RunTable
from intarsia.finetune.scaling.trial import run_trial

__all__ = [
    "AXES",
    "COMPARED",
    "Axis",
    "Cell",
    "MetricComparison",
    "MetricScore",
    "Parameter",
    "PolicyAnalysis",
    "RankRecommendation",
    "Run",
    "RunTable",
    "ScalingConfig",
    "ScalingFit",
    "SweepConfig",
    "Trend",
    "analyse",
    "compare_metrics",
    "draw_curves",
    "fit_scaling_law",
    "identifiable_part",
    "recommend_rank",
    "run_sweep",
    "run_trial",
    "save_figure",
    "seed_cv",
    "smallest_rank_within_error",
    "trend",
    "trials",
]
