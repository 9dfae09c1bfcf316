"""Classification heads: never merged, one per expert, run on the merged encoder's output."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

# Not the Auto classes by name: loading those imports this module (see intarsia._auto_classes).
import transformers
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from intarsia.errors import ConfigError, ModelError
from intarsia.merge.router import pool_states

_FILE = "head.safetensors"


@dataclass(frozen=True)
class Head:
    """One expert's classification head.

    Attributes:
        labels: Names of its classes, in the order of its outputs.
        state: Its tensors: `weight` and `bias` of one linear layer, or, with `config`, those of the architecture's
            own head by their names in the checkpoint.
        pooling: What the linear layer reads: the mean over tokens or the first token's state.
        config: The config of the expert's `...ForSequenceClassification` model, if it has the architecture's own head.
    """

    labels: tuple[str, ...]
    state: Mapping[str, Tensor] = field(repr=False)
    pooling: Literal["mean", "first"] = "mean"
    config: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.pooling not in ("mean", "first"):
            raise ConfigError("pooling", self.pooling, "'mean' or 'first'")

    def spec(self) -> dict[str, Any]:
        """What rebuilds the head without its weights."""
        return {
            "labels": list(self.labels),
            "pooling": self.pooling,
            "config": dict(self.config) if self.config else None,
        }


def read_linear_head(folder: Path) -> Head | None:
    """Reads the linear head that `intarsia.finetune.train_encoder_expert` saves beside an encoder, if there is one.

    It is a file `head.safetensors` with `weight` and `bias`, its metadata `labels` (a JSON list) and `pooling`.

    Raises:
        ModelError: If the file is damaged, or lacks one of these.
    """
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        labels = tuple(json.loads(metadata["labels"]))
        fits = {name: len(tensor) for name, tensor in state.items()} == {"weight": len(labels), "bias": len(labels)}
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"the classification head cannot be read: {error}", where=path) from error
    if not fits:
        raise ModelError(f"the classification head's tensors do not fit its {len(labels)} labels", where=path)
    return Head(labels, state, pooling=metadata.get("pooling", "mean"))


class LinearHead(nn.Module):
    """One linear layer on pooled states.

    Args:
        inputs: Width of the states.
        labels: Number of classes.
        pooling: `"mean"` or `"first"`.
    """

    def __init__(self, inputs: int, labels: int, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.weight = nn.Parameter(torch.zeros(labels, inputs))
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(
        self, outputs: Any, mask: Int[Tensor, "batch seq"], rows: Int[Tensor, "rows"]
    ) -> Float[Tensor, "rows labels"]:
        """Returns the logits of some rows of an encoder's output."""
        states = outputs.last_hidden_state[rows]
        pooled = states[:, 0] if self.pooling == "first" else pool_states(states, mask[rows].bool(), "mean")
        return torch.nn.functional.linear(pooled, self.weight, self.bias)


class ArchitectureHead(nn.Module):
    """The head of a `...ForSequenceClassification` architecture, whose encoder is replaced by its output.

    Args:
        config: Of the expert.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        device = torch.empty(0).device
        with torch.device("meta"):
            # In the dtype of the model it becomes a part of, whatever the expert's was.
            model = transformers.AutoModelForSequenceClassification.from_config(
                transformers.AutoConfig.for_model(**config), dtype=torch.get_default_dtype()
            )
        setattr(model, model.base_model_prefix, _Given())
        self.model = model.to_empty(device=device)

    def forward(
        self, outputs: Any, mask: Int[Tensor, "batch seq"], rows: Int[Tensor, "rows"]
    ) -> Float[Tensor, "rows labels"]:
        """Returns the logits of some rows of an encoder's output."""
        pooler = getattr(outputs, "pooler_output", None)
        selected = BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state[rows],
            pooler_output=None if pooler is None else pooler[rows],
        )
        return self.model(input_ids=selected, attention_mask=mask[rows]).logits


class _Given(nn.Module):
    """Stands in for the encoder: what is passed as tokens is its output already."""

    def forward(self, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        return input_ids


def build_head(spec: Mapping[str, Any], inputs: int) -> LinearHead | ArchitectureHead:
    """Builds an empty head from what `Head.spec` returned."""
    if spec["config"] is not None:
        return ArchitectureHead(spec["config"])
    return LinearHead(inputs, len(spec["labels"]), spec["pooling"])
