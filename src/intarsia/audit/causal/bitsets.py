"""Sets of small whole numbers as bits of an integer, and truth tables as bits of a long one.

Node v of a graph is bit v, so unions, intersections and differences of node sets are `|`, `&` and `& ~`. A *column* is
a function of k switches: its bit i is the value where switch j is bit j of i. One operation on columns works on all 2^k
cases at once; that is how all adjustment sets and all worlds of a causal model are judged in one pass.
"""

from collections.abc import Iterable, Iterator
from functools import cache


def bits(mask: int) -> Iterator[int]:
    """Yields the members of a set, smallest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def mask_of(members: Iterable[int]) -> int:
    """Returns the set of these members."""
    mask = 0
    for member in members:
        mask |= 1 << member
    return mask


def everywhere(count: int) -> int:
    """Returns the column of `count` switches that is true in all 2^count cases."""
    return (1 << (1 << count)) - 1


@cache
def switch(index: int, count: int) -> int:
    """Returns the column that is true where switch `index` of `count` is on."""
    half = 1 << index
    block = ((1 << half) - 1) << half
    # Doubling the pattern is faster than writing it block by block.
    width = 2 * half
    while width < 1 << count:
        block |= block << width
        width *= 2
    return block


def supersets(column: int, count: int) -> int:
    """Returns the column that is true for every set with a true subset, itself included."""
    for index in range(count):
        column |= (column & ~switch(index, count)) << (1 << index)
    return column


def minimal(column: int, count: int) -> int:
    """Returns the column that is true for the true sets without a true proper subset."""
    closed = supersets(column, count)
    larger = 0
    for index in range(count):
        larger |= (closed & ~switch(index, count)) << (1 << index)
    return column & ~larger
