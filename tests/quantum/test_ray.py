"""Sweeps of chains and of training runs on a real Ray cluster on this machine: the numbers of one process."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from intarsia import engine
from intarsia.quantum.posterior import ChainConfig, sweep, worst_case_search
from intarsia.quantum.qnn import CircuitConfig, DataConfig, TrainingConfig, run_trial, seed_trials

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster(ray_cluster: Callable[[], AbstractContextManager[Any]]) -> Iterator[Any]:
    with ray_cluster() as ray:
        yield ray


def test_chains_do_not_depend_on_the_workers(tmp_path):
    def chains(backend, workers):
        found = sweep(
            2,
            ["haar", "ghz-noise"],
            ["desc", "random"],
            3,
            config=ChainConfig(eps=2e-3),
            backend=backend,
            workers=workers,
            output=tmp_path / f"{backend}-{workers}.jsonl",
            progress=False,
        )
        assert (found.chains, found.failed) == (12, 0)
        return found.records

    alone = chains("serial", None)
    assert chains("ray", 1) == chains("ray", 2) == alone


def test_climbs_do_not_depend_on_the_workers():
    ray, alone = (
        worst_case_search(2, restarts=2, steps=4, backend=backend, workers=2, progress=False)
        for backend in ("ray", "serial")
    )
    assert (ray.totals, ray.starts, ray.order) == (alone.totals, alone.starts, alone.order)


def test_training_runs_do_not_depend_on_the_workers(tmp_path, monkeypatch):
    rows = "\n".join(f"{place % 2 + 0.01 * place},{place % 7},{'ab'[place % 2]}" for place in range(40))
    (tmp_path / "mine.csv").write_text(f"u,v,kind\n{rows}\n", encoding="utf-8")
    # A file beside the program, by its relative name.
    monkeypatch.chdir(tmp_path)

    def runs(backend, workers):
        trials = seed_trials(
            DataConfig("mine.csv", label="kind"),
            CircuitConfig(qubits=2, layers=2),
            TrainingConfig(epochs=2),
            range(2),
            resamples=4,
            folder=str(tmp_path / f"{backend}-{workers}"),
        )
        outcomes = engine.sweep(run_trial, trials, backend=backend, workers=workers, on_error="raise", progress=False)
        assert len(list((tmp_path / f"{backend}-{workers}").glob("*/model.safetensors"))) == 4
        return [outcome.value for outcome in outcomes]

    alone = runs("serial", None)
    assert runs("ray", 1) == runs("ray", 2) == alone
