"""Fisher merging: average each weight by how much the expert's predictions depend on it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intarsia.errors import ConfigError, DataError
from intarsia.merge.methods.average import average
from intarsia.merge.methods.registry import TaskVectors, merge_method


@dataclass(frozen=True)
class FisherParams:
    """Settings of Fisher merging.

    Attributes:
        floor: Least Fisher information of a weight, so that weights nothing depends on are averaged.
    """

    floor: float = 1e-6

    def __post_init__(self) -> None:
        if not 0 < self.floor < float("inf"):
            raise ConfigError("floor", self.floor, "a number above 0")


@merge_method(
    "fisher",
    paper="Matena and Raffel, Merging models with Fisher-weighted averaging, arXiv 2111.09832, Eq. 2",
    params=FisherParams,
    data_statistics="the diagonal of its Fisher information, by fisher_diagonal",
)
def fisher(
    task_vectors: TaskVectors, *, params: FisherParams, statistics: Mapping[str, Float[Tensor, "*shape"]], **_: Any
) -> Float[Tensor, "*shape"]:
    """The mean of the experts' weights, weighted by their diagonal Fisher information; needs each expert's data.

    Tensors without statistics (frozen ones) are averaged.
    """
    if not statistics:
        return average(task_vectors)
    information = {name: statistics[name].clamp(min=params.floor) for name in task_vectors}
    total = torch.stack(list(information.values())).sum(dim=0)
    merged = torch.zeros_like(total)
    for name, vector in task_vectors.items():
        # Divide first: squared gradients may be too small to multiply.
        merged += information[name] / total * vector
    return merged


def mean_loss(model: nn.Module, row: Mapping[str, Tensor]) -> Float[Tensor, ""]:
    """Returns the negative log-likelihood of one row's labels as a transformers model with `labels` computes it."""
    return model(**row).loss


def fisher_diagonal(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    *,
    negative_log_likelihood: Callable[[nn.Module, Mapping[str, Tensor]], Tensor] = mean_loss,
) -> dict[str, Float[Tensor, "..."]]:
    """Returns the diagonal of an expert's empirical Fisher information: the mean squared gradient of each row.

    Args:
        model: The expert, its adapter merged in so that its tensors have the base's names. Parameters that do not
            require a gradient are left out.
        batches: The expert's own data, labels included; rows are taken one by one.
        negative_log_likelihood: What to differentiate, from the model and one row.

    Raises:
        DataError: If there are no rows.
    """
    model.eval()
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    squares = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    rows = 0
    for batch in batches:
        for i in range(len(next(iter(batch.values())))):
            row = {name: values[i : i + 1] for name, values in batch.items()}
            loss = negative_log_likelihood(model, row)
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    squares[name].addcmul_(gradient, gradient)
            rows += 1
    if rows == 0:
        raise DataError(
            "there are no rows to estimate the Fisher information from", fix="give some of the expert's data"
        )
    return {name: square / rows for name, square in squares.items()}
