"""Which cluster is connected to; Ray itself is played by a recorder."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from intarsia.engine.backends.ray import _connect
from intarsia.errors import IntarsiaError


class _Recorder:
    def __init__(self, *fails: Exception) -> None:
        self.addresses: list[str] = []
        self._fails = list(fails)

    def init(self, address: str, **settings: Any) -> None:
        self.addresses.append(address)
        if self._fails:
            raise self._fails.pop(0)


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which Ray notes the last cluster."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_running_cluster_is_used(noted: Path, listening: str) -> None:
    noted.write_text(listening)
    ray = _Recorder()
    _connect(ray, "ray")
    assert ray.addresses == ["auto"]


def test_without_a_cluster_one_is_started(noted: Path) -> None:
    ray = _Recorder(ConnectionError("Could not find any running Ray instance"))
    _connect(ray, "ray")
    assert ray.addresses == ["auto", "local"]


def test_the_note_of_a_cluster_that_is_gone_is_passed_over(noted: Path, silent: str) -> None:
    noted.write_text(silent)
    ray = _Recorder()
    _connect(ray, "ray")
    assert ray.addresses == ["local"]


@pytest.mark.parametrize("name", ["ray://{}", "ray:{}"])
def test_an_address_is_used_as_given(name: str, listening: str) -> None:
    ray = _Recorder()
    _connect(ray, name.format(listening))
    assert ray.addresses == [name.replace("ray:{}", "{}").format(listening)]


@pytest.mark.parametrize("name", ["ray://{}", "ray:{}"])
def test_an_address_that_does_not_answer_is_named_and_nothing_started(name: str, silent: str) -> None:
    ray = _Recorder()
    with pytest.raises(IntarsiaError, match=rf"no Ray cluster answers(.|\n)*{name.format(silent)}"):
        _connect(ray, name.format(silent))
    assert ray.addresses == []


def test_the_address_of_the_environment_must_answer(noted: Path, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", silent)
    ray = _Recorder()
    with pytest.raises(IntarsiaError, match="no Ray cluster answers"):
        _connect(ray, "ray")
    assert ray.addresses == []


def test_a_cluster_that_cannot_start_is_explained(noted: Path) -> None:
    ray = _Recorder(ConnectionError("none"), Exception("The current node timed out during startup"))
    with pytest.raises(IntarsiaError, match=r"could not start on this machine: The current node timed out") as caught:
        _connect(ray, "ray")
    assert caught.value.exit_code == 1
