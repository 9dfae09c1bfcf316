"""Plain averaging of the experts' weights."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from intarsia.merge.methods.registry import TaskVectors, merge_method


@merge_method("average", paper="Wortsman et al., Model soups, arXiv 2203.05482")
def average(task_vectors: TaskVectors, **_: Any) -> Float[Tensor, "*shape"]:
    """The mean of the experts' weights."""
    return sum_of(task_vectors).div_(len(task_vectors))


def sum_of(task_vectors: TaskVectors) -> Float[Tensor, "*shape"]:
    """Returns the sum of all task vectors, in a new tensor."""
    vectors = iter(task_vectors.values())
    total = next(vectors).clone()
    for vector in vectors:
        total.add_(vector)
    return total
