"""The Trainer of LoRA experts: the language-model head runs at answer positions only."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from intarsia.finetune.examples import IGNORED


@dataclass
class ExpertTrainingArguments(TrainingArguments):
    """TrainingArguments with the defaults of a short LoRA run; every argument of transformers is there."""

    lr_scheduler_type: str = field(default="linear")
    warmup_steps: float = field(default=0.05, metadata={"help": "Warm-up: a share of all steps below 1, else steps."})
    weight_decay: float = field(default=0.0)
    train_sampling_strategy: str = field(default="group_by_length")
    remove_unused_columns: bool = field(default=False)
    report_to: Any = field(default="none")


class ExpertTrainer(Trainer):
    """Trains on batches of `AnswerCollator`.

    A vocabulary of tens of thousands makes the head cost more than the layers, yet only answer positions carry loss:
    `logits_to_keep` computes it there and nowhere else, with the same loss and gradients.
    """

    loss_is_scaled_for_ga = True

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        inputs = dict(inputs)
        labels = inputs.pop("shift_labels")
        inputs.pop("labels", None)
        outputs = model(**inputs, logits_to_keep=labels.shape[1], use_cache=False)
        total = nn.functional.cross_entropy(
            outputs.logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        count = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = total / count
        return (loss, {"logits": outputs.logits}) if return_outputs else loss
