"""Intervals and tests for shares of right answers."""

from collections.abc import Sequence
from math import comb, sqrt
from typing import NamedTuple

from intarsia.errors import ConfigError, InputError

_Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


class Share(NamedTuple):
    """A share of right answers with its 95 % Wilson interval.

    Attributes:
        value: The share.
        low: Lower end.
        high: Upper end.
        n: Number of answers.
    """

    value: float
    low: float
    high: float
    n: int


def wilson(right: int, n: int) -> Share:
    """Returns a share with its 95 % interval (Wilson 1927), which is sound near 0 and 1 too.

    Raises:
        InputError: If there is nothing to count, or more right than all.
    """
    if not 0 <= right <= n or n == 0:
        raise InputError(f"{right} of {n} is not a share")
    share, weight = right / n, _Z * _Z / n
    centre = (share + weight / 2) / (1 + weight)
    half = _Z * sqrt(share * (1 - share) / n + weight / (4 * n)) / (1 + weight)
    # At the ends the formula gives 0 and 1 up to rounding.
    return Share(share, 0.0 if right == 0 else centre - half, 1.0 if right == n else centre + half, n)


class PairedTest(NamedTuple):
    """Two systems, or two wordings, on the same problems.

    Attributes:
        n: Number of pairs.
        first_only: Pairs that only the first has right.
        second_only: Pairs that only the second has right.
        difference: Share of right answers of the first minus that of the second.
        p_value: Probability of a split at least as uneven if both were equally good (two-sided, exact).
    """

    n: int
    first_only: int
    second_only: int
    difference: float
    p_value: float


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> PairedTest:
    """Returns McNemar's exact test (1947) of two lists of right and wrong answers.

    Raises:
        InputError: If the lists are empty or not of one length.
    """
    if len(first) != len(second) or not first:
        raise InputError(f"a paired test needs the same problems twice: {len(first)} and {len(second)} were given")
    first_only = sum(a and not b for a, b in zip(first, second, strict=True))
    second_only = sum(b and not a for a, b in zip(first, second, strict=True))
    p_value = _sign_test(min(first_only, second_only), first_only + second_only)
    return PairedTest(len(first), first_only, second_only, (first_only - second_only) / len(first), p_value)


def _sign_test(fewer: int, total: int) -> float:
    """Returns the two-sided p-value of `fewer` heads in `total` throws of a fair coin."""
    tail = sum(comb(total, count) for count in range(fewer + 1))
    # Whole numbers: their quotient is exact where powers of one half would vanish.
    return min(1.0, 2 * tail / (1 << total)) if total else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted for several tests (Holm 1979), in the order given.

    Raises:
        ConfigError: If a p-value is not between 0 and 1.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if not 0 <= p_values[place] <= 1:
            raise ConfigError("p_values", p_values[place], "between 0 and 1")
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
