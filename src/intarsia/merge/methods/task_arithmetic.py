"""Task arithmetic: add up what each expert learned."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from intarsia.merge.methods.average import sum_of
from intarsia.merge.methods.registry import TaskVectors, check_number, merge_method


@dataclass(frozen=True)
class TaskArithmeticParams:
    """Settings of task arithmetic.

    Attributes:
        weight: gamma, the factor of the summed task vectors. Twin-Merging uses 0.29 for eight RoBERTa experts and 0.3
            for four Qwen LoRA experts.
    """

    weight: float = 0.3

    def __post_init__(self) -> None:
        check_number("weight", self.weight, -10, 10)


@merge_method(
    "task_arithmetic",
    paper="Ilharco et al., Editing models with task arithmetic, arXiv 2212.04089",
    params=TaskArithmeticParams,
)
def task_arithmetic(task_vectors: TaskVectors, *, params: TaskArithmeticParams, **_: Any) -> Float[Tensor, "*shape"]:
    """The sum of the task vectors, times one factor."""
    return sum_of(task_vectors).mul_(params.weight)
