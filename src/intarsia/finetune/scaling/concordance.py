"""How consistently a metric falls as one axis grows, everything else equal."""

from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau

from intarsia.finetune.scaling.config import AXES, Axis
from intarsia.finetune.scaling.table import RunTable

RISING = frozenset({"accuracy", "macro_f1", "matthews", "exact_match"})
"""Metrics that are better when higher; what is fitted and compared is 1 minus their value."""


class Trend(NamedTuple):
    """Direction of a metric along one axis.

    Attributes:
        tau: Mean Kendall tau over lines with "falls as the axis grows": 1 always falls, -1 always rises.
        violations: Share of adjacent pairs in the wrong order.
        lines: Sequences of runs that differ only on this axis (one per seed and setting of the other axes).
    """

    tau: float
    violations: float
    lines: int


def falling(metric: str, value: float) -> float:
    """The value turned so that lower is better: 1 - value for accuracies, the value itself otherwise."""
    return 1 - value if metric in RISING else value


def trend(table: RunTable, metric: str, axis: Axis) -> Trend | None:
    """Kendall concordance of `metric` with falling along `axis`, or None if no line has two values on the axis.

    Lines with different data sets are averaged; ties count as neither order. Monotone transforms change nothing, so
    perplexity and cross-entropy agree.
    """
    table.require_one_policy()
    others = [other for other in AXES if other != axis]
    lines: dict[tuple[object, ...], list[tuple[float, float]]] = defaultdict(list)
    for run, value in zip(table.runs, table.values(metric), strict=True):
        key = (run.dataset, run.seed, *(run.axis(other) for other in others))
        lines[key].append((run.axis(axis), falling(metric, value)))
    taus: list[float] = []
    wrong = pairs = 0
    for line in lines.values():
        if len(line) < 2:
            continue
        x, y = zip(*sorted(line), strict=True)
        # A metric that never changes has no order at all; scipy says NaN.
        taus.append(0.0 if len(set(y)) == 1 else -float(kendalltau(x, y).statistic))
        wrong += sum(after > before for before, after in pairwise(y))
        pairs += len(line) - 1
    return Trend(float(np.mean(taus)), wrong / pairs, len(taus)) if taus else None
