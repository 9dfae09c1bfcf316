"""Timing two things beside each other."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def median_ratio(ours: Callable[[], Any], peer: Callable[[], Any], rounds: int) -> tuple[float, float, float]:
    """Returns the medians of both times in seconds and of `ours / peer`, after one run of each to warm up.

    Runs take turns, so that load from elsewhere hits both sides alike.
    """
    ours(), peer()
    pairs = []
    for _ in range(rounds):
        start = time.perf_counter()
        ours()
        middle = time.perf_counter()
        peer()
        pairs.append((middle - start, time.perf_counter() - middle))
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )
