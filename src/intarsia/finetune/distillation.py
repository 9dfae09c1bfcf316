"""A small sibling of a model: some of its layers, taught to say again what the whole model says.

Weak-to-strong fusion needs a small base that shares the large model's vocabulary and much of its prior. Where a family
has no small member, this makes one.
"""

import copy
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer, TrainingArguments, set_seed

from intarsia.errors import ConfigError, DataError
from intarsia.files import atomic_folder, write_json
from intarsia.finetune.runs import (
    HISTORY,
    Progress,
    keep_only_if_same,
    last_checkpoint,
    report_to_progress,
    run_settings,
)
from intarsia.models import CausalLM
from intarsia.models.lower_states import batches_by_length, decoder_layers, pad_left, weights_digest
from intarsia.models.progress_bars import without_progress_bars
from intarsia.models.scoring import position_ids


@dataclass(frozen=True)
class DistillationConfig:
    """How a student learns a teacher's next-token distributions.

    Attributes:
        positions: Where: at `all` tokens of a text, or only where the `answer` is written: after a prompt, and within
            its continuation if one is given.
        epochs: Passes over the texts.
        batch_size: Texts in one step.
        learning_rate: Peak learning rate of AdamW; linear decay.
        max_grad_norm: Norm gradients are clipped at.
        train_embeddings: Whether embedding and head learn too. If not, they stay the teacher's and can be shared.
        seed: Seed of the order of texts.
    """

    positions: Literal["all", "answer"] = "all"
    epochs: float = 1.0
    batch_size: int = 12
    learning_rate: float = 5e-4
    max_grad_norm: float = 1.0
    train_embeddings: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.positions not in ("all", "answer"):
            raise ConfigError("positions", self.positions, "'all' or 'answer'")
        if self.batch_size < 1:
            raise ConfigError("batch_size", self.batch_size, "at least 1")
        for name in ("epochs", "learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "above 0")


@dataclass
class DistillationArguments(TrainingArguments):
    """TrainingArguments with the defaults of a short distillation; every argument of transformers is there."""

    lr_scheduler_type: str = field(default="linear")
    weight_decay: float = field(default=0.0)
    train_sampling_strategy: str = field(default="group_by_length")
    remove_unused_columns: bool = field(default=False)
    report_to: Any = field(default="none")


class DistillationTrainer(Trainer):
    """Minimises `KL(teacher || student)` in nats per token.

    Batches have `input_ids`, `attention_mask`, `position_ids`, and `learnt`, a mask over the last positions; those are
    the ones that are compared. With `teacher_states`, the teacher's final states there, the teacher does not run.

    Args:
        teacher: The model to follow; not trained.
        **kwargs: As for `transformers.Trainer`.
    """

    def __init__(self, teacher: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.teacher = teacher.eval()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        options: dict[str, Any] = dict(inputs)
        learnt, states = options.pop("learnt"), options.pop("teacher_states", None)
        options |= {"use_cache": False, "logits_to_keep": learnt.shape[1]}
        with torch.no_grad():
            target = self.teacher(**options).logits if states is None else self.teacher.get_output_embeddings()(states)
        outputs = model(**options)
        loss = distillation_loss(outputs.logits, target, learnt)
        return (loss, {"logits": outputs.logits}) if return_outputs else loss


def distillation_loss(
    student: Float[Tensor, "batch seq vocab"],
    teacher: Float[Tensor, "batch seq vocab"],
    mask: Int[Tensor, "batch seq"],
) -> Float[Tensor, ""]:
    """Returns the mean of `KL(teacher || student)` over the tokens of the mask, in nats."""
    chosen = mask.bool()
    return nn.functional.kl_div(
        student[chosen].float().log_softmax(-1),
        teacher[chosen].float().log_softmax(-1),
        log_target=True,
        reduction="batchmean",
    )


def keep_layers(model: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    """Returns a copy of a causal model with some of its decoder layers; embedding, norm and head stay.

    Args:
        model: The whole model; unchanged.
        layers: Which layers, in the order they are to run.

    Raises:
        ConfigError: If there are none, or the model has no such layer.
    """
    stack = decoder_layers(model)
    if not layers:
        raise ConfigError("layers", list(layers), "at least one layer")
    for index in layers:
        if not 0 <= index < len(stack):
            raise ConfigError("layers", index, f"from 0 to {len(stack) - 1}")
    config = copy.deepcopy(model.config)
    text: Any = config.get_text_config()
    text.num_hidden_layers = len(layers)
    if getattr(text, "layer_types", None):
        text.layer_types = [text.layer_types[index] for index in layers]
    small = type(model)(config).to(device=model.device, dtype=model.dtype)
    own: Any = decoder_layers(small)
    small.load_state_dict(
        {name: tensor for name, tensor in model.state_dict().items() if ".layers." not in name}, strict=False
    )
    for layer, index in zip(own, layers, strict=True):
        layer.load_state_dict(stack[index].state_dict())
    small.generation_config = copy.deepcopy(model.generation_config)
    return small.eval()


def distill(
    student: PreTrainedModel,
    teacher: CausalLM,
    texts: Sequence[str],
    config: DistillationConfig,
    output: str | Path,
    *,
    continuations: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Trains `student` on what the teacher would say after the tokens of `texts`, and saves it as a model folder.

    An interrupted call resumes from its last epoch when it is made again with the same settings and texts.

    Args:
        student: A model with the teacher's vocabulary, e.g. of `keep_layers`; trained in place.
        teacher: The model to follow, and the tokenizer of both.
        texts: Unlabelled texts or rendered prompts.
        config: How to train.
        output: Folder of the student, with the tokenizer; written whole or not at all.
        continuations: What may follow each text. Any answers that could be given will do, they need not be right.
        progress: Called with 1 after every step.

    Returns:
        `output`.

    Raises:
        DataError: If there are no texts, or not as many continuations.
    """
    rows = _rows(teacher.tokenizer, texts, continuations, config.positions)
    output = Path(output)
    work = output.with_name(f".{output.name}.training")
    models = [weights_digest(student), weights_digest(teacher.model)]
    job = [(row["input_ids"], row["learnt"]) for row in rows]
    keep_only_if_same(work, {"config": asdict(config), "models": models, "rows": job})
    set_seed(config.seed)
    frozen = [] if config.train_embeddings else list(student.get_input_embeddings().parameters())
    if not config.train_embeddings and student.get_output_embeddings() is not None:
        frozen += list(student.get_output_embeddings().parameters())
    for parameter in frozen:
        parameter.requires_grad_(False)
    arguments = DistillationArguments(**run_settings(work, config), max_grad_norm=config.max_grad_norm)
    trainer = DistillationTrainer(
        teacher.model,
        model=student,
        args=arguments,
        train_dataset=with_teacher_states(teacher.model, rows),
        data_collator=_pad_rows,
    )
    report_to_progress(trainer, progress)
    try:
        with without_progress_bars():
            trainer.train(resume_from_checkpoint=last_checkpoint(work))
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    with atomic_folder(output, overwrite=True) as folder, without_progress_bars():
        student.eval().save_pretrained(folder)
        teacher.tokenizer.save_pretrained(folder)
        write_json(folder / HISTORY, {"config": asdict(config), "log": trainer.state.log_history})
    shutil.rmtree(work, ignore_errors=True)
    return output


class Row(TypedDict):
    """One tokenised text.

    Attributes:
        input_ids: Its tokens, with all of the continuation's but the last.
        learnt: At how many of the last positions the student learns.
        teacher_states: The teacher's final states there, `[learnt, dim]`, if the teacher is to run only once.
    """

    input_ids: list[int]
    learnt: int
    teacher_states: NotRequired[Tensor]


def _rows(tokenizer: Any, texts: Sequence[str], continuations: Sequence[str] | None, positions: str) -> list[Row]:
    if continuations is not None and len(continuations) != len(texts):
        raise DataError(f"there are {len(texts)} texts, but {len(continuations)} continuations")
    starts = tokenizer(list(texts), add_special_tokens=False).input_ids if texts else []
    ends: list[list[int]] = [[] for _ in starts]
    if continuations is not None:
        ends = [
            [*ids, tokenizer.eos_token_id] for ids in tokenizer(list(continuations), add_special_tokens=False).input_ids
        ]
    rows = [
        Row(
            input_ids=[*start, *end[:-1]], learnt=len(start) + len(end[:-1]) if positions == "all" else max(len(end), 1)
        )
        for start, end in zip(starts, ends, strict=True)
        if start
    ]
    if not rows:
        raise DataError("there are no texts to distil on")
    return rows


@torch.no_grad()
def with_teacher_states(teacher: Any, rows: Sequence[Row], *, tokens_per_batch: int = 2048) -> list[Row]:
    """Adds the teacher's final states to rows, so that it runs once however many epochs there are.

    Leaves the rows as they are if the teacher's logits are more than its head applied to these states.

    Args:
        teacher: The model to follow.
        rows: Tokenised texts.
        tokens_per_batch: Tokens run at once.
    """
    probe = torch.tensor([rows[0]["input_ids"]], device=teacher.device)
    head = teacher.get_output_embeddings()
    if head is None or not torch.allclose(
        head(teacher.base_model(input_ids=probe).last_hidden_state), teacher(input_ids=probe).logits, atol=1e-4
    ):
        return list(rows)
    found = list(rows)
    for batch in batches_by_length([len(row["input_ids"]) for row in rows], tokens_per_batch):
        padded = _pad_rows([rows[index] for index in batch])
        del padded["learnt"]
        states = teacher.base_model(
            **{name: value.to(teacher.device) for name, value in padded.items()}, use_cache=False
        ).last_hidden_state.cpu()
        for place, index in enumerate(batch):
            row = rows[index]
            found[index] = {**row, "teacher_states": states[place, -row["learnt"] :].clone()}
    return found


def _pad_rows(rows: Sequence[Row]) -> dict[str, Tensor]:
    ids, mask = pad_left([torch.tensor(row["input_ids"]) for row in rows])
    _, learnt = pad_left([torch.ones(row["learnt"]) for row in rows])
    batch = {"input_ids": ids, "attention_mask": mask, "position_ids": position_ids(mask), "learnt": learnt}
    if all("teacher_states" in row for row in rows):
        batch["teacher_states"], _ = pad_left([row["teacher_states"] for row in rows])
    return batch
