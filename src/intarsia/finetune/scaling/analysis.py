"""Everything a table of runs tells, policy by policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intarsia.finetune.scaling.compare import MetricComparison, compare_metrics
from intarsia.finetune.scaling.config import ScalingConfig
from intarsia.finetune.scaling.recommend import RankRecommendation, recommend_rank, smallest_rank_within_error
from intarsia.finetune.scaling.table import RunTable

COMPARED: Mapping[str, str] = {
    "miub": "MIUB (dpi, z-score)",
    "miub_dpi_softmax": "dpi, softmax",
    "miub_mutual_information": "I, z-score",
    "miub_mutual_information_softmax": "I, softmax",
    "miub_paper": "paper, z-score",
    "miub_paper_softmax": "paper, softmax",
    "ce": "cross-entropy",
    "ppl": "perplexity",
    "accuracy": "accuracy",
}
"""The metrics that are compared, where a table has them, with their names in tables."""


@dataclass(frozen=True)
class PolicyAnalysis:
    """What the runs of one alpha policy tell.

    Attributes:
        table: The runs.
        comparison: Scores and fitted laws of the metrics.
        recommendations: By data set: the smallest sufficient rank by the law of the headline metric, if it was fitted.
        measured_ranks: By data set: the smallest measured rank within one standard error of the best held-out loss, if
            the table has `ce`.
    """

    table: RunTable
    comparison: MetricComparison
    recommendations: Mapping[str, RankRecommendation]
    measured_ranks: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Everything but the runs, as JSON values."""
        return {
            "recommendations": {name: found.to_json() for name, found in self.recommendations.items()},
            "smallest_rank_within_one_standard_error_of_best_loss": dict(self.measured_ranks),
            **self.comparison.to_json(),
        }


def analyse(
    table: RunTable,
    *,
    headline: str = "miub",
    metrics: Sequence[str] | None = None,
    config: ScalingConfig | None = None,
    tolerance: float = 0.25,
) -> dict[str, PolicyAnalysis]:
    """Fits, compares and recommends, for each alpha policy of a table.

    Args:
        table: Runs of any data sets and policies.
        headline: The metric whose law recommends the rank.
        metrics: The metrics to compare; None: those of `COMPARED` that the table has, else all.
        config: Settings of the fits.
        tolerance: See `recommend_rank`.

    Raises:
        InputError: If a metric is missing.
    """
    if metrics is None:
        metrics = [name for name in COMPARED if name in table.metrics] or table.metrics
    if headline not in metrics:
        metrics = [headline, *metrics]
    found = {}
    for policy in table.policies:
        part = table.where(policy=policy)
        comparison = compare_metrics(part, metrics, config)
        found[policy] = PolicyAnalysis(
            table=part,
            comparison=comparison,
            recommendations={
                dataset: recommend_rank(fits[headline], tolerance)
                for dataset, fits in comparison.fits.items()
                if headline in fits
            },
            measured_ranks={
                dataset: smallest_rank_within_error(rank_axis(part.where(dataset=dataset)))
                for dataset in part.datasets
                if "ce" in part.metrics
            },
        )
    return found


def rank_axis(table: RunTable) -> RunTable:
    """The runs at the largest model and data size measured at more than one rank (of all, if there is only one)."""
    by_place: dict[tuple[float, float], set[float]] = {}
    for run in table.runs:
        by_place.setdefault((run.N, run.D), set()).add(run.R)
    best = max(by_place, key=lambda place: (len(by_place[place]), place))
    return table.filter(lambda run: best == (run.N, run.D))
