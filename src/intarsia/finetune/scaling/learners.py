"""What is trained in a run of a sweep: a text classifier on an encoder, or a causal language model that answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Trainer, set_seed

from intarsia.data import ClassificationRow, TextToTextRow, check_labels
from intarsia.errors import ConfigError
from intarsia.finetune.examples import AnswerCollator, encode
from intarsia.finetune.scaling.lora import add_lora, keep_layers, without_dropout
from intarsia.finetune.training import ExpertTrainer
from intarsia.models import load_causal_lm, load_encoder
from intarsia.models.prompts import clip_text

Row = ClassificationRow | TextToTextRow
Example = Mapping[str, Any]

# For base models that were never taught a chat format.
_PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


class Learner(NamedTuple):
    """A model ready to be trained.

    Attributes:
        model: What the Trainer trains.
        head: The part that starts from random weights, if there is one.
        adapted: The peft model inside it, whose modules the internal metric looks into.
        base_parameters: Parameters of the base model.
        train: Training examples.
        held_out: Held-out examples.
        collate: Makes a batch of examples.
        trainer: Class of the Trainer.
    """

    model: nn.Module
    head: nn.Module | None
    adapted: Any
    base_parameters: int
    train: Sequence[Example]
    held_out: Sequence[Example]
    collate: Callable[[Sequence[Any]], dict[str, Tensor]]
    trainer: type[Trainer]


class EncoderClassifier(nn.Module):
    """An encoder, the mean of its last hidden states over real tokens, and a linear layer.

    Args:
        encoder: The encoder.
        labels: Number of labels.
        seed: Seed of the linear layer, which must not depend on what LoRA drew before.
    """

    def __init__(self, encoder: Any, labels: int, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        set_seed(seed)
        self.head = nn.Linear(encoder.config.hidden_size, labels)

    def forward(
        self,
        input_ids: Int[Tensor, "batch seq"],
        attention_mask: Int[Tensor, "batch seq"],
        labels: Int[Tensor, "batch"] | None = None,
    ) -> dict[str, Tensor]:
        """Returns `logits` `[batch, labels]`, and the mean cross-entropy as `loss` if labels are given."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled: Float[Tensor, "batch dim"] = (states * mask).sum(1) / mask.sum(1)
        logits = self.head(pooled.to(self.head.weight.dtype))
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def encoder_learner(
    ref: str,
    train: Sequence[Row],
    held_out: Sequence[Row],
    *,
    layers: int | None,
    rank: int,
    alpha: float,
    target_modules: Sequence[str],
    max_length: int,
    seed: int,
    dtype: torch.dtype,
) -> Learner:
    """A classifier on an encoder, of rows with labels.

    Raises:
        ConfigError: If the rows are not classification rows.
        DataError: If a held-out label was not seen in training.
    """
    if not all(isinstance(row, ClassificationRow) for row in (*train[:1], *held_out[:1])):
        raise ConfigError("schema", "text-to-text", f"'classification' for an encoder such as {ref}")
    labels = sorted({row.label for row in train})  # type: ignore[union-attr]
    held_out = list(check_labels(held_out, labels))  # type: ignore[arg-type]
    base, tokenizer = load_encoder(ref, dtype=dtype)
    if layers is not None:
        keep_layers(base, layers)
    without_dropout(base)
    parameters = sum(parameter.numel() for parameter in base.parameters())
    adapted = add_lora(base, rank, alpha, target_modules, seed, "FEATURE_EXTRACTION")

    def examples(rows: Sequence[Any]) -> list[Example]:
        ids = tokenizer([row.text for row in rows], truncation=True, max_length=max_length).input_ids
        return [{"input_ids": tokens, "labels": labels.index(row.label)} for tokens, row in zip(ids, rows, strict=True)]

    def collate(batch: Sequence[Any]) -> dict[str, Tensor]:
        padded = tokenizer.pad({"input_ids": [example["input_ids"] for example in batch]}, return_tensors="pt")
        return {
            "input_ids": padded["input_ids"],
            "attention_mask": padded["attention_mask"],
            "labels": torch.tensor([example["labels"] for example in batch]),
        }

    model = EncoderClassifier(adapted, len(labels), seed).to(base.device)
    return Learner(model, model.head, adapted, parameters, examples(train), examples(held_out), collate, Trainer)


def causal_learner(
    ref: str,
    train: Sequence[Row],
    held_out: Sequence[Row],
    *,
    layers: int | None,
    rank: int,
    alpha: float,
    target_modules: Sequence[str],
    max_length: int,
    seed: int,
    dtype: torch.dtype,
) -> Learner:
    """A causal language model that answers a prompt with the target, or a text with its label.

    Raises:
        DataError: If a target is empty.
    """
    base, tokenizer = load_causal_lm(ref, dtype=dtype)
    if layers is not None:
        keep_layers(base, layers)
    without_dropout(base)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = _PLAIN_TEMPLATE
    parameters = sum(parameter.numel() for parameter in base.parameters())
    adapted = add_lora(base, rank, alpha, target_modules, seed, "CAUSAL_LM")

    def examples(rows: Sequence[Row]) -> Sequence[Any]:
        return encode(tokenizer, [_as_prompt(row, tokenizer, max_length) for row in rows])

    return Learner(
        adapted, None, adapted, parameters, examples(train), examples(held_out), AnswerCollator(), ExpertTrainer
    )


def _as_prompt(row: Row, tokenizer: Any, max_length: int) -> TextToTextRow:
    prompt, target = (row.text, row.label) if isinstance(row, ClassificationRow) else (row.prompt, row.target)
    return TextToTextRow(prompt=clip_text(tokenizer, prompt, max_length), target=target, id=row.id)
