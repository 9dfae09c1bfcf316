"""Which metric follows the scaling of model, rank and data most faithfully?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from intarsia.errors import InputError
from intarsia.finetune.scaling.concordance import falling, trend
from intarsia.finetune.scaling.config import AXES, ScalingConfig
from intarsia.finetune.scaling.law import ScalingFit, fit_scaling_law, identifiable_part
from intarsia.finetune.scaling.table import RunTable


@dataclass(frozen=True)
class MetricScore:
    """How well one metric follows the axes, under one alpha policy. Definitions are ours; the paper's are not known.

    Attributes:
        metric: Its name.
        concordance: Mean over data sets and axes of Kendall's tau with "falls as the axis grows"; 1 is perfect.
        concordance_by: The same for each `dataset/axis`.
        violations: Share of adjacent pairs in the wrong order.
        r2: R2 of the law, mean over data sets; None if no fit was possible.
        adjusted_r2: Adjusted R2, likewise.
        loo_nrmse: Leave-one-cell-out error in standard deviations of the cells, likewise.
        seed_cv: Mean over cells of standard deviation / mean over seeds; None without repetitions.
        dataset_std: Standard deviation over data sets of the concordance; None with one data set.
        usefulness: Spearman correlation with held-out accuracy over all runs (within data sets, averaged); negative
            means that a lower value goes with a better model. None if the table has no accuracy.
        notes: Why a number is missing.
    """

    metric: str
    concordance: float | None
    concordance_by: Mapping[str, float]
    violations: float | None
    r2: float | None
    adjusted_r2: float | None
    loo_nrmse: float | None
    seed_cv: float | None
    dataset_std: float | None
    usefulness: float | None
    notes: Sequence[str]


@dataclass(frozen=True)
class MetricComparison:
    """Scores of several metrics on the same runs.

    Attributes:
        policy: The alpha policy of the runs.
        scores: One per metric, in the order asked for.
        fits: The fitted laws by `dataset`, then metric.
    """

    policy: str
    scores: Sequence[MetricScore]
    fits: Mapping[str, Mapping[str, ScalingFit]]

    def __getitem__(self, metric: str) -> MetricScore:
        return next(score for score in self.scores if score.metric == metric)

    def to_json(self) -> dict[str, Any]:
        """Scores and fits as JSON values."""
        return {
            "policy": self.policy,
            "scores": [asdict(score) for score in self.scores],
            "fits": {name: {m: fit.to_json() for m, fit in fits.items()} for name, fits in self.fits.items()},
        }


def compare_metrics(
    table: RunTable, metrics: Sequence[str], config: ScalingConfig | None = None, *, accuracy: str = "accuracy"
) -> MetricComparison:
    """Compares metrics on one table of one alpha policy.

    Laws are fitted to the identifiable part of each data set (see `identifiable_part`). A law that cannot be fitted
    leaves its columns empty with a note; everything that needs no fit is reported for all runs.

    Args:
        table: Runs of one alpha policy, of one or more data sets.
        metrics: Names of metrics.
        config: Settings of the fits.
        accuracy: The metric that `usefulness` correlates with.

    Raises:
        InputError: If a metric is missing, or alpha policies are mixed.
    """
    table.require_one_policy()
    fits: dict[str, dict[str, ScalingFit]] = {dataset: {} for dataset in table.datasets}
    scores = []
    for metric in metrics:
        table.values(metric)
        notes: list[str] = []
        for dataset in table.datasets:
            part, cut = identifiable_part(table.where(dataset=dataset), config)
            notes.extend(f"{dataset}: {note}" for note in cut)
            try:
                fits[dataset][metric] = fit_scaling_law(part, metric, config)
            except InputError as error:
                notes.append(f"{dataset}: no fit: {error.what}")
        scores.append(_score(table, metric, [by[metric] for by in fits.values() if metric in by], notes, accuracy))
    return MetricComparison(table.policies[0], tuple(scores), fits)


def seed_cv(table: RunTable, metric: str, *, above_minimum: bool = False) -> float | None:
    """Mean over cells of standard deviation / mean over seeds.

    Args:
        table: Runs.
        metric: A metric.
        above_minimum: Measure the values above the smallest of their data set: a loss has a floor that no setting can
            remove, and a share of the floor is no stability.

    Returns:
        The coefficient of variation, or None if no cell has two runs.
    """
    values = table.values(metric)
    lowest = {
        name: min(value for run, value in zip(table.runs, values, strict=True) if run.dataset == name)
        for name in table.datasets
    }
    cells: dict[tuple[object, ...], list[float]] = {}
    for run, value in zip(table.runs, values, strict=True):
        cells.setdefault(run.cell, []).append(value - lowest[run.dataset] if above_minimum else value)
    ratios = [
        float(np.std(cell, ddof=1) / abs(np.mean(cell))) for cell in cells.values() if len(cell) > 1 and np.mean(cell)
    ]
    return float(np.mean(ratios)) if ratios else None


def _score(
    table: RunTable, metric: str, fits: Sequence[ScalingFit], notes: Sequence[str], accuracy: str
) -> MetricScore:
    by: dict[str, float] = {}
    per_dataset: list[float] = []
    wrong: list[float] = []
    for dataset in table.datasets:
        part = table.where(dataset=dataset)
        found = {axis: trend(part, metric, axis) for axis in AXES}
        known = {axis: value for axis, value in found.items() if value is not None}
        by.update({f"{dataset}/{axis}": value.tau for axis, value in known.items()})
        wrong.extend(value.violations for value in known.values())
        if known:
            per_dataset.append(float(np.mean([value.tau for value in known.values()])))
    adjusted = [fit.adjusted_r2 for fit in fits if fit.adjusted_r2 is not None]
    errors = [fit.loo_nrmse for fit in fits if fit.loo_nrmse is not None]
    return MetricScore(
        metric=metric,
        concordance=_mean(list(by.values())),
        concordance_by=by,
        violations=_mean(wrong),
        r2=_mean([fit.r2 for fit in fits]),
        adjusted_r2=_mean(adjusted),
        loo_nrmse=_mean(errors),
        seed_cv=seed_cv(table, metric),
        dataset_std=float(np.std(per_dataset, ddof=1)) if len(per_dataset) > 1 else None,
        usefulness=_usefulness(table, metric, accuracy),
        notes=tuple(notes),
    )


def _usefulness(table: RunTable, metric: str, accuracy: str) -> float | None:
    if accuracy not in table.metrics or metric == accuracy:
        return None
    correlations = []
    for dataset in table.datasets:
        part = table.where(dataset=dataset)
        x = [falling(metric, value) for value in part.values(metric)]
        y = part.values(accuracy)
        if len(set(x)) > 1 and len(set(y)) > 1:
            correlations.append(float(spearmanr(x, y).statistic))
    return _mean(correlations)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
