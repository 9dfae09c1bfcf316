"""RegMean: the linear layers that best reproduce every expert's outputs on its own inputs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intarsia.errors import DataError
from intarsia.merge.methods.average import average
from intarsia.merge.methods.registry import TaskVectors, check_number, merge_method

# Added to the Gram matrices' diagonals, relative to their mean: inputs that never occur are then averaged.
_RIDGE = 1e-7


@dataclass(frozen=True)
class RegMeanParams:
    """Settings of RegMean.

    Attributes:
        off_diagonal: Factor of the Gram matrices' off-diagonal elements; the paper uses 0.9 to 1.0.
    """

    off_diagonal: float = 0.9

    def __post_init__(self) -> None:
        check_number("off_diagonal", self.off_diagonal, 0, 1)


@merge_method(
    "regmean",
    paper="Jin et al., Dataless knowledge fusion by merging weights (RegMean), arXiv 2212.09849, Eq. 3",
    params=RegMeanParams,
    data_statistics="the Gram matrices of its linear layers' inputs, by gram_matrices",
    whole_tensors=True,
)
def regmean(
    task_vectors: TaskVectors, *, params: RegMeanParams, statistics: Mapping[str, Float[Tensor, "n n"]], **_: Any
) -> Float[Tensor, "*shape"]:
    """The least-squares fit of all experts' linear layers on their own inputs; needs each expert's data.

    `W = (sum_t W_t G_t) (sum_t G_t)^-1` for a layer `y = W x` and `G_t = X_t^T X_t`. It is linear in the weights, so
    it holds for task vectors too. Other tensors are averaged.
    """
    if not statistics:
        return average(task_vectors)
    diagonals = torch.stack([statistics[name].diagonal() for name in task_vectors]).double()
    ridge = _RIDGE * diagonals.mean().clamp(min=torch.finfo(diagonals.dtype).tiny)
    grams = {name: _shrink(statistics[name].double(), params.off_diagonal, ridge) for name in task_vectors}
    total = torch.stack(list(grams.values())).sum(dim=0)
    targets = torch.stack([vector.double() @ grams[name] for name, vector in task_vectors.items()]).sum(dim=0)
    merged: Tensor = torch.linalg.solve(total, targets, left=False)
    return merged.to(next(iter(task_vectors.values())).dtype)


def _shrink(gram: Float[Tensor, "n n"], off_diagonal: float, ridge: Float[Tensor, ""]) -> Float[Tensor, "n n"]:
    return gram * off_diagonal + torch.diag(gram.diagonal() * (1 - off_diagonal) + ridge)


def gram_matrices(
    model: nn.Module, batches: Iterable[Mapping[str, Tensor]]
) -> dict[str, Float[Tensor, "inputs inputs"]]:
    """Returns `X^T X` of the inputs of every linear layer, per row of data, by the layer's weight name.

    Args:
        model: The expert, its adapter merged in so that its tensors have the base's names.
        batches: The expert's own data. Padded positions, where `attention_mask` is 0, do not count.

    Raises:
        DataError: If there are no batches.
    """
    model.eval()
    grams: dict[str, Tensor] = {}
    mask: Tensor | None = None

    def collect(key: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach()
        # Heads after pooling see one vector a row: the mask says nothing about those.
        x = x[mask] if mask is not None and x.shape[:-1] == mask.shape else x.flatten(0, -2)
        x = x.float() if x.dtype.itemsize < 4 else x
        grams[key] = grams.get(key, 0) + x.T @ x

    handles = [
        module.register_forward_pre_hook(partial(collect, f"{name}.weight"))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    rows = 0
    try:
        with torch.no_grad():
            for batch in batches:
                mask = batch["attention_mask"].bool() if "attention_mask" in batch else None
                rows += len(next(iter(batch.values())))
                model(**batch)
    finally:
        for handle in handles:
            handle.remove()
    if rows == 0:
        raise DataError("there are no rows to collect Gram matrices from", fix="give some of the expert's data")
    return {key: gram / rows for key, gram in grams.items()}
