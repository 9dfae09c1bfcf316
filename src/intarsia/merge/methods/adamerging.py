"""AdaMerging: task arithmetic whose coefficients make the merged model sure of itself on unlabelled data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from intarsia.errors import ConfigError, DataError, ModelError
from intarsia.merge.methods.linear import weighted_sum
from intarsia.merge.methods.registry import Place, TaskVectors, merge_method


@dataclass(frozen=True)
class AdaMergingParams:
    """How coefficients are learned; merging with learned ones needs no settings.

    Attributes:
        granularity: One coefficient per expert and tensor (`"layer"`, the paper's layer-wise) or per expert (`"task"`).
        initial: Value all coefficients start from.
        learning_rate: Of Adam.
        steps: Number of steps; each sees one batch of every task.
    """

    granularity: Literal["layer", "task"] = "layer"
    initial: float = 0.3
    learning_rate: float = 1e-3
    steps: int = 500

    def __post_init__(self) -> None:
        if self.granularity not in ("layer", "task"):
            raise ConfigError("granularity", self.granularity, "'layer' or 'task'")
        if not self.learning_rate > 0:
            raise ConfigError("learning_rate", self.learning_rate, "above 0")
        if self.steps < 1:
            raise ConfigError("steps", self.steps, "at least 1")


@merge_method(
    "adamerging",
    paper="Yang et al., AdaMerging: adaptive model merging for multi-task learning, arXiv 2310.02575",
    params=AdaMergingParams,
    data_statistics="its coefficients, by adamerging_coefficients",
)
def adamerging(
    task_vectors: TaskVectors, *, statistics: Mapping[str, Float[Tensor, ""]], place: Place, **_: Any
) -> Float[Tensor, "*shape"]:
    """The task vectors' sum with learned coefficients; needs some unlabelled inputs of each expert's task.

    Raises:
        ModelError: If a tensor has no coefficients.
    """
    if not statistics:
        raise ModelError(
            "there are no coefficients for this tensor", where=place.key, fix="learn them for every tensor"
        )
    return weighted_sum(task_vectors, statistics)


# From a task's name, the merged weights and a batch of that task: logits of the classes, or of the next token.
Predict = Callable[[str, Mapping[str, Tensor], Mapping[str, Tensor]], Float[Tensor, "batch classes"]]


def predict_with(model: nn.Module) -> Predict:
    """Returns a `Predict` that runs `model` with the merged weights: class logits, or those of the next token.

    For token-level logits the last position counts, which left padding makes the last token of each row.
    """

    def predict(_task: str, weights: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = functional_call(model, dict(weights), kwargs=dict(batch)).logits
        return logits[:, -1] if logits.dim() == 3 else logits

    return predict


def adamerging_coefficients(
    predict: Predict,
    base: Mapping[str, Tensor],
    task_vectors: Mapping[str, Mapping[str, Tensor]],
    batches: Mapping[str, Sequence[Mapping[str, Tensor]]],
    params: AdaMergingParams | None = None,
    *,
    on_step: Callable[[float], None] | None = None,
) -> dict[str, dict[str, Float[Tensor, ""]]]:
    """Learns coefficients in [0, 1] that minimise the mean entropy of the merged model's predictions.

    Args:
        predict: Runs the merged model; `predict_with(model)` unless tasks have heads of their own.
        base: The base's tensors that any expert changes.
        task_vectors: By expert, then tensor; an expert that does not change a tensor may lack it.
        batches: Unlabelled batches of each task, by its name; gone through in turn.
        params: How they are learned; the paper's settings by default.
        on_step: Called after each step with the sum of the tasks' entropies before it.

    Returns:
        Coefficients by expert and tensor, as `merge_state(..., "adamerging", statistics=...)` takes them.

    Raises:
        DataError: If a task has no batches.
    """
    params = params or AdaMergingParams()
    for task, given in batches.items():
        if not given:
            raise DataError(f"task {task!r} has no unlabelled data to learn coefficients from")
    names = sorted(task_vectors)
    keys = sorted({key for vector in task_vectors.values() for key in vector})
    columns = len(keys) if params.granularity == "layer" else 1
    raw = nn.Parameter(torch.full((len(names), columns), params.initial))
    optimizer = torch.optim.Adam([raw], lr=params.learning_rate)
    for step in range(params.steps):
        bounded = raw.clamp(0, 1)
        weights = {key: base[key] for key in base}
        for j, key in enumerate(keys):
            for i, name in enumerate(names):
                if key in task_vectors[name]:
                    weights[key] = weights[key] + bounded[i, j % columns] * task_vectors[name][key]
        entropies = [mean_entropy(predict(task, weights, given[step % len(given)])) for task, given in batches.items()]
        optimizer.zero_grad()
        total = torch.stack(entropies).sum()
        torch.autograd.backward(total)
        optimizer.step()
        if on_step is not None:
            on_step(total.item())
    learned = raw.detach().clamp(0, 1)
    return {name: {key: learned[i, j % columns].clone() for j, key in enumerate(keys)} for i, name in enumerate(names)}


def mean_entropy(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, ""]:
    """Returns the mean entropy, in nats, of the distributions given by `logits`."""
    log_p = logits.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1).mean()
