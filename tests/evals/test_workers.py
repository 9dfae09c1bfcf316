"""Asking in worker processes."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from chunk_jobs import ask_twice
from misbehaving_server import MisbehavingServer

from intarsia.engine import Outcome
from intarsia.errors import ConfigError, InputError
from intarsia.evals import ModelUnusableError, ask_all, ask_in_workers, chat_model, run

pytest.importorskip("openai", reason="the openai client is not installed")

ITEMS = [f"item {number}" for number in range(30)]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look for modules where this process does."""
    folder = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def cluster(ray_cluster: Callable[[], AbstractContextManager[Any]]) -> Iterator[Any]:
    with ray_cluster() as ray:
        yield ray


def without_frames(outcomes: list[Outcome]) -> list[tuple[object, ...]]:
    return [(outcome.key, outcome.value, outcome.error) for outcome in outcomes]


def in_this_process(address: str) -> list[tuple[object, ...]]:
    model = chat_model(address)
    return without_frames(run(ask_all(lambda text: ask_twice(model, text), ITEMS)))


@pytest.mark.parametrize(
    "backend",
    ["serial", "threads", "local", pytest.param("ray", marks=pytest.mark.slow)],
)
def test_workers_give_what_this_process_gives_and_resume_from_the_recording(
    request: pytest.FixtureRequest, tmp_path: Path, backend: str
) -> None:
    if backend == "ray":
        request.getfixturevalue("cluster")
    record = tmp_path / "replies.jsonl"
    with MisbehavingServer() as server:
        address = f"{server.url}#m"
        options = {"record": record, "concurrency": 4}
        outcomes = ask_in_workers(
            ask_twice, ITEMS, model=address, options=options, chunk=7, backend=backend, workers=2, progress=False
        )
        assert without_frames(outcomes) == in_this_process(address)
        assert outcomes[2] == Outcome("2", "ITEM 2")
        assert outcomes[13].error == "ValueError: impossible"
        assert len(record.read_text().splitlines()) == 2 * 29
        before = len(server.requests)
        # Other chunks, other workers: all is recorded.
        again = ask_in_workers(
            ask_twice, ITEMS, model=address, options=options, chunk=4, backend="serial", progress=False
        )
        assert without_frames(again) == without_frames(outcomes)
        assert len(server.requests) == before


def test_keys_are_the_items() -> None:
    with MisbehavingServer() as server:
        outcomes = ask_in_workers(
            ask_twice, iter(ITEMS[:3]), model=f"{server.url}#m", key=str.upper, backend="serial", progress=False
        )
    assert [outcome.key for outcome in outcomes] == ["ITEM 0", "ITEM 1", "ITEM 2"]


def test_what_concerns_all_items_ends_the_run() -> None:
    with MisbehavingServer(lambda text: ["404"] * 9) as server, pytest.raises(ModelUnusableError, match="404"):
        ask_in_workers(ask_twice, ITEMS, model=f"{server.url}#m", backend="serial", progress=False)
    with pytest.raises(InputError, match="names no chat model"):
        ask_in_workers(ask_twice, ITEMS, model="nobody", backend="serial", progress=False)


def test_impossible_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="max_calls is 5, but it must be left out with worker processes"):
        ask_in_workers(ask_twice, ITEMS, model="m", options={"max_calls": 5})
    with pytest.raises(ConfigError, match="chunk is 0"):
        ask_in_workers(ask_twice, ITEMS, model="m", chunk=0)
