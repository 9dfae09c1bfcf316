"""The first stage: from all options to a few candidates, most likely first.

A reducer is a coroutine function of what is known about a text (`Reduction`); it returns candidates and never asks more
than one question at a time.
"""

from collections.abc import Awaitable, Callable, Mapping

from intarsia.classification.reducers.itr import iterative_top_reduction
from intarsia.classification.reducers.nearest import nearest_labels
from intarsia.classification.reducers.one_shot import one_shot
from intarsia.classification.reducers.reduction import Reduction
from intarsia.classification.reducers.removal import removal
from intarsia.classification.reducers.supervised import supervised
from intarsia.classification.reducers.votes import self_consistency
from intarsia.classification.reducers.windows import window_reduction

Reducer = Callable[[Reduction], Awaitable[list[str]]]

REDUCERS: Mapping[str, Reducer] = {
    "itr": iterative_top_reduction,
    "cbwr": window_reduction,
    "self_consistency": self_consistency,
    "remove": removal,
    "one_shot": one_shot,
    "encoder": nearest_labels,
    "supervised": supervised,
}
"""Reducers by name."""

__all__ = ["REDUCERS", "Reducer", "Reduction"]
