"""Bootstrap over clusters: items of one role, person or document are alike, so whole clusters are drawn."""

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from intarsia.errors import InputError
from intarsia.metrics.intervals import Difference, Interval, check_settings, percentile_interval


def cluster_draws(
    values: Sequence[float], clusters: Sequence[Hashable], *, resamples: int = 2000, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Returns means of values over clusters drawn with replacement, (resamples,).

    The order of the items does not matter.

    Args:
        values: One value an item.
        clusters: The cluster of each item.
        resamples: How many times clusters are drawn.
        seed: Seed of the draws.

    Raises:
        InputError: If there are no items, or not one cluster an item.
        ConfigError: If `resamples` is not above 0.
    """
    check_settings(0.5, resamples)
    if len(values) != len(clusters) or not len(values):
        raise InputError(f"every item needs a value and a cluster: {len(values)} and {len(clusters)} were given")
    groups: dict[str, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        groups.setdefault(repr(cluster), []).append(float(value))
    ordered = [sorted(groups[name]) for name in sorted(groups)]
    sums, sizes = np.array([sum(group) for group in ordered]), np.array([len(group) for group in ordered], dtype=float)
    n = len(ordered)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    means: npt.NDArray[np.float64] = (counts @ sums) / (counts @ sizes)
    return means


def cluster_interval(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Returns the percentile interval of the mean over all items, with whole clusters drawn (Field and Welsh 2007).

    Args:
        values: One value an item.
        clusters: The cluster of each item.
        confidence: Between 0 and 1.
        resamples: How many times clusters are drawn.
        seed: Seed of the draws.

    Raises:
        InputError: If there are no items, or not one cluster an item.
        ConfigError: If confidence or resamples are out of range.
    """
    check_settings(confidence, resamples)
    return percentile_interval(cluster_draws(values, clusters, resamples=resamples, seed=seed), confidence)


def clustered_difference(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Returns the mean of `first - second` over the same items, with the interval over clusters.

    Args:
        first: One value an item of the first system.
        second: One value an item of the second, in the same order.
        clusters: The cluster of each item.
        confidence: Between 0 and 1.
        resamples: How many times clusters are drawn.
        seed: Seed of the draws.

    Raises:
        InputError: If there are no items, or not the same number.
        ConfigError: If confidence or resamples are out of range.
    """
    if len(first) != len(second):
        raise InputError(f"a paired difference needs the same items: {len(first)} and {len(second)} were given")
    differences = [float(a) - float(b) for a, b in zip(first, second, strict=True)]
    low, high = cluster_interval(differences, clusters, confidence=confidence, resamples=resamples, seed=seed)
    return Difference(sum(differences) / len(differences), low, high)
