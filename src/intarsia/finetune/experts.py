"""Training one LoRA expert from prompts and targets."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, set_seed

from intarsia.data import TextToTextRow
from intarsia.errors import ConfigError
from intarsia.files import atomic_folder, read_json, write_json
from intarsia.finetune.config import ExpertConfig
from intarsia.finetune.examples import AnswerCollator, Example, StatesDataset, encode
from intarsia.finetune.miub import MIUBCallback, MIUBConfig
from intarsia.finetune.training import ExpertTrainer, ExpertTrainingArguments
from intarsia.models import CausalLM
from intarsia.models.lower_states import decoder_layers, is_exact, store_lower_states, upper_layers_only

HISTORY = "history.json"
"""File in an expert's folder: the training log, loss and MIUB by step."""

Progress = Callable[[int], None]
"""Called with the number of steps done since the last call."""


def train_expert(
    base: CausalLM,
    rows: Sequence[TextToTextRow],
    config: ExpertConfig,
    output: str | Path,
    *,
    miub: MIUBConfig | None = None,
    states_folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Trains a LoRA adapter on `rows` and saves it, with its training log, as a PEFT adapter folder.

    An interrupted call resumes from its last epoch when it is made again with the same settings and rows.

    Args:
        base: The base model and its tokenizer. The model is left as it was.
        rows: Prompts and targets. The prompt becomes the user's turn, the target the assistant's.
        config: How to train.
        output: Folder of the adapter; written whole or not at all.
        miub: Settings of the internal metric logged beside the loss. None logs none.
        states_folder: Where states of the layers below `config.top_layers` are kept for reuse, e.g. between experts
            or ranks. Default: a folder beside `output` that is removed afterwards.
        progress: Called with 1 after every step; at once with the steps of a resumed run that were done before.

    Returns:
        `output`.
    """
    output = Path(output)
    work = output.with_name(f".{output.name}.training")
    model: Any = base.model
    layers = len(decoder_layers(model))
    if config.top_layers is not None and config.top_layers > layers:
        raise ConfigError("top_layers", config.top_layers, f"at most {layers}, the number of decoder layers")
    first = 0 if config.top_layers is None else layers - config.top_layers

    tokens = encode(base.tokenizer, rows)
    examples: Sequence[Example] = tokens
    if first and is_exact(model, first):
        ids = [example["input_ids"] for example in tokens]
        states = store_lower_states(model, first, ids, states_folder or work / "states")
        examples = StatesDataset(examples, states)
        skipped = first
    else:
        skipped = 0

    keep_only_if_same(work, {"config": asdict(config), "rows": [[*row["input_ids"], *row["answer"]] for row in tokens]})
    # peft draws the initial weights from the global generator.
    set_seed(config.seed)
    with _known_warnings_silenced():
        adapted = get_peft_model(model, lora_config(model, config, first))
    try:
        with upper_layers_only(adapted, skipped), _known_warnings_silenced():
            trainer = _trainer(adapted, examples, config, work, miub, progress)
            trainer.train(resume_from_checkpoint=last_checkpoint(work))
        with atomic_folder(output, overwrite=True) as folder:
            # peft would look for the base's vocabulary, and our adapters leave the embeddings alone.
            adapted.save_pretrained(folder, save_embedding_layers=False)
            base.tokenizer.save_pretrained(folder)
            write_json(folder / HISTORY, {"config": asdict(config), "log": trainer.state.log_history})
    finally:
        adapted.unload()
    shutil.rmtree(work, ignore_errors=True)
    return output


def lora_config(model: nn.Module, config: ExpertConfig, first: int) -> LoraConfig:
    """Returns peft's settings for adapters in decoder layers `first` and above.

    Raises:
        ConfigError: If a target module does not exist, or the rank is above the rank a matrix can have.
    """
    top: nn.Module = decoder_layers(model)[-1]
    linear = {name.rsplit(".", 1)[-1]: module for name, module in top.named_modules() if isinstance(module, nn.Linear)}
    targets = config.target_modules or tuple(linear)
    for name in targets:
        if name not in linear:
            raise ConfigError("target_modules", name, f"linear modules of a decoder layer: {', '.join(linear)}")
        limit = min(linear[name].weight.shape)
        if config.rank > limit:
            raise ConfigError("rank", config.rank, f"at most {limit}, the smaller side of {name}")
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        use_rslora=config.rslora,
        lora_dropout=config.dropout,
        target_modules=list(targets),
        layers_to_transform=list(range(first, len(decoder_layers(model)))) if first else None,
        task_type="CAUSAL_LM",
    )


def _trainer(
    model: nn.Module,
    examples: Sequence[Example],
    config: ExpertConfig,
    work: Path,
    miub: MIUBConfig | None,
    progress: Progress | None,
) -> ExpertTrainer:
    arguments = ExpertTrainingArguments(
        output_dir=str(work),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seed=config.seed,
        logging_steps=5,
        save_strategy="epoch",
        save_total_limit=1,
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    collator = AnswerCollator()
    trainer = ExpertTrainer(model=model, args=arguments, train_dataset=examples, data_collator=collator)
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    if miub is not None:
        # The metric needs some thousands of tokens, always the same ones; training rows serve as well as others.
        probe = [collator(examples[start : start + 16]) for start in range(0, min(len(examples), 48), 16)]
        trainer.add_callback(MIUBCallback(probe, miub))
    if progress is not None:
        trainer.add_callback(TellProgress(progress))
    return trainer


class TellProgress(TrainerCallback):
    """Passes a Trainer's steps on to a `Progress`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress(1)


@contextmanager
def _known_warnings_silenced() -> Iterator[None]:
    """Keeps peft from telling about a renamed attribute of transformers, and that `asset:NAME` is no hub id."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        warnings.filterwarnings("ignore", message="Could not find a config file in")
        yield


def keep_only_if_same(work: Path, job: Any) -> None:
    """Drops what an interrupted run left in `work` if it was another job's."""
    key = hashlib.sha256(json.dumps(job).encode()).hexdigest()
    path = work / "job.json"
    if work.exists() and (not path.exists() or read_json(path) != key):
        for checkpoint in work.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    write_json(path, key)


def last_checkpoint(work: Path) -> str | None:
    """Returns the newest whole checkpoint of an interrupted run in `work`, if there is one."""
    found = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    # A checkpoint cut short by a kill lacks the state file, which the Trainer writes last.
    whole = [path for path in found if (path / "trainer_state.json").exists()]
    return str(whole[-1]) if whole else None
