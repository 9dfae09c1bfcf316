"""How far decisions follow word lists: a logistic regression of one on the other."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from intarsia.errors import InputError

_Z = 1.959963984540054


class LogisticFit(NamedTuple):
    """logit P(decision is the stereotype) = intercept + slope * B.

    Attributes:
        slope: Change of the log-odds for one unit of B.
        low: Lower end of its 95 % interval (Wald).
        high: Upper end.
        intercept: Log-odds at B = 0.
        n: Number of decisions.
    """

    slope: float
    low: float
    high: float
    intercept: float
    n: int


def logistic_slope(bias: Sequence[float], decisions: Sequence[int]) -> LogisticFit:
    """Fits the regression by maximum likelihood (Newton's method).

    Args:
        bias: Score of each word list.
        decisions: 1 where the decision after it was the stereotype, else 0.

    Raises:
        InputError: If the lists differ in length, or no fit exists: decisions or scores are all equal, or the scores
            separate the decisions.
    """
    if len(bias) != len(decisions) or not len(bias):
        raise InputError(f"a regression needs a decision for each score: {len(bias)} and {len(decisions)} were given")
    x = np.stack([np.ones(len(bias)), np.asarray(bias, dtype=float)], axis=1)
    y = np.asarray(decisions, dtype=float)
    weights = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -500, 500)))
        information = x.T @ (x * (p * (1 - p))[:, None])
        # Where no finite fit exists the weights grow without end, and the information vanishes.
        if not np.linalg.det(information) > 1e-12:
            break
        covariance = np.linalg.inv(information)
        step = covariance @ (x.T @ (y - p))
        weights += step
        if np.abs(step).max() < 1e-10:
            return _fit(weights, covariance, len(bias))
    raise InputError("the regression has no finite fit: scores or decisions do not vary, or scores separate them")


def _fit(weights: npt.NDArray[Any], covariance: npt.NDArray[Any], n: int) -> LogisticFit:
    half = _Z * float(np.sqrt(covariance[1, 1]))
    slope = float(weights[1])
    return LogisticFit(slope, slope - half, slope + half, float(weights[0]), n)
