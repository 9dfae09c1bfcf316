import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_jobs import describe, double, exit_at_3, fail, not_json, refuse
from rich.console import Console

from intarsia import engine
from intarsia.errors import ConfigError, InputError, MissingExtraError, UnknownNameError

BACKENDS = ["serial", "threads", "local"]


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("with_output", [False, True])
def test_all_backends_give_the_same_in_the_order_of_the_input(
    tmp_path: Path, with_output: bool, chunk: int | None
) -> None:
    results = [
        engine.map(
            describe, range(30), backend=name, workers=2, chunk=chunk, output=tmp_path / name if with_output else None
        )
        for name in BACKENDS
    ]
    assert results[0] == results[1] == results[2]
    assert [outcome.value["square"] for outcome in results[0] if outcome.ok] == [
        number * number for number in range(30) if number % 10 != 7
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_error_is_captured_with_type_message_and_place(backend: str) -> None:
    outcome = engine.map(fail, [4], backend=backend)[0]
    assert not outcome.ok
    assert outcome.value is None
    assert outcome.error == "RuntimeError: row 4 is broken"
    assert outcome.traceback is not None
    assert "engine_jobs.py" in outcome.traceback
    assert "intarsia/engine" not in outcome.traceback


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_function_that_exits_fails_its_row_only(backend: str) -> None:
    outcomes = engine.map(exit_at_3, range(5), backend=backend, workers=1)
    assert [outcome.error for outcome in outcomes] == [None, None, None, "SystemExit: usage: ...", None]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_value_that_is_not_json_fails_its_row_only(tmp_path: Path, backend: str) -> None:
    outcomes = engine.map(not_json, range(3), backend=backend, workers=1, output=tmp_path / "out.jsonl")
    assert [outcome.value for outcome in outcomes] == [None, 1, None]
    assert outcomes[0].error == "TypeError: a value of type object has no JSON form"


@pytest.mark.parametrize("backend", BACKENDS)
def test_on_error_raise_names_the_row_and_keeps_what_is_done(tmp_path: Path, backend: str) -> None:
    with pytest.raises(engine.FailedItemError, match=r"ValueError: no 7(.|\n)*item(.|\n)*out\.jsonl") as caught:
        engine.map(describe, itertools.count(), backend=backend, on_error="raise", output=tmp_path / "out.jsonl")
    assert caught.value.exit_code == 1
    assert "engine_jobs.py" in caught.value.__notes__[0]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) > 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_on_error_raise_lets_our_own_errors_through(backend: str) -> None:
    with pytest.raises(ConfigError, match="rank is 0, but it must be at least 1"):
        engine.map(refuse, [0], backend=backend, on_error="raise")


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_are_taken_only_as_workers_become_free(tmp_path: Path, backend: str) -> None:
    output = tmp_path / "out.jsonl"
    ahead = []

    def rows() -> Iterator[int]:
        for number in range(40):
            done = len(output.read_text().splitlines()) - 1
            ahead.append(number - done)
            yield number

    engine.map(double, rows(), backend=backend, workers=2, chunk=3, output=output)
    # Two batches of three under way, and a third being put together when the first of them has just been recorded.
    assert max(ahead) < 9


def test_equal_rows_are_run_each_and_known_by_their_order() -> None:
    outcomes = engine.map(double, [1, 1, 2, 1], backend="serial")
    keys = [outcome.key for outcome in outcomes]
    assert len(set(keys)) == 4
    assert keys[1] == f"{keys[0]}-2"
    assert keys[3] == f"{keys[0]}-3"


def test_no_rows_are_no_outcomes() -> None:
    assert engine.map(double, [], backend="local") == []


def test_an_error_of_the_rows_ends_the_run_and_keeps_what_is_done(tmp_path: Path) -> None:
    def rows() -> Iterator[int]:
        yield from range(5)
        raise InputError("bad row", where="rows.tsv, line 6")

    output = tmp_path / "out.jsonl"
    with pytest.raises(InputError, match=r"rows\.tsv, line 6"):
        engine.map(double, rows(), backend="serial", chunk=1, output=output)
    assert len(output.read_text().splitlines()) == 6


def test_two_rows_with_one_key_are_named() -> None:
    with pytest.raises(InputError, match=r"two rows have the key 'a'(.|\n)*row 3"):
        engine.map(double, [1, 2, 3], key=lambda row: "ba"[row % 2], backend="serial")


def test_a_key_that_is_no_string_is_named() -> None:
    with pytest.raises(InputError, match=r"key gave 1, but it must give a string(.|\n)*row 1"):
        engine.map(double, [1], key=lambda row: row, backend="serial")  # type: ignore[arg-type, return-value]


def test_a_function_that_processes_cannot_import_is_named() -> None:
    with pytest.raises(InputError, match=r"cannot be sent to worker processes(.|\n)*lambda(.|\n)*top level"):
        engine.map(lambda row: row, [1], backend="local")


def test_a_row_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(InputError, match=r"a row cannot be sent to worker processes(.|\n)*'threads'"):
        engine.map(str, [lambda: None], key=lambda row: "a", backend="local")


def test_an_unknown_backend_is_named_with_its_neighbours() -> None:
    with pytest.raises(UnknownNameError, match=r"'thread'(.|\n)*'threads'"):
        engine.map(double, [1], backend="thread")
    with pytest.raises(UnknownNameError, match=r"local:4"):
        engine.map(double, [1], backend="local:4")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("workers", 0), ("chunk", 0), ("retries", -1), ("on_error", "ignore"), ("gpus_per_worker", 1.0)],
)
def test_a_setting_that_is_not_allowed_is_named(setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{setting} is {value!r}"):
        engine.map(double, [1], **{setting: value})  # type: ignore[arg-type]


def test_ray_that_is_not_installed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"ray is not installed(.|\n)*intarsia\[ray\]"):
        engine.map(double, [1], backend="ray")


def test_progress_counts_what_is_done_and_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.map(describe, range(5), backend="serial", output=tmp_path / "out.jsonl")
    drawn = io.StringIO()
    terminal = Console(file=drawn, force_terminal=True, width=120)
    monkeypatch.setattr("intarsia.engine.progress._CONSOLE", terminal)
    engine.map(describe, range(10), backend="serial", output=tmp_path / "out.jsonl", description="Scoring rows")
    assert "Scoring rows" in drawn.getvalue()
    assert "10/10" in drawn.getvalue()
    assert "1 failed" in drawn.getvalue()
    drawn.truncate(0)
    engine.map(describe, range(10), backend="serial", progress=False)
    assert drawn.getvalue() == ""


def test_nothing_is_drawn_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    engine.map(double, range(3), backend="serial")
    assert capfd.readouterr() == ("", "")
