"""A real Ray cluster on this machine, with two workers."""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from engine_jobs import (
    describe,
    double,
    fail_until_allowed,
    kill_worker_always,
    kill_worker_once,
    map_inside,
    not_json,
    refuse,
    train,
    visible_gpus,
)

from intarsia import engine
from intarsia.errors import ConfigError, IntarsiaError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster(ray_cluster: Callable[[], AbstractContextManager[Any]]) -> Iterator[Any]:
    with ray_cluster() as ray:
        yield ray


@pytest.mark.parametrize("with_output", [False, True])
def test_ray_gives_what_this_process_gives(tmp_path: Path, with_output: bool) -> None:
    ray, serial = [
        engine.map(describe, range(30), backend=name, output=tmp_path / name if with_output else None)
        for name in ("ray", "serial")
    ]
    assert ray == serial
    assert sum(not outcome.ok for outcome in ray) == 3


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_worker_killed_in_the_middle_costs_no_row(tmp_path: Path, chunk: int) -> None:
    job = functools.partial(kill_worker_once, folder=str(tmp_path), victim=9)
    outcomes = engine.map(job, range(20), backend="ray", workers=2, chunk=chunk, output=tmp_path / "out.jsonl")
    assert (tmp_path / "killed").exists()
    assert outcomes == engine.map(job, range(20), backend="serial")


def test_a_row_that_kills_its_workers_fails_alone_as_with_processes() -> None:
    ray, local = [
        engine.map(
            functools.partial(kill_worker_always, victim=2), range(6), backend=name, workers=2, chunk=3, retries=1
        )
        for name in ("ray", "local")
    ]
    assert ray == local
    assert [outcome.value for outcome in ray] == [0, 1, None, 3, 4, 5]


def test_ray_continues_what_another_backend_began(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    job = functools.partial(fail_until_allowed, folder=str(calls))
    engine.map(job, range(4), backend="serial", output=tmp_path / "out.jsonl")
    (calls / "allowed").touch()
    outcomes = engine.map(job, range(6), backend="ray", output=tmp_path / "out.jsonl")
    assert [outcome.value for outcome in outcomes] == list(range(6))
    assert len(list(calls.iterdir())) == 1 + 4 + 3


def test_trials_run_on_ray() -> None:
    trials = [{"rank": rank, "seed": 0, "data": {"noise": 0.1}} for rank in (2, 4, 16)]
    assert engine.sweep(train, trials, backend="ray") == engine.sweep(train, trials, backend="serial")


def test_functions_of_a_script_are_sent_by_value() -> None:
    factor = 3
    outcomes = engine.map(lambda row: factor * row, range(4), backend="ray")
    assert [outcome.value for outcome in outcomes] == [0, 3, 6, 9]


def test_a_value_that_is_not_json_fails_its_row_only(tmp_path: Path) -> None:
    outcomes = engine.map(not_json, range(3), backend="ray", output=tmp_path / "out.jsonl")
    assert [outcome.value for outcome in outcomes] == [None, 1, None]


def test_our_own_errors_come_through() -> None:
    with pytest.raises(ConfigError, match="rank is 0, but it must be at least 1"):
        engine.map(refuse, [0], backend="ray", on_error="raise")


def test_runs_inside_runs_do_not_starve() -> None:
    outcomes = engine.map(map_inside, [2, 3, 4], backend="ray", workers=2)
    assert [outcome.value for outcome in outcomes] == [[0, 2], [0, 2, 4], [0, 2, 4, 6]]


def test_workers_hold_the_gpus_they_ask_for() -> None:
    assert engine.map(visible_gpus, [1], backend="ray", gpus_per_worker=1.0)[0].value == "0"
    with pytest.raises(ConfigError, match=r"gpus_per_worker is 2.0, but it must be at most the cluster's GPUs \(1\)"):
        engine.map(visible_gpus, [1], backend="ray", gpus_per_worker=2.0)


def test_a_connection_of_the_program_stays_open(cluster: Any) -> None:
    engine.map(double, [1], backend="ray")
    assert cluster.is_initialized()


def test_a_cluster_is_started_for_a_run_and_ended_with_it(cluster: Any) -> None:
    cluster.shutdown()
    try:
        outcomes = engine.map(double, range(4), backend="ray", workers=2)
    except IntarsiaError as error:
        if "could not start on this machine" not in str(error):
            raise
        pytest.skip("this machine is too busy for Ray to start within its half minute")
    assert [outcome.value for outcome in outcomes] == [0, 2, 4, 6]
    assert not cluster.is_initialized()
