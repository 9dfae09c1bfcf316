"""DARE: drop most of each task vector at random and rescale the rest, then merge by task arithmetic or TIES."""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.merge.methods.registry import Place, TaskVectors, check_number, merge_method
from intarsia.merge.methods.task_arithmetic import TaskArithmeticParams, task_arithmetic
from intarsia.merge.methods.ties import TiesParams, ties, ties_statistics

_PAPER = "Yu et al., Language models are Super Mario (DARE), arXiv 2311.03099"


@dataclass(frozen=True)
class DareLinearParams(TaskArithmeticParams):
    """Settings of DARE with task arithmetic; defaults of Twin-Merging's baselines.

    Attributes:
        weight: gamma, the factor of the summed task vectors.
        drop: p, the probability that an entry is dropped; the others are divided by 1 - p.
        seed: Seed of the dropping.
    """

    weight: float = 0.7
    drop: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("drop", self.drop, 0, 0.999)


@dataclass(frozen=True)
class DareTiesParams(TiesParams):
    """Settings of DARE with TIES; defaults of Twin-Merging's baselines.

    Attributes:
        density: Share of each dropped-out task vector that TIES keeps.
        weight: lambda, the factor of the merged task vector.
        trim: Whether the share is of the whole task vector or of each tensor.
        drop: p, the probability that an entry is dropped; the others are divided by 1 - p.
        seed: Seed of the dropping.
    """

    density: float = 0.3
    weight: float = 0.9
    drop: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("drop", self.drop, 0, 0.999)


def drop_and_rescale(
    task_vectors: TaskVectors, *, place: Place, params: DareLinearParams | DareTiesParams
) -> TaskVectors:
    """Multiplies every entry by an independent Bernoulli(1 - p) / (1 - p), which keeps its expectation.

    The mask depends only on the seed, the expert's and the tensor's name and the first row of the block, so that
    every pass over the same vectors drops the same entries.
    """
    keep = 1 - params.drop
    dropped = {}
    for name, vector in task_vectors.items():
        generator = torch.Generator().manual_seed(_seed(params.seed, name, place))
        mask = torch.empty(vector.shape, dtype=vector.dtype).bernoulli_(keep, generator=generator)
        dropped[name] = mask.mul_(vector).div_(keep)
    return dropped


def _seed(seed: int, expert: str, place: Place) -> int:
    text = f"{seed}\0{expert}\0{place.key}\0{place.first_row}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "little")


@merge_method("dare_linear", paper=_PAPER, params=DareLinearParams, prepare=drop_and_rescale)
def dare_linear(task_vectors: TaskVectors, *, params: DareLinearParams, **_: Any) -> Float[Tensor, "*shape"]:
    """Drop entries at random and rescale, then task arithmetic."""
    return task_arithmetic(task_vectors, params=params)


@merge_method(
    "dare_ties", paper=_PAPER, params=DareTiesParams, prepare=drop_and_rescale, stream_statistics=ties_statistics
)
def dare_ties(task_vectors: TaskVectors, **keywords: Any) -> Float[Tensor, "*shape"]:
    """Drop entries at random and rescale, then TIES."""
    return ties(task_vectors, **keywords)
