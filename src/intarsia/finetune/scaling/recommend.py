"""The smallest sufficient rank, or the reasons why the runs do not tell."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from intarsia.errors import ConfigError, InputError
from intarsia.finetune.scaling.concordance import falling
from intarsia.finetune.scaling.law import AMPLITUDES, EXPONENTS, ScalingFit
from intarsia.finetune.scaling.table import RunTable

MINIMUM_CONCORDANCE = 0.5


@dataclass(frozen=True)
class RankRecommendation:
    """A rank, or why there is none.

    Attributes:
        rank: The smallest sufficient rank by the law; None if refused.
        low: Lower end of its bootstrap interval; None if there is none.
        high: Upper end; infinity where some bootstrap laws never get there.
        tolerance: Share of the way from the smallest measured rank to the law's limit that may be missing.
        refused: Reasons for giving no rank; empty if there is one.
        beyond_grid: Whether the rank is above the largest measured one, hence an extrapolation.
        spectral_rank: Next power of two above the median k@90% of the largest measured adapter: how many directions
            that adapter used. None if the table has no column `k90`.
        metric: The metric the law was fitted to.
    """

    rank: int | None
    low: float | None
    high: float | None
    tolerance: float
    refused: Sequence[str]
    beyond_grid: bool
    spectral_rank: int | None
    metric: str

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; an infinite upper end becomes None."""
        record = asdict(self)
        if self.high is not None and math.isinf(self.high):
            record["high"] = None
        return record


def recommend_rank(fit: ScalingFit, tolerance: float = 0.25) -> RankRecommendation:
    """The smallest R whose predicted metric is within a tolerance of the limit of large ranks.

    M(R) - M(inf) <= tolerance * (M(R_min) - M(inf)) with R_min the smallest measured rank, i.e.
    R = R_min * tolerance^(-1/beta), rounded up.

    Args:
        fit: A law with a rank axis.
        tolerance: Share of the possible improvement that may be missing, between 0 and 1.

    Raises:
        ConfigError: If the tolerance is not between 0 and 1.
    """
    if not 0 < tolerance < 1:
        raise ConfigError("tolerance", tolerance, "between 0 and 1")
    spectral = None if fit.largest_rank_k90 is None else next_power_of_two(fit.largest_rank_k90)
    reasons = _reasons(fit)
    if reasons:
        return RankRecommendation(None, None, None, tolerance, reasons, False, spectral, fit.metric)
    smallest = fit.reference["R"]
    exact = smallest * tolerance ** (-1 / fit.parameters[EXPONENTS["R"]].value)
    # Exact powers of the smallest rank come out as 31.999999 or 32.000001; neither should read 33.
    rank = math.ceil(exact * (1 - 1e-9))
    low, high = _interval(fit, tolerance, smallest)
    largest = max(cell.point[fit.axes.index("R")] for cell in fit.cells)
    return RankRecommendation(rank, low, high, tolerance, (), rank > largest, spectral, fit.metric)


def smallest_rank_within_error(table: RunTable, metric: str = "ce") -> int:
    """The smallest measured rank whose metric is within one standard error of the best rank's.

    The one-standard-error rule (Breiman et al., 1984, section 3.4.3): it needs no law, and answers from the measured
    ranks alone. The metric is averaged over all runs of a rank, so the other axes should be covered equally.

    Args:
        table: Runs of one data set and policy.
        metric: A held-out metric; accuracies count as 1 - accuracy.

    Raises:
        InputError: If policies are mixed, or the metric is missing.
    """
    table.require_one_policy()
    by_rank: dict[float, list[float]] = {}
    for run, value in zip(table.runs, table.values(metric), strict=True):
        by_rank.setdefault(run.R, []).append(falling(metric, value))
    if not by_rank:
        raise InputError("the table has no runs")
    best = min(by_rank, key=lambda rank: float(np.mean(by_rank[rank])))
    values = by_rank[best]
    error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
    bound = float(np.mean(values)) + error
    return round(min(rank for rank, found in by_rank.items() if float(np.mean(found)) <= bound))


def next_power_of_two(value: float) -> int:
    """The smallest power of two that is at least `value` (1 for values up to 1)."""
    return 2 ** max(0, math.ceil(math.log2(value)))


def _reasons(fit: ScalingFit) -> tuple[str, ...]:
    if "R" not in fit.axes:
        return ("the runs have no rank axis: every run has the same rank, or the axis was dropped",)
    reasons = []
    concordance = fit.concordance.get("R")
    if concordance is None:
        reasons.append("no two runs differ in rank alone, so the direction along rank is unknown")
    elif concordance < MINIMUM_CONCORDANCE:
        reasons.append(
            f"{fit.quantity} does not fall consistently with rank: concordance {concordance:.2f}, "
            f"{MINIMUM_CONCORDANCE} is needed"
        )
    if "R" in fit.unidentified:
        reasons.append(fit.unidentified["R"])
    return tuple(reasons)


def _interval(fit: ScalingFit, tolerance: float, smallest: float) -> tuple[float | None, float | None]:
    if not len(fit.samples):
        return None, None
    names = list(fit.parameters)
    amplitude = fit.samples[:, names.index(AMPLITUDES["R"])]
    exponent = fit.samples[:, names.index(EXPONENTS["R"])]
    with np.errstate(over="ignore"):
        ranks = smallest * np.power(tolerance, -1 / exponent)
    # A sample without a rank term says that any rank is as good: the smallest suffices.
    ranks = np.where(amplitude > 0, ranks, smallest)
    tail = (1 - fit.confidence) / 2
    low, high = np.quantile(ranks, [tail, 1 - tail], method="nearest")
    return float(low), float(high)
