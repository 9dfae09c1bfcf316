"""Runs over seeds, with real and with shuffled labels: what `engine.sweep` is given."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from intarsia.quantum.qnn.bootstrap import bootstrap_information
from intarsia.quantum.qnn.circuits import Circuit
from intarsia.quantum.qnn.config import CircuitConfig, DataConfig, TrainingConfig
from intarsia.quantum.qnn.criteria import Judgement, judge_history
from intarsia.quantum.qnn.data import load_samples, logistic_regression_accuracy, split_samples
from intarsia.quantum.qnn.tracking import Record
from intarsia.quantum.qnn.training import split_seed, train

Trial = dict[str, Any]
_Config = TypeVar("_Config", DataConfig, CircuitConfig, TrainingConfig)

REAL, SHUFFLED = "real", "shuffled"


class TrackedRun(NamedTuple):
    """One finished run.

    Attributes:
        labels: `real` or `shuffled`.
        seed: Its seed.
        history: One record for each measured epoch.
        train: Number of training samples.
        test: Number of test samples.
        classes: Names of the classes.
        baseline: Test accuracy of logistic regression on the same features.
        intervals: Bootstrap intervals over samples of the information at the end and of its change, under `data`:
            `di_mo`, `mi_mo`, `di_mo_change`, `mi_mo_change`.
    """

    labels: str
    seed: int
    history: list[Record]
    train: int
    test: int
    classes: list[str]
    baseline: float
    intervals: dict[str, list[float]]

    def judged(self, definition: str) -> Judgement:
        """Applies both criteria under `choi` or `data`."""
        return judge_history(self.history, definition)


def seed_trials(
    data: DataConfig,
    circuit: CircuitConfig,
    training: TrainingConfig,
    seeds: Sequence[int],
    *,
    resamples: int = 0,
    folder: str | None = None,
) -> list[Trial]:
    """Returns a trial for every seed with real labels, then for every seed with shuffled ones.

    Args:
        data: The samples.
        circuit: The circuit.
        training: The training; its seed and labels are replaced.
        seeds: The seeds.
        resamples: Bootstrap resamples; 0: no intervals.
        folder: Where each run keeps its checkpoint and its model, in a folder of its own.
    """
    # Workers may have another current folder.
    found = replace(data, data=str(Path(data.data).resolve())) if Path(data.data).suffix else data
    folder = None if folder is None else str(Path(folder).resolve())
    return [
        {
            "data": _plain(found),
            "circuit": _plain(circuit),
            "training": _plain(replace(training, seed=seed, shuffle_labels=labels == SHUFFLED)),
            "resamples": resamples,
            "folder": None if folder is None else f"{folder}/{labels}-{seed}",
        }
        for labels in (REAL, SHUFFLED)
        for seed in seeds
    ]


def run_trial(
    data: Mapping[str, Any],
    circuit: Mapping[str, Any],
    training: Mapping[str, Any],
    resamples: int = 0,
    folder: str | None = None,
) -> dict[str, Any]:
    """Trains one circuit on one thread, and returns a `TrackedRun` as JSON values.

    Args:
        data: Fields of `DataConfig`.
        circuit: Fields of `CircuitConfig`.
        training: Fields of `TrainingConfig`.
        resamples: Bootstrap resamples.
        folder: Where the run keeps its checkpoint and its model.
    """
    wanted, layout, settings = _read(DataConfig, data), _read(CircuitConfig, circuit), _read(TrainingConfig, training)
    samples = load_samples(wanted)
    split = split_samples(samples, wanted, split_seed(settings.seed))
    with _one_thread():
        result = train(split, layout, settings, folder=folder)
        intervals: dict[str, list[float]] = {}
        if resamples and "data" in settings.definitions:
            exact = Circuit(replace(layout, precision="double"))
            start, end = exact.unitary(result.start.double()), result.model.unitary()
            states = result.model.encoder.encode(split.train.features)
            for suffix, before in (("", None), ("_change", start)):
                found = bootstrap_information(
                    end, states, layout.measured, before=before, resamples=resamples, seed=settings.seed
                )
                intervals |= {f"di_mo{suffix}": list(found.di_mo), f"mi_mo{suffix}": list(found.mi_mo)}
        baseline = logistic_regression_accuracy(split)
    return TrackedRun(
        SHUFFLED if settings.shuffle_labels else REAL,
        settings.seed,
        result.history,
        len(split.train.labels),
        len(split.test.labels),
        list(split.train.classes),
        baseline,
        intervals,
    )._asdict()


def _plain(config: Any) -> dict[str, Any]:
    """A config as JSON values, without what it leaves open."""
    found = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}
    return {name: value for name, value in found.items() if value is not None}


def _read(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    """A config from what `_plain` made of it."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return kind(**fields)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Up to 8 qubits a second thread costs more than it gives; runs go side by side instead."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
