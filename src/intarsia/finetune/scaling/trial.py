"""One run of a sweep: train a LoRA adapter, measure the internal metric, loss, perplexity and accuracy."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PrinterCallback, TrainingArguments

from intarsia.data import read_rows
from intarsia.errors import DataError
from intarsia.finetune.miub import MIUBConfig, MIUBReport, miub_report
from intarsia.finetune.scaling.learners import Example, Learner, Row, causal_learner, encoder_learner
from intarsia.models import local_folder
from intarsia.models.folders import read_config

_IGNORED = -100
_EVALUATION_BATCH = 32
# Batches of similar length are made among this many batches; more would order the whole run by length.
_WINDOW = 8
_BILLION = 10**9


def run_trial(
    *,
    model: str,
    data: str,
    schema: str,
    fields: Mapping[str, str | Sequence[str]] | None,
    test_split: str,
    layers: int | None,
    rank: int,
    alpha: float,
    size: int | None,
    seed: int,
    steps: int,
    batch_size: int,
    learning_rate: float | None,
    head_learning_rate: float,
    max_length: int,
    held_out: int,
    tokens: int,
    target_modules: Sequence[str],
    shuffles: int,
    dtype: str,
) -> dict[str, Any]:
    """Trains and measures one cell; the arguments are those of `SweepConfig`, one value each.

    The head, the order of the data and the choice of training rows follow the seed alone, so runs of one seed differ in
    nothing but what is swept; a smaller training set is part of a larger one.

    Returns:
        `N`, `R`, `D`, `alpha`, `scale`, `seed`, `metrics` (name -> value) and `warnings`.

    Raises:
        DataError: If there are fewer training rows than `size`.
    """
    train, test = _rows(data, schema, _frozen(fields), test_split, held_out)
    if size is not None and size > len(train):
        raise DataError(
            f"there are only {len(train)} training rows for a data size of {size}",
            file=data,
            fix=f"ask for sizes up to {len(train)}",
        )
    size = len(train) if size is None else size
    learner = (causal_learner if is_causal(model) else encoder_learner)(
        model,
        train,
        test,
        layers=layers,
        rank=rank,
        alpha=alpha,
        target_modules=target_modules,
        max_length=max_length,
        seed=seed,
        dtype=getattr(torch, dtype),
    )
    if learning_rate is None:
        learning_rate = 1e-3 if learner.base_parameters < _BILLION else 2e-4
    lengths = [len(example["input_ids"]) for example in learner.train]
    order = training_order(lengths, size, steps, batch_size, seed)
    optimizer = adam(learner, learning_rate, head_learning_rate)
    loss = _train(learner, [learner.train[row] for row in order], steps, batch_size, optimizer, seed)
    report = miub_report(
        learner.adapted, _batches(learner), config=MIUBConfig(max_tokens=tokens, permutations=shuffles, blocks=0)
    )
    return {
        "N": learner.base_parameters,
        "R": rank,
        "D": size,
        "alpha": alpha,
        "scale": alpha / rank,
        "seed": seed,
        "metrics": {**_internal(report), **loss._asdict(), "ppl": float(np.exp(loss.ce))},
        "warnings": list(report.warnings),
    }


def is_causal(ref: str) -> bool:
    """Whether a model argument names a causal language model rather than an encoder."""
    architectures = read_config(local_folder(ref)).get("architectures") or []
    return any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in architectures)


def training_order(lengths: Sequence[int], size: int, steps: int, batch_size: int, seed: int) -> list[int]:
    """Row numbers for a whole run, `steps * batch_size` of them, batch after batch.

    The first `size` rows of a seeded shuffle are repeated epoch after epoch, each in a new order. Within windows of a
    few batches rows of similar length share a batch, which halves the padding and leaves the order of batches random.
    """
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(lengths))[:size]
    needed = steps * batch_size
    epochs = [generator.permutation(chosen) for _ in range(-(-needed // size))]
    rows = np.concatenate(epochs)[:needed]
    ordered: list[int] = []
    for start in range(0, needed, _WINDOW * batch_size):
        window = sorted(rows[start : start + _WINDOW * batch_size].tolist(), key=lambda row: lengths[row])
        batches = [window[first : first + batch_size] for first in range(0, len(window), batch_size)]
        for index in generator.permutation(len(batches)):
            ordered.extend(batches[index])
    return ordered


class HeldOut(NamedTuple):
    """Held-out loss (mean over labels or answer tokens, nats) and accuracy (share of rows answered exactly)."""

    ce: float
    accuracy: float


def adam(learner: Learner, learning_rate: float, head_learning_rate: float) -> torch.optim.AdamW:
    """AdamW without weight decay; a head, if there is one, has its own learning rate."""
    head = [] if learner.head is None else list(learner.head.parameters())
    of_head = {id(parameter) for parameter in head}
    trained = [parameter for parameter in learner.model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if id(parameter) not in of_head], "lr": learning_rate},
        {"params": head, "lr": head_learning_rate},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)


def _train(
    learner: Learner,
    examples: list[Example],
    steps: int,
    batch_size: int,
    optimizer: torch.optim.Optimizer,
    seed: int,
) -> HeldOut:
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=_EVALUATION_BATCH,
            lr_scheduler_type="linear",
            seed=seed,
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
            label_names=["labels"],
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        trainer = learner.trainer(
            model=learner.model,
            args=arguments,
            train_dataset=examples,
            data_collator=learner.collate,
            optimizers=(optimizer, None),
            preprocess_logits_for_metrics=_loss_and_hit,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        # Sorted, because padding would cost more than half of the evaluation.
        predicted = trainer.predict(sorted(learner.held_out, key=lambda example: len(example["input_ids"])))
    return held_out_scores(predicted.predictions, predicted.label_ids)


def held_out_scores(losses_and_hits: Float[np.ndarray, "*labels 2"], labels: Int[np.ndarray, "*labels"]) -> HeldOut:
    """Summarises the negative log-likelihoods and hits of all labels; a row is right if all its labels are hit.

    Args:
        losses_and_hits: Per label its negative log-likelihood, and 1 if it was the most likely.
        labels: `[rows]`, or `[rows, answer]` with -100 where there is none.
    """
    real = labels != _IGNORED
    losses, hits = losses_and_hits[..., 0], losses_and_hits[..., 1]
    right = np.where(real, hits, 1).reshape(len(real), -1).all(axis=1)
    return HeldOut(ce=float(losses[real].mean()), accuracy=float(right.mean()))


def _loss_and_hit(logits: Any, labels: Tensor) -> Float[Tensor, "*labels 2"]:
    """Per label: its negative log-likelihood, and 1 if it is the most likely. Saves keeping logits of a vocabulary."""
    scores: Tensor = logits[0] if isinstance(logits, tuple) else logits
    losses = torch.nn.functional.cross_entropy(
        scores.flatten(0, -2).float(), labels.flatten(), ignore_index=_IGNORED, reduction="none"
    ).view_as(labels)
    return torch.stack([losses, (scores.argmax(-1) == labels).float()], dim=-1)


def _batches(learner: Learner) -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(learner.held_out), _EVALUATION_BATCH):
        yield learner.collate(learner.held_out[start : start + _EVALUATION_BATCH])


def _internal(report: MIUBReport) -> dict[str, float]:
    """The report's summary, but with the median of k90 over modules, which the spectral rank rule is defined by."""
    return report.summary() | {"k90": float(np.median([module.spectrum.k90 for module in report.modules]))}


@lru_cache(maxsize=4)
def _rows(
    data: str, schema: str, fields: tuple[Any, ...] | None, test_split: str, held_out: int
) -> tuple[list[Row], list[Row]]:
    """Training rows and held-out rows; the latter are the same in every run."""
    columns = None if fields is None else dict(fields)
    train = read_rows(data, schema=schema, fields=columns, split="train")
    test = read_rows(data, schema=schema, fields=columns, split=test_split, limit=held_out, seed=0)
    return train, test


def _frozen(fields: Mapping[str, str | Sequence[str]] | None) -> tuple[Any, ...] | None:
    if fields is None:
        return None
    return tuple((name, column if isinstance(column, str) else tuple(column)) for name, column in fields.items())
