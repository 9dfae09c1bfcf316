"""Training one LoRA expert from prompts and targets."""

import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import set_seed

from intarsia.data import TextToTextRow
from intarsia.errors import ConfigError
from intarsia.files import atomic_folder, write_json
from intarsia.finetune.config import ExpertConfig
from intarsia.finetune.examples import AnswerCollator, Example, StatesDataset, encode
from intarsia.finetune.miub import MIUBCallback, MIUBConfig
from intarsia.finetune.runs import (
    HISTORY,
    Progress,
    keep_only_if_same,
    last_checkpoint,
    report_to_progress,
    run_settings,
)
from intarsia.finetune.training import ExpertTrainer, ExpertTrainingArguments
from intarsia.models import CausalLM
from intarsia.models.lower_states import decoder_layers, is_exact, store_lower_states, upper_layers_only


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
    arguments = ExpertTrainingArguments(**run_settings(work, config))
    collator = AnswerCollator()
    trainer = ExpertTrainer(model=model, args=arguments, train_dataset=examples, data_collator=collator)
    if miub is not None:
        # The metric needs some thousands of tokens, always the same ones; training rows serve as well as others.
        probe = [collator(examples[start : start + 16]) for start in range(0, min(len(examples), 48), 16)]
        trainer.add_callback(MIUBCallback(probe, miub))
    report_to_progress(trainer, progress)
    return trainer


@contextmanager
def _known_warnings_silenced() -> Iterator[None]:
    """Keeps peft from telling about a renamed attribute of transformers, and that `asset:NAME` is no hub id."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        warnings.filterwarnings("ignore", message="Could not find a config file in")
        yield
