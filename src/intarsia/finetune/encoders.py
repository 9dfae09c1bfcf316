"""Encoder experts: an encoder fine-tuned in full with mean pooling and a linear head of the task's own.

The recipe is that of Twin-Merging's discriminative experts (arXiv 2406.15479): every task fine-tunes the
same encoder, heads are never merged. An expert's folder is an ordinary encoder checkpoint with its tokenizer and,
beside it, `head.safetensors`: `weight` and `bias`, and in the file's metadata `labels` (a JSON list) and `pooling`.
"""

import copy
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments, set_seed

from intarsia.data import ClassificationRow, ScoredTextRow, check_labels
from intarsia.errors import ConfigError, DataError
from intarsia.files import atomic_folder, write_json
from intarsia.finetune.runs import HISTORY, Progress, last_checkpoint, report_to_progress, run_settings
from intarsia.models import Encoder

TextRow: TypeAlias = ClassificationRow | ScoredTextRow

HEAD = "head.safetensors"
"""File of the head in an encoder expert's folder."""

SCORE = "score"
"""The only label of a head that predicts a number."""

_POOLING = "mean"


@dataclass(frozen=True)
class EncoderConfig:
    """How one encoder expert is trained.

    Attributes:
        epochs: Passes over the training rows.
        batch_size: Rows in one step.
        learning_rate: Peak learning rate of the encoder under AdamW; it falls linearly to 0. Twin-Merging's
            RoBERTa experts use 1e-5; small sentence encoders need more.
        head_learning_rate: The same of the head, which starts at random.
        freeze_embeddings: Whether embeddings stay as they are.
        max_length: Tokens kept of a text.
        seed: Seed of the head's initial weights, dropout and row order.
    """

    epochs: float = 4.0
    batch_size: int = 32
    learning_rate: float = 2e-4
    head_learning_rate: float = 5e-3
    freeze_embeddings: bool = True
    max_length: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "head_learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "above 0")
        for name in ("batch_size", "max_length"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "at least 1")

    def steps(self, rows: int) -> int:
        """Optimisation steps of a run on `rows` rows."""
        return math.ceil(math.ceil(rows / self.batch_size) * self.epochs)


class EncoderWithHead(nn.Module):
    """An encoder, the mean over its tokens' last states, and one linear layer.

    Args:
        encoder: As `AutoModel` gives it.
        outputs: Number of classes; 1 for a number.
    """

    def __init__(self, encoder: Any, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden_size, outputs)

    def forward(
        self, input_ids: Int[Tensor, "batch seq"], attention_mask: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch outputs"]:
        """Returns the head's outputs."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.head(mean_states(states, attention_mask))


def mean_states(
    states: Float[Tensor, "batch seq dim"], attention_mask: Int[Tensor, "batch seq"]
) -> Float[Tensor, "batch dim"]:
    """Returns the mean of each row's states over its tokens."""
    weights = attention_mask.to(states).unsqueeze(-1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


@dataclass
class EncoderTrainingArguments(TrainingArguments):
    """TrainingArguments with the defaults of encoder experts; every argument of transformers is there."""

    learning_rate: float = field(default=2e-4)
    head_learning_rate: float = field(default=5e-3, metadata={"help": "Peak learning rate of the linear head."})
    lr_scheduler_type: str = field(default="linear")
    weight_decay: float = field(default=0.0)
    train_sampling_strategy: str = field(default="group_by_length")
    remove_unused_columns: bool = field(default=False)
    label_names: Any = field(default_factory=lambda: ["labels"])
    report_to: Any = field(default="none")


class EncoderTrainer(Trainer):
    """Trains an `EncoderWithHead`: the head at its own learning rate; cross-entropy, or squared error for numbers."""

    optimizer: torch.optim.Optimizer | None

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Makes the optimiser with one group for the encoder and one for the head."""
        if self.optimizer is None:
            trained: Any = self.model if model is None else model
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, trained)
            decay = {"weight_decay": self.args.weight_decay}
            groups = [
                {"params": [p for p in trained.encoder.parameters() if p.requires_grad], **decay},
                {"params": list(trained.head.parameters()), "lr": self.args.head_learning_rate, **decay},
            ]
            self.optimizer = kind(groups, **settings)
        return self.optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        total = (
            F.mse_loss(outputs[:, 0].float(), labels, reduction="sum")
            if labels.is_floating_point()
            else F.cross_entropy(outputs.float(), labels, reduction="sum")
        )
        loss = total / (len(labels) if num_items_in_batch is None else num_items_in_batch)
        return (loss, {"logits": outputs}) if return_outputs else loss


class TextCollator:
    """Pads `input_ids` on the right and stacks labels: `input_ids` and `attention_mask` `[batch, seq]`, `labels`.

    Args:
        pad_token_id: What to pad with.
    """

    def __init__(self, pad_token_id: int) -> None:
        self._pad = pad_token_id

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        longest = max(len(example["input_ids"]) for example in examples)
        ids = torch.full((len(examples), longest), self._pad)
        mask = torch.zeros_like(ids)
        for row, example in enumerate(examples):
            ids[row, : len(example["input_ids"])] = torch.tensor(example["input_ids"])
            mask[row, : len(example["input_ids"])] = 1
        batch = {"input_ids": ids, "attention_mask": mask}
        if "label" in examples[0]:
            batch["labels"] = torch.tensor([example["label"] for example in examples])
        return batch


def train_encoder_expert(
    base: Encoder,
    rows: Sequence[TextRow],
    config: EncoderConfig,
    output: str | Path,
    *,
    labels: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fine-tunes an encoder on `rows` and saves it with its head and its training log.

    An interrupted call resumes from its last epoch when it is made again with the same arguments.

    Args:
        base: The encoder and its tokenizer. The model is left as it was.
        rows: Texts with labels, or with numbers to predict.
        config: How to train.
        output: Folder of the expert; written whole or not at all.
        labels: Names of the classes in the order of the head's outputs; by default those of the rows, sorted.
        progress: Called with 1 after every step; at once with the steps of a resumed run that were done before.

    Returns:
        `output`.

    Raises:
        DataError: If there are no rows, a text has no tokens, or a label is not among `labels`.
    """
    output = Path(output)
    work = output.with_name(f".{output.name}.training")
    names = label_names(rows) if labels is None else tuple(labels)
    examples = encode_texts(base.tokenizer, rows, names, max_length=config.max_length)
    # The head's initial weights come from the global generator.
    set_seed(config.seed)
    model = EncoderWithHead(copy.deepcopy(base.model), len(names)).to(base.model.device)
    # A pooler has no part in the mean, so it would get no gradient; frozen, it is not in the optimiser either.
    frozen = [getattr(model.encoder, "pooler", None), model.encoder.embeddings if config.freeze_embeddings else None]
    for module in frozen:
        if module is not None:
            module.requires_grad_(False)
    trainer = _trainer(model, examples, base.tokenizer.pad_token_id, config, work, progress)
    trainer.train(resume_from_checkpoint=last_checkpoint(work))
    with atomic_folder(output, overwrite=True) as folder:
        model.encoder.save_pretrained(folder)
        base.tokenizer.save_pretrained(folder)
        head = {name: tensor.detach().cpu().contiguous() for name, tensor in model.head.state_dict().items()}
        save_file(head, folder / HEAD, metadata={"labels": json.dumps(names), "pooling": _POOLING})
        write_json(folder / HISTORY, {"config": asdict(config), "log": trainer.state.log_history})
    shutil.rmtree(work, ignore_errors=True)
    return output


def label_names(rows: Sequence[TextRow]) -> tuple[str, ...]:
    """Returns the labels of rows, sorted; `("score",)` for rows with numbers."""
    return tuple(sorted({row.label if isinstance(row, ClassificationRow) else SCORE for row in rows}))


def encode_texts(
    tokenizer: Any,
    rows: Sequence[TextRow],
    labels: Sequence[str],
    *,
    max_length: int,
) -> list[dict[str, Any]]:
    """Tokenises rows: `input_ids`, and `label`, the index of the row's label among `labels` or its number.

    Raises:
        DataError: If there are no rows, a text has no tokens, or a label is not among `labels`.
    """
    if not rows:
        raise DataError("there are no rows")
    known = {label: index for index, label in enumerate(labels)}
    texts = tokenizer([row.text for row in rows], truncation=True, max_length=max_length).input_ids
    for row, ids in zip(rows, texts, strict=True):
        if not ids:
            raise DataError(f"the text {row.text!r} has no tokens", file=f"row {row.id}", field="text")
    classified = [row for row in rows if isinstance(row, ClassificationRow)]
    for _ in check_labels(classified, known):
        pass
    return [
        {"input_ids": ids, "label": known[row.label] if isinstance(row, ClassificationRow) else float(row.score)}
        for row, ids in zip(rows, texts, strict=True)
    ]


def _trainer(
    model: nn.Module,
    examples: list[dict[str, Any]],
    pad_token_id: int,
    config: EncoderConfig,
    work: Path,
    progress: Progress | None,
) -> EncoderTrainer:
    arguments = EncoderTrainingArguments(**run_settings(work, config), head_learning_rate=config.head_learning_rate)
    trainer = EncoderTrainer(
        model=model, args=arguments, train_dataset=examples, data_collator=TextCollator(pad_token_id)
    )
    report_to_progress(trainer, progress)
    return trainer
