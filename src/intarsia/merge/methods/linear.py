"""Weighted averaging of the experts' weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from intarsia.errors import ConfigError, UnknownNameError
from intarsia.merge.methods.registry import TaskVectors, merge_method


@dataclass(frozen=True)
class LinearParams:
    """Settings of the weighted average.

    Attributes:
        weights: Weight of each expert, by name; 1 for those not named. They are divided by their sum.
    """

    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if not math.isfinite(weight):
                raise ConfigError(f"weights.{name}", weight, "a finite number")


@merge_method("linear", paper="Wortsman et al., Model soups, arXiv 2203.05482", params=LinearParams)
def linear(task_vectors: TaskVectors, *, params: LinearParams, **_: Any) -> Float[Tensor, "*shape"]:
    """The weighted mean of the experts' weights.

    Raises:
        UnknownNameError: If a weight is given for no expert.
        ConfigError: If the weights sum to 0.
    """
    for name in params.weights:
        if name not in task_vectors:
            raise UnknownNameError("expert", name, task_vectors, where="weights")
    weights = {name: params.weights.get(name, 1.0) for name in task_vectors}
    total = sum(weights.values())
    if total == 0:
        raise ConfigError("weights", weights, "such that their sum is not 0")
    return weighted_sum(task_vectors, {name: weight / total for name, weight in weights.items()})


def weighted_sum(
    task_vectors: TaskVectors, weights: Mapping[str, float | Float[Tensor, ""]]
) -> Float[Tensor, "*shape"]:
    """Returns the sum of the task vectors, each times the weight of the same name."""
    items = iter(task_vectors.items())
    name, vector = next(items)
    total = vector * weights[name]
    for name, vector in items:
        total += vector * weights[name]
    return total
