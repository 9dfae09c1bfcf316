"""What the Trainer runs of this room share: settings, progress instead of printing, resuming the same job only."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from intarsia.files import read_json, write_json

HISTORY = "history.json"
"""File in a trained model's folder: the training log by step."""

Progress = Callable[[int], None]
"""Called with the number of steps done since the last call."""


def run_settings(work: Path, config: Any) -> dict[str, Any]:
    """Returns the `TrainingArguments` of a run that keeps its last epoch in `work`.

    Args:
        work: Folder of checkpoints.
        config: Has `epochs`, `batch_size`, `learning_rate` and `seed`.
    """
    return {
        "output_dir": str(work),
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "seed": config.seed,
        "logging_steps": 5,
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def report_to_progress(trainer: Trainer, progress: Progress | None) -> None:
    """Has a trainer tell its steps to `progress` and print nothing itself."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    if progress is not None:
        trainer.add_callback(_TellProgress(progress))


class _TellProgress(TrainerCallback):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress(1)


def keep_only_if_same(work: Path, job: Any) -> None:
    """Drops what an interrupted run left in `work` if it was another job's.

    Args:
        work: Folder of checkpoints.
        job: All that the result follows from, as JSON values.
    """
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
