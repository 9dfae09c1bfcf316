"""Teaching a compressed model what the original knows, in two stages, on the Hugging Face Trainer.

Stage 1 matches the embedding's rows and the hidden states; stage 2 the output distribution, and predicts the text.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.pytorch_utils import Conv1D

from intarsia.compress.compressing import embedding_of
from intarsia.compress.evaluating import text_quality
from intarsia.compress.modeling import CompressedForCausalLM
from intarsia.compress.progress import Progress
from intarsia.compress.registry import Method
from intarsia.compress.stages import distillation_loss, row_error, state_error
from intarsia.compress.stages_config import StagesConfig
from intarsia.compress.teacher_states import TeacherStates, matched_layers, states_of, store_teacher_states
from intarsia.compress.texts import check_length, token_rows
from intarsia.errors import IntarsiaError, ModelError
from intarsia.files import atomic_file, read_json, work_folder, write_json
from intarsia.models import CausalLM
from intarsia.models.lower_states import decoder_layers, weights_digest
from intarsia.models.progress_bars import without_progress_bars

_LEARNT = "learnt.safetensors"
_CURVE = "curve.json"


@dataclass(frozen=True)
class CurvePoint:
    """The state of training after some steps.

    Attributes:
        stage: 1 or 2; 0 before training.
        step: Steps done in both stages together.
        loss: Training loss of the stage, averaged since the last point; None before training.
        held_out_ce: Cross-entropy on held-out text in nats a token; None if there is none.
    """

    stage: int
    step: int
    loss: float | None
    held_out_ce: float | None


def train_stages(
    student: CompressedForCausalLM,
    teacher: CausalLM,
    texts: Sequence[str],
    config: StagesConfig | None = None,
    *,
    held_out: Sequence[str] = (),
    held_out_rows: int = 8,
    points: int = 5,
    work: str | Path | None = None,
    progress: Progress | None = None,
) -> list[CurvePoint]:
    """Runs stages 1 and 2, training the student in place.

    Args:
        student: The compressed model.
        teacher: The original and its tokenizer.
        texts: Text to learn on, in order; cut into rows of `config.length` tokens, of which the first are used.
        config: How to train; `state_steps` and `distil_steps` say for how long.
        held_out: Text on which cross-entropy is measured along the way.
        held_out_rows: How many rows of it.
        points: At how many steps of each stage, evenly spaced and with the last, the curve has a point.
        work: Folder for the teacher's states, which all students of one teacher share, and for checkpoints, from
            which an interrupted call goes on when it is made again. By default neither is kept.
        progress: Called with the number of steps done since the last call.

    Returns:
        The learning curve, beginning with the untrained student.

    Raises:
        ModelError: If the method has nothing that learns, or teacher and student do not go together.
        DataError: If there is less text than one row.
        InputError: If rows are longer than the model reads.
        IntarsiaError: If the loss becomes NaN.
    """
    config = config or StagesConfig()
    _check(student, teacher, config)
    rows = token_rows(teacher.tokenizer, texts, config.length, limit=max(config.rows, 1))
    probe = token_rows(teacher.tokenizer, held_out, config.length, limit=held_out_rows) if held_out else None
    with work_folder(work) as folder:
        states = _states(teacher, rows, config, folder) if config.steps else None
        job = _job_key(student, config, rows, probe, points)
        curve = [CurvePoint(0, 0, None, _held_out_ce(student, probe))]
        for stage, steps in ((1, config.state_steps), (2, config.distil_steps)):
            if steps and states is not None:
                run = _Stage(student, teacher.model, rows, states, probe, config, stage, points)
                curve += run.train(folder / f"{job}-stage-{stage}", progress)
        if work is not None:
            for done in folder.glob(f"{job}-stage-*"):
                shutil.rmtree(done)
    student.eval()
    return curve


def stages_for(method: Method, config: StagesConfig | None) -> StagesConfig | None:
    """Returns the stages that can teach a model compressed by a method.

    An embedding of few bits has nothing that learns; LoRA in stage 2 can still let the layers follow.

    Args:
        method: The method.
        config: The stages asked for.

    Returns:
        All of them, stage 2 alone, or None if nothing would learn.
    """
    if config is None or not config.steps:
        return None
    if method.trains:
        return config
    return replace(config, state_steps=0) if config.lora_rank and config.distil_steps else None


def prepare_states(
    teacher: CausalLM,
    texts: Sequence[str],
    config: StagesConfig,
    work: str | Path,
    progress: Progress | None = None,
) -> None:
    """Computes what `train_stages` needs of the teacher, which otherwise it does itself, without a sign of life.

    Args:
        teacher: The original and its tokenizer.
        texts: Text to learn on.
        config: How students will be trained.
        work: The folder `train_stages` will be given.
        progress: Called with the number of rows done since the last call.
    """
    rows = token_rows(teacher.tokenizer, texts, config.length, limit=max(config.rows, 1))
    _states(teacher, rows, config, Path(work), progress)


def _states(
    teacher: CausalLM, rows: Tensor, config: StagesConfig, work: Path, progress: Progress | None = None
) -> TeacherStates:
    layers = matched_layers(teacher.model, config.matched_layers)
    return store_teacher_states(teacher.model, rows, layers, work / "states", progress=progress)


@dataclass
class StageArguments(TrainingArguments):
    """TrainingArguments with the defaults of a stage; every argument of transformers is there."""

    lr_scheduler_type: str = field(default="linear")
    warmup_steps: float = field(default=0.1, metadata={"help": "Warm-up: a share of all steps below 1, else steps."})
    weight_decay: float = field(default=0.0)
    remove_unused_columns: bool = field(default=False)
    report_to: Any = field(default="none")


class StageTrainer(Trainer):
    """Minimises a stage's loss over those weights that learn, each with a rate in proportion to its size.

    Checkpoints hold these weights only: the model's others do not change.

    Args:
        loss_of: Computes the loss of a batch at a step.
        lora_learning_rate: Of LoRA's factors, which begin at zero and so have no size.
        **kwargs: As for `transformers.Trainer`.
    """

    def __init__(
        self,
        loss_of: Callable[[nn.Module, Mapping[str, Tensor], int], Tensor],
        lora_learning_rate: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.loss_of = loss_of
        self.lora_learning_rate = lora_learning_rate

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        loss = self.loss_of(model, inputs, self.state.global_step)
        if not bool(torch.isfinite(loss.detach())):
            raise IntarsiaError("the training loss is not a number any more", fix="lower the learning rate")
        return (loss, {}) if return_outputs else loss

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Makes Adam with a learning rate for each tensor."""
        if self.optimizer is None:  # type: ignore[has-type]
            groups = [
                {"params": [parameter], "lr": self._rate(name, parameter)}
                for name, parameter in self.model.named_parameters()
                if parameter.requires_grad
            ]
            self.optimizer = torch.optim.AdamW(groups, weight_decay=self.args.weight_decay)
        return self.optimizer

    def _rate(self, name: str, parameter: nn.Parameter) -> float:
        if "lora_" in name:
            return self.lora_learning_rate
        size = float(parameter.detach().square().mean().sqrt())
        return self.args.learning_rate * (size or parameter.shape[-1] ** -0.5)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(learnt(self.model), folder / _LEARNT)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        restore_learnt(self.model if model is None else model, Path(resume_from_checkpoint) / _LEARNT)


def learnt(model: nn.Module) -> dict[str, Tensor]:
    """Returns the weights of a model that learn, by name."""
    return {
        name: parameter.detach().contiguous() for name, parameter in model.named_parameters() if parameter.requires_grad
    }


def restore_learnt(model: nn.Module, file: Path) -> None:
    """Fills in what `learnt` gave."""
    tensors = load_file(file)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in tensors:
                parameter.copy_(tensors[name])


class _Stage:
    """One stage: what learns, on what, and towards what."""

    def __init__(
        self,
        student: CompressedForCausalLM,
        teacher: Any,
        rows: Int[Tensor, "rows length"],
        states: TeacherStates,
        probe: Int[Tensor, "rows length"] | None,
        config: StagesConfig,
        stage: int,
        points: int,
    ) -> None:
        self.student, self.teacher, self.config, self.stage = student, teacher, config, stage
        self.rows, self.states, self.probe = rows, states, probe
        self.steps = config.state_steps if stage == 1 else config.distil_steps
        self.done_before = 0 if stage == 1 else config.state_steps
        self.points = {max(1, round(self.steps * (place + 1) / points)) for place in range(points)}
        self.original = embedding_of(teacher).weight.detach().float()
        self.variance = float(self.original.var())

    def train(self, work: Path, progress: Progress | None) -> list[CurvePoint]:
        """Trains, or takes what an earlier call came to; returns the points of the curve."""
        model = self._learning_model()
        try:
            if (work / _CURVE).exists():
                restore_learnt(model, work / _LEARNT)
                curve = [CurvePoint(**point) for point in read_json(work / _CURVE)]
                if progress is not None:
                    progress(self.steps)
            else:
                curve = self._run(model, work, progress)
                with atomic_file(work / _LEARNT) as temporary:
                    save_file(learnt(model), temporary)
                write_json(work / _CURVE, [asdict(point) for point in curve])
        finally:
            if model is not self.student:
                _merge_lora(model)
            self.student.requires_grad_(True)
        return curve

    def _learning_model(self) -> Any:
        self.student.requires_grad_(False)
        model: Any = self.student
        if self.stage == 2 and self.config.lora_rank:
            model = _with_lora(self.student, self.config)
        self.student.compressed.requires_grad_(True)
        return model

    def _run(self, model: Any, work: Path, progress: Progress | None) -> list[CurvePoint]:
        config = self.config
        rate = config.state_learning_rate if self.stage == 1 else config.distil_learning_rate
        arguments = StageArguments(
            output_dir=str(work),
            max_steps=self.steps,
            per_device_train_batch_size=config.batch_size,
            learning_rate=rate,
            seed=config.seed + self.stage,
            logging_strategy="no",
            save_strategy="steps",
            save_steps=max(1, min(25, self.steps // 2)),
            save_total_limit=1,
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        losses: list[float] = []
        trainer = StageTrainer(
            self._noting(losses),
            config.lora_learning_rate,
            model=model,
            args=arguments,
            train_dataset=_Rows(self.rows, self.states, with_layers=self.stage == 1),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(_Curve(self, losses, progress))
        with without_progress_bars():
            trainer.train(resume_from_checkpoint=_last_checkpoint(work))
        return [
            CurvePoint(self.stage, self.done_before + entry["step"], entry["curve_loss"], entry["held_out_ce"])
            for entry in trainer.state.log_history
            if "curve_loss" in entry
        ]

    def _noting(self, losses: list[float]) -> Callable[[nn.Module, Mapping[str, Tensor], int], Tensor]:
        def compute(model: nn.Module, batch: Mapping[str, Tensor], step: int) -> Tensor:
            # What is drawn follows from the step, so that a run that was interrupted draws the same.
            generator = torch.Generator().manual_seed(hash((self.config.seed, self.stage, step)))
            loss = (self.state_loss if self.stage == 1 else self.distillation)(model, batch, generator)
            losses.append(float(loss.detach()))
            return loss

        return compute

    def state_loss(self, model: Any, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Stage 1: the embedding's rows, and the hidden states."""
        config, embedding = self.config, self.student.compressed
        count = config.row_sample or len(self.original)
        tokens = torch.randperm(len(self.original), generator=generator)[:count].to(self.original.device)
        loss = row_error(embedding(tokens), self.original[tokens], self.variance)
        if config.state_weight:
            states = states_of(model, batch["input_ids"], self.states.layers)
            loss = loss + config.state_weight * state_error(states, batch["states"])
        return loss

    def distillation(self, model: Any, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Stage 2: the output distribution, and the text."""
        config, ids = self.config, batch["input_ids"]
        count = min(config.head_positions or ids.shape[1] - 1, ids.shape[1] - 1)
        kept = torch.randperm(ids.shape[1] - 1, generator=generator)[:count].sort().values.to(ids.device)
        with torch.no_grad():
            target = _teacher_logits(self.teacher, ids, batch["states"][:, :, -1], kept)
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
        return distillation_loss(
            logits, target, ids[:, kept + 1], temperature=config.temperature, weight=config.distil_weight
        )


class _Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
    def __init__(self, rows: Tensor, states: TeacherStates, *, with_layers: bool) -> None:
        self.rows, self.states, self.with_layers = rows, states, with_layers

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        states = self.states[index]
        return {"input_ids": self.rows[index], "states": states if self.with_layers else states[:, -1:]}


class _Curve(TrainerCallback):
    """Logs a point of the learning curve at the steps that have one, and tells the progress."""

    def __init__(self, stage: _Stage, losses: list[float], progress: Progress | None) -> None:
        self.stage, self.losses, self.progress = stage, losses, progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.progress is not None and state.global_step:
            self.progress(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in self.stage.points:
            held_out = _held_out_ce(self.stage.student, self.stage.probe)
            mean = sum(self.losses) / len(self.losses)
            self.losses.clear()
            state.log_history.append({"step": state.global_step, "curve_loss": mean, "held_out_ce": held_out})
        if self.progress is not None:
            self.progress(1)


def _teacher_logits(teacher: Any, ids: Tensor, states: Tensor, kept: Tensor) -> Tensor:
    """The teacher's logits at some positions: its head on stored states, unless it does more than that."""
    if _caps_logits(teacher):
        logits: Tensor = teacher(input_ids=ids, use_cache=False, logits_to_keep=kept).logits
        return logits
    head: Any = teacher.get_output_embeddings()
    return head(states[:, kept].to(teacher.dtype))


def _caps_logits(model: Any) -> bool:
    text = model.config.get_text_config()
    names = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")
    return any(getattr(text, name, None) not in (None, 1, 1.0) for name in names)


def _held_out_ce(student: Any, probe: Tensor | None) -> float | None:
    return None if probe is None else text_quality(student, probe).cross_entropy


def _with_lora(student: CompressedForCausalLM, config: StagesConfig) -> Any:
    from peft import LoraConfig, get_peft_model

    # The layers' weights may be the teacher's own tensors, and merging changes them in place.
    for parameter in student.base.parameters():
        parameter.data = parameter.data.clone()
    torch.manual_seed(config.seed)
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_rank,
        target_modules=lora_targets(student),
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in decoder_layers(student)[-1].modules()),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        return get_peft_model(student, settings)


def _merge_lora(model: Any) -> None:
    model.merge_and_unload()


def lora_targets(model: Any) -> list[str]:
    """Returns the names of the layers' linear maps, which LoRA changes."""
    layer: nn.Module = decoder_layers(model)[-1]
    kinds = (nn.Linear, Conv1D)
    return sorted({name.rsplit(".", 1)[-1] for name, part in layer.named_modules() if isinstance(part, kinds)})


def check_stages(model: Any, config: StagesConfig | None) -> None:
    """Checks that a model can be trained as asked for, before anything is fitted.

    Raises:
        InputError: If rows are longer than the model reads.
        ModelError: If LoRA is asked for and the layers have nothing it could change.
    """
    if config is None or not config.steps:
        return
    check_length(model, config.length)
    if config.lora_rank and not lora_targets(model):
        raise ModelError("the model's layers have no linear maps that LoRA could change", fix="set lora_rank to 0")


def _check(student: CompressedForCausalLM, teacher: CausalLM, config: StagesConfig) -> None:
    check_stages(teacher.model, config)
    original = embedding_of(teacher.model)
    compressed = student.compressed
    if (original.num_embeddings, original.embedding_dim) != (compressed.num_embeddings, compressed.embedding_dim):
        raise ModelError(
            f"the original's embedding is {original.num_embeddings} x {original.embedding_dim}, the student's "
            f"{compressed.num_embeddings} x {compressed.embedding_dim}",
            fix="give the model that was compressed",
        )
    if not compressed.parameter_count() and (config.state_steps or not config.lora_rank):
        raise ModelError(
            f"nothing of {student.config.method} can be trained",
            fix="leave the stages out, or train LoRA in stage 2 only (state_steps 0, lora_rank 8)",
        )


def _job_key(student: CompressedForCausalLM, config: StagesConfig, rows: Tensor, probe: Tensor | None, n: int) -> str:
    """A name for all that the result follows from, so that checkpoints of another job are never gone on from."""
    key = hashlib.sha256(json.dumps([asdict(config), student.config.method, n], sort_keys=True).encode())
    key.update(weights_digest(student).encode())
    for tensor in (rows, probe):
        key.update(b"" if tensor is None else tensor.cpu().numpy().tobytes())
    return key.hexdigest()[:16]


def _last_checkpoint(work: Path) -> str | None:
    found = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    # A checkpoint cut short by a kill lacks the state file, which the Trainer writes last.
    whole = [path for path in found if (path / "trainer_state.json").exists()]
    return str(whole[-1]) if whole else None
