"""TIES-Merging: trim, elect sign, merge disjointly."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from intarsia.errors import ConfigError
from intarsia.merge.magnitude import MagnitudeSearch, digit_counts, passes
from intarsia.merge.methods.average import sum_of
from intarsia.merge.methods.registry import Place, TaskVectors, TaskVectorStream, check_number, merge_method

Trim = Literal["global", "tensor"]


@dataclass(frozen=True)
class TiesParams:
    """Settings of TIES.

    Attributes:
        density: Share of each task vector that is kept, by magnitude, in (0, 1]. Twin-Merging's baselines keep 0.1
            with weight 0.7 (RoBERTa) and 0.3 with weight 0.3 (generative).
        weight: lambda, the factor of the merged task vector.
        trim: Whether the share is of the whole task vector ("global", as published) or of each tensor ("tensor", as
            some implementations have it). An adapter's task vector is what it changes.
    """

    density: float = 0.3
    weight: float = 1.0
    trim: Trim = "global"

    def __post_init__(self) -> None:
        check_density(self.density)
        check_number("weight", self.weight, -10, 10)
        if self.trim not in ("global", "tensor"):
            raise ConfigError("trim", self.trim, "'global' or 'tensor'")


def check_density(density: float) -> None:
    """Checks that a share to keep is in (0, 1].

    Raises:
        ConfigError: If it is not.
    """
    if not 0 < density <= 1:
        raise ConfigError("density", density, "a number above 0, at most 1")


@dataclass(frozen=True)
class TiesStatistics:
    """What TIES must know of the whole task vectors.

    Attributes:
        thresholds: The smallest magnitude each expert keeps, by expert and tensor name; tensor name None for all.
        majority_sign: Sign of most elected coordinates, taken where the sum of the task vectors is 0.
    """

    thresholds: Mapping[tuple[str, str | None], float]
    majority_sign: int

    def threshold(self, expert: str, key: str) -> float:
        """Returns the smallest magnitude that `expert` keeps in tensor `key`."""
        return self.thresholds.get((expert, None), self.thresholds.get((expert, key), 0.0))


def ties_statistics(stream: TaskVectorStream, params: TiesParams) -> TiesStatistics:
    """Finds the exact thresholds, streaming, and then the majority sign of the trimmed vectors' sum."""
    scopes = [None] if params.trim == "global" else stream.keys
    thresholds = {
        (expert, scope): threshold
        for scope in scopes
        for expert, threshold in magnitude_thresholds(stream, params.density, scope).items()
    }
    trimmed = TiesStatistics(thresholds, majority_sign=1)

    def signs(place: Place, task_vectors: TaskVectors) -> int:
        return int(sum_of(_trim(task_vectors, place, trimmed)).sign_().sum())

    balance = sum(stream.map(signs))
    return TiesStatistics(thresholds, majority_sign=-1 if balance < 0 else 1)


def magnitude_thresholds(stream: TaskVectorStream, density: float, key: str | None = None) -> dict[str, float]:
    """Returns the k-th largest magnitude of each expert's task vector, k = density * its elements, rounded down.

    Args:
        stream: The task vectors.
        density: Share of elements to keep, in (0, 1].
        key: The tensor to look at; None for all of them as one vector.
    """
    ranks = {expert: max(1, int(density * stream.numel(expert, key))) for expert in stream.experts}
    searches = {expert: MagnitudeSearch(rank, stream.dtype) for expert, rank in ranks.items()}

    def count(place: Place, task_vectors: TaskVectors) -> dict[str, NDArray[np.int64]]:
        return {
            name: digit_counts(vector, searches[name].prefix, searches[name].level)
            for name, vector in task_vectors.items()
        }

    for _ in range(passes(stream.dtype)):
        for counts in stream.map(count, key):
            for name, digits in counts.items():
                searches[name].add(digits)
        for search in searches.values():
            search.next_level()
    return {expert: search.threshold for expert, search in searches.items()}


@merge_method(
    "ties",
    paper="Yadav et al., TIES-Merging, arXiv 2306.01708",
    params=TiesParams,
    stream_statistics=ties_statistics,
)
def ties(
    task_vectors: TaskVectors, *, params: TiesParams, statistics: TiesStatistics, place: Place
) -> Float[Tensor, "*shape"]:
    """Trim small changes, elect a sign per weight, average the changes that agree with it."""
    trimmed = _trim(task_vectors, place, statistics)
    elected = sum_of(trimmed).sign_()
    # Where the sum is 0 the majority of all coordinates decides (the reference's resolve_zero_signs).
    elected.masked_fill_(elected == 0, statistics.majority_sign)
    total = torch.zeros_like(elected)
    count = torch.zeros_like(elected)
    for vector in trimmed.values():
        agrees = vector * elected > 0
        total += vector * agrees
        count += agrees
    return total.div_(count.clamp_(min=1)).mul_(params.weight)


def _trim(task_vectors: TaskVectors, place: Place, statistics: TiesStatistics) -> TaskVectors:
    """Sets to 0 what is smaller than the expert's threshold."""
    return {
        name: vector * (vector.abs() >= statistics.threshold(name, place.key)) for name, vector in task_vectors.items()
    }
