"""Deterministic choices: which split a row falls in, and which rows a seeded sample holds."""

import hashlib
import heapq
import random
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from operator import itemgetter
from typing import Any

from intarsia.errors import ConfigError


def split_of(text: str, cut: Mapping[str, float]) -> str:
    """Returns the split a text falls in when `cut` gives the share of every split but `train`, which has the rest.

    The split is a function of the text alone (its BLAKE2 hash as a number in [0, 1)), so equal texts never stand in
    two splits, rows added to a file move none of the others, and data sets that share texts agree about them.

    Args:
        text: The input of the row.
        cut: Share of each split, e.g. `{"dev": 0.1, "test": 0.2}`.
    """
    position = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
    edge = 0.0
    for name, share in cut.items():
        edge += share
        if position < edge:
            return name
    return "train"


def sample(rows: Iterable[Any], *, limit: int | None = None, seed: int | None = None) -> Iterator[Any]:
    """Yields `rows` in the order `seed` gives, at most `limit` of them.

    Without a seed the rows come in their own order and reading stops at the limit. With one, every row takes part:
    the order is a uniform shuffle, a smaller limit gives the beginning of what a larger one gives, and no more than
    `limit` rows are held in memory.

    Raises:
        ConfigError: If the limit is below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError("limit", limit, "a whole number above 0")
    if seed is None:
        return iter(rows) if limit is None else islice(rows, limit)
    return _shuffled(rows, limit, seed)


def _shuffled(rows: Iterable[Any], limit: int | None, seed: int) -> Iterator[Any]:
    # Sorting by one random number a row is a shuffle, and unlike shuffling a list it can forget rows on the way.
    generator = random.Random(seed)
    keyed = ((generator.random(), row) for row in rows)
    chosen = sorted(keyed, key=itemgetter(0)) if limit is None else heapq.nsmallest(limit, keyed, key=itemgetter(0))
    return (row for _, row in chosen)
