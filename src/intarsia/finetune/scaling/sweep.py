"""A grid of LoRA runs, resumable, on this machine or on a cluster."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from intarsia import engine
from intarsia.errors import ConfigError
from intarsia.finetune.scaling.config import AlphaPolicy, SweepConfig
from intarsia.finetune.scaling.table import Run, RunTable
from intarsia.finetune.scaling.trial import run_trial

_SHARED = (
    "model",
    "data",
    "schema",
    "test_split",
    "steps",
    "batch_size",
    "head_learning_rate",
    "max_length",
    "held_out",
    "tokens",
    "shuffles",
    "dtype",
)


def alpha_of(policy: AlphaPolicy, rank: int, config: SweepConfig) -> float:
    """LoRA's alpha for a rank under a policy."""
    return float(config.alpha if policy == "fixed" else config.alpha_ratio * rank)


def trials(config: SweepConfig) -> list[dict[str, Any]]:
    """The arguments of `run_trial` for every distinct run of the grid.

    Policies that give a rank the same alpha share its runs.
    """
    found: dict[str, dict[str, Any]] = {}
    for _, trial in _labelled_trials(config):
        found.setdefault(_key(trial), trial)
    return list(found.values())


def run_sweep(
    configs: SweepConfig | Sequence[SweepConfig],
    *,
    output: str | Path | None = None,
    backend: str = "serial",
    workers: int | None = None,
    gpus_per_worker: float = 0.0,
    progress: bool = True,
) -> RunTable:
    """Trains and measures every run of one or more grids.

    Args:
        configs: Grids. Runs that several grids share are done once.
        output: Journal (JSONL) that runs are written to as they finish and read from when the sweep is resumed.
        backend: As in `intarsia.engine.sweep`. A model that fits into memory several times trains fastest in as many
            processes as there are cores (`"local"`), a larger one in this process (`"serial"`).
        workers: Processes at once; by default one a core.
        gpus_per_worker: GPUs, or the fraction of one, that each Ray worker holds.
        progress: Whether to show a progress bar.

    Returns:
        The table; a run under two policies that give it the same alpha has a row in each.

    Raises:
        ConfigError: If two grids of one data set measure it differently.
        IntarsiaError: If a run fails; the finished ones are in the journal, so the next call goes on from there.
    """
    configs = [configs] if isinstance(configs, SweepConfig) else list(configs)
    _require_comparable(configs)
    labelled = [(config, policy, trial) for config in configs for policy, trial in _labelled_trials(config)]
    todo = {_key(trial): trial for _, _, trial in labelled}
    outcomes = engine.sweep(
        run_trial,
        list(todo.values()),
        output=output,
        backend=backend,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        on_error="raise",
        description="LoRA runs",
        progress=progress,
    )
    values = {key: outcome.value for key, outcome in zip(todo, outcomes, strict=True)}
    rows: dict[tuple[object, ...], Run] = {}
    for config, policy, trial in labelled:
        run = _run(values[_key(trial)], config.dataset, policy)
        rows.setdefault((*run.cell, run.seed), run)
    return RunTable(tuple(rows.values()))


def _labelled_trials(config: SweepConfig) -> list[tuple[AlphaPolicy, dict[str, Any]]]:
    shared = {name: getattr(config, name) for name in _SHARED}
    shared["target_modules"] = list(config.target_modules)
    shared["fields"] = None if config.fields is None else dict(config.fields)
    layers: Sequence[int | None] = config.layers or (None,)
    sizes: Sequence[int | None] = config.sizes or (None,)
    return [
        (
            policy,
            {
                **shared,
                "layers": kept,
                "size": size,
                "rank": rank,
                "alpha": alpha_of(policy, rank, config),
                "seed": seed,
                "learning_rate": config.lr_per_rank.get(rank, config.learning_rate),
            },
        )
        for kept, size, rank, policy, seed in product(layers, sizes, config.ranks, config.policies, config.seeds)
    ]


def _key(trial: Mapping[str, Any]) -> str:
    return json.dumps(trial, sort_keys=True)


def _run(value: Any, dataset: str, policy: str) -> Run:
    fields = {name: value[name] for name in ("N", "R", "D", "alpha", "scale", "seed", "metrics")}
    return Run(dataset=dataset, policy=policy, **fields)


def _require_comparable(configs: Sequence[SweepConfig]) -> None:
    """Grids that share a data set's name end in one table, so they must measure it in the same way."""
    first: dict[str, SweepConfig] = {}
    for config in configs:
        other = first.setdefault(config.dataset, config)
        for name in ("steps", "batch_size", "head_learning_rate", "max_length", "held_out", "tokens", "data"):
            if getattr(config, name) != getattr(other, name):
                raise ConfigError(
                    f"{name} of data set {config.dataset!r}",
                    getattr(config, name),
                    f"{getattr(other, name)!r} as in the other grid of that data set",
                )
