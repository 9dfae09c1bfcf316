"""Bootstrap intervals: how much a mean, or a difference of two, could move with other rows of the same kind."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from intarsia.errors import ConfigError, InputError

_CELLS = 4_000_000
"""Resampled values held at a time."""


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """A difference and its confidence interval; it is established where the interval excludes 0."""

    mean: float
    low: float
    high: float


def bootstrap_interval(
    values: Sequence[float] | npt.NDArray[Any],
    *,
    statistic: Callable[..., Any] = np.mean,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Returns the percentile bootstrap interval of a statistic of `values` (Efron 1979).

    Args:
        values: One value a row, e.g. 1 where the answer was right.
        statistic: Called with an array (batch, rows) and `axis=-1`; returns an array (batch,).
        confidence: Between 0 and 1.
        resamples: How many times rows are drawn with replacement.
        seed: Seed of the draws.

    Raises:
        InputError: If there are no values.
        ConfigError: If confidence or resamples are out of range.
    """
    from scipy.stats import bootstrap

    array = np.asarray(values, dtype=float)
    _check(array, confidence, resamples)
    if len(array) == 1:
        # One row drawn again and again is that row; SciPy refuses to do it.
        return Interval(*[float(statistic(array, axis=-1))] * 2)
    result = bootstrap(
        (array,),
        statistic,
        n_resamples=resamples,
        batch=max(1, _CELLS // len(array)),
        vectorized=True,
        axis=-1,
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    return Interval(float(result.confidence_interval.low), float(result.confidence_interval.high))


def paired_difference(
    a: Sequence[float] | npt.NDArray[Any],
    b: Sequence[float] | npt.NDArray[Any],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Returns the mean of `a - b` over the same rows and its bootstrap interval.

    Args:
        a: One value a row of the first system.
        b: One value a row of the second, in the same order.
        confidence: Between 0 and 1.
        resamples: How many times rows are drawn with replacement.
        seed: Seed of the draws.

    Raises:
        InputError: If they have no rows, or not the same number.
        ConfigError: If confidence or resamples are out of range.
    """
    if len(a) != len(b):
        raise InputError(f"a paired difference needs the same rows: {len(a)} and {len(b)} were given")
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    interval = bootstrap_interval(differences, confidence=confidence, resamples=resamples, seed=seed)
    return Difference(float(differences.mean()), interval.low, interval.high)


def percentile_interval(draws: npt.NDArray[np.float64], confidence: float) -> Interval:
    """Returns the central interval that holds the share `confidence` of `draws`."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def resampled_means(
    columns: Sequence[npt.NDArray[np.float64]], resamples: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Returns the means of each column over rows drawn with replacement, the same rows for all columns.

    Args:
        columns: Arrays (rows,), one value a row of each system.
        resamples: How many times rows are drawn.
        generator: Source of the draws.

    Returns:
        Array (columns, resamples).
    """
    values = np.stack(columns, axis=-1)
    rows = len(values)
    batch = max(1, _CELLS // rows)
    means = []
    for start in range(0, resamples, batch):
        # How often each row is drawn says as much as which rows are, and turns the mean into a matrix product.
        counts = generator.multinomial(rows, np.full(rows, 1 / rows), size=min(batch, resamples - start))
        means.append(counts @ values / rows)
    return np.concatenate(means).T


def _check(array: npt.NDArray[Any], confidence: float, resamples: int) -> None:
    check_settings(confidence, resamples)
    if len(array) == 0:
        raise InputError("there is nothing to resample: no rows")


def check_settings(confidence: float, resamples: int) -> None:
    """Raises a ConfigError if a confidence is not in (0, 1) or the resamples are not above 0."""
    if not 0 < confidence < 1:
        raise ConfigError("confidence", confidence, "between 0 and 1")
    if resamples < 1:
        raise ConfigError("resamples", resamples, "a whole number above 0")
