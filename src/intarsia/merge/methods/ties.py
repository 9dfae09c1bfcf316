"""TIES-Merging: trim, elect sign, merge disjointly."""

from collections.abc import Iterable, Mapping
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
    thresholds: dict[tuple[str, str | None], float]
    if params.trim == "global":
        search = _Search(stream, params.density, None)
        for _ in range(passes(stream.dtype)):
            search.end_pass(stream.map(search.count))
        thresholds = {(expert, None): threshold for expert, threshold in search.thresholds().items()}
    else:
        by_key = stream.map_keys(lambda key: _tensor_thresholds(stream, params.density, key))
        thresholds = {
            (expert, key): threshold
            for key, found in zip(stream.keys, by_key, strict=True)
            for expert, threshold in found.items()
        }
    trimmed = TiesStatistics(thresholds, majority_sign=1)

    def signs(place: Place, task_vectors: TaskVectors) -> int:
        return int(sum_of(_trim(task_vectors, place, trimmed)).sign_().sum())

    balance = sum(stream.map(signs))
    return TiesStatistics(thresholds, majority_sign=-1 if balance < 0 else 1)


def _tensor_thresholds(stream: TaskVectorStream, density: float, key: str) -> dict[str, float]:
    search = _Search(stream, density, key)
    for _ in range(passes(stream.dtype)):
        search.end_pass(search.count(place, task_vectors) for place, task_vectors in stream.blocks_of(key))
    return search.thresholds()


class _Search:
    """The search for each expert's k-th largest magnitude in all tensors or one; k = density * elements, cut off."""

    def __init__(self, stream: TaskVectorStream, density: float, key: str | None) -> None:
        self._searches = {
            expert: MagnitudeSearch(max(1, int(density * stream.numel(expert, key))), stream.dtype)
            for expert in stream.experts
        }

    def count(self, _: Place, task_vectors: TaskVectors) -> dict[str, NDArray[np.int64]]:
        searches = self._searches
        return {
            name: digit_counts(vector, searches[name].prefix, searches[name].level)
            for name, vector in task_vectors.items()
        }

    def end_pass(self, counted: Iterable[Mapping[str, NDArray[np.int64]]]) -> None:
        for counts in counted:
            for name, digits in counts.items():
                self._searches[name].add(digits)
        for search in self._searches.values():
            search.next_level()

    def thresholds(self) -> dict[str, float]:
        return {expert: search.threshold for expert, search in self._searches.items()}


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
    elected = sum_of(trimmed)
    # Where the sum is 0 the majority of all coordinates decides (the reference's resolve_zero_signs): a number too
    # small to change any other sum does it without a branch.
    elected = elected.add_(statistics.majority_sign * torch.finfo(elected.dtype).tiny).sign_()
    total = torch.zeros_like(elected)
    count = torch.zeros_like(elected)
    for vector in trimmed.values():
        agreeing = (vector * elected).relu_()
        total += agreeing
        count += agreeing.sign_()
    return total.mul_(elected).div_(count.clamp_(min=1)).mul_(params.weight)


def _trim(task_vectors: TaskVectors, place: Place, statistics: TiesStatistics) -> dict[str, Tensor]:
    """Sets to 0 what is smaller than the expert's threshold."""
    trimmed = {}
    for name, vector in task_vectors.items():
        threshold = torch.tensor(statistics.threshold(name, place.key), dtype=vector.dtype)
        # hardshrink also drops what is equal to its bound, so the bound is the next smaller number.
        below = float(torch.nextafter(threshold, torch.zeros_like(threshold)))
        trimmed[name] = torch.nn.functional.hardshrink(vector, below)
    return trimmed
