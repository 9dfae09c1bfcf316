"""MIUB: how strongly a LoRA adapter's features depend on those of the frozen modules it sits on.

`miub_report(model, batches)` measures an adapter, `MIUBCallback(batches)` logs the metric beside the loss. Underneath
are pure functions: features to soft classes (`assignments`), joint distribution to scores (`divergences`), running sums
with jackknife and permutation null (`accumulate`), and the spectral facts of the update (`spectral`).

Paper: "The Scaling Law for LoRA Base on Mutual Information Upper Bound" (arXiv 2501.03152). Its quantity is reported as
`paper`. The headline `miub` is a bound that holds, by the data processing inequality.
"""

from intarsia.finetune.miub.accumulate import ModuleAccumulator, Scores, SoftJoint, Statistics
from intarsia.finetune.miub.assignments import joint_distribution, partition, soft_assignments, standardized
from intarsia.finetune.miub.callback import Measurement, MIUBCallback
from intarsia.finetune.miub.config import MIUBConfig
from intarsia.finetune.miub.divergences import (
    JointScores,
    chi2_bound,
    dpi_bound,
    entropy,
    jeffreys_bound,
    jensen_shannon,
    joint_scores,
    js_ratio_bound,
    js_ratio_factor,
    mutual_information,
    paper_score,
    token_information,
)
from intarsia.finetune.miub.hooks import AdaptedModules, adapted_modules, watching
from intarsia.finetune.miub.measure import miub_report
from intarsia.finetune.miub.report import MIUBReport, ModuleReport, kind_of, layer_of
from intarsia.finetune.miub.spectral import Spectrum, spectrum, update_singular_values

__all__ = [
    "AdaptedModules",
    "JointScores",
    "MIUBCallback",
    "MIUBConfig",
    "MIUBReport",
    "Measurement",
    "ModuleAccumulator",
    "ModuleReport",
    "Scores",
    "SoftJoint",
    "Spectrum",
    "Statistics",
    "adapted_modules",
    "chi2_bound",
    "dpi_bound",
    "entropy",
    "jeffreys_bound",
    "jensen_shannon",
    "joint_distribution",
    "joint_scores",
    "js_ratio_bound",
    "js_ratio_factor",
    "kind_of",
    "layer_of",
    "miub_report",
    "mutual_information",
    "paper_score",
    "partition",
    "soft_assignments",
    "spectrum",
    "standardized",
    "token_information",
    "update_singular_values",
    "watching",
]
