import errno
import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from engine_jobs import count_calls, double, fail_until_allowed

from intarsia import engine
from intarsia.engine.journal import Journal
from intarsia.errors import DataError, InputError, IntarsiaError


def _values(outcomes: list[engine.Outcome]) -> list[Any]:
    return [outcome.value for outcome in outcomes]


def _calls(folder: Path) -> list[int]:
    return sorted(int(path.name.partition("-")[0]) for path in folder.iterdir() if path.name != "allowed")


def test_a_second_run_does_only_what_is_new(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    output = tmp_path / "deep" / "out.jsonl"
    run = functools.partial(
        engine.map, functools.partial(count_calls, folder=str(calls)), output=output, backend="serial"
    )
    assert _values(run([1, 2, 3])) == [1, 2, 3]
    assert _values(run([5, 3, 1])) == [5, 3, 1]
    assert _calls(calls) == [1, 2, 3, 5]


def test_failed_rows_are_run_again_and_others_not(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    job = functools.partial(fail_until_allowed, folder=str(calls))
    first = engine.map(job, [1, 2, 3], output=tmp_path / "out.jsonl", backend="serial")
    assert [outcome.ok for outcome in first] == [True, False, True]
    (calls / "allowed").touch()
    for _ in range(2):
        again = engine.map(job, [1, 2, 3], output=tmp_path / "out.jsonl", backend="serial")
        assert _values(again) == [1, 2, 3]
        assert all(outcome.ok for outcome in again)
    assert _calls(calls) == [1, 2, 2, 3]


def test_a_resumed_run_returns_what_a_whole_one_does(tmp_path: Path) -> None:
    whole = engine.map(_pair, [1, 2, 3], output=tmp_path / "whole.jsonl", backend="serial")
    engine.map(_pair, [2], output=tmp_path / "out.jsonl", backend="serial")
    assert engine.map(_pair, [1, 2, 3], output=tmp_path / "out.jsonl", backend="serial") == whole
    assert whole[0].value == [1, "č\u2028"]


@pytest.mark.parametrize("cut", [1, 3, 12])
def test_a_last_line_cut_short_by_a_kill_is_overwritten(tmp_path: Path, cut: int) -> None:
    output = tmp_path / "out.jsonl"
    engine.map(double, range(5), output=output, backend="serial")
    whole = output.read_bytes()
    output.write_bytes(whole[:-cut])
    assert _values(engine.map(double, range(5), output=output, backend="serial")) == [0, 2, 4, 6, 8]
    assert output.read_bytes() == whole


def test_a_last_line_of_garbage_is_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    engine.map(double, range(3), output=output, backend="serial")
    whole = output.read_bytes()
    output.write_bytes(whole + b"\0\0\0\0\n")
    assert _values(engine.map(double, range(4), output=output, backend="serial")) == [0, 2, 4, 6]
    assert output.read_bytes().startswith(whole + b'{"key"')


def test_a_first_line_cut_short_by_a_kill_is_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    engine.map(double, [], output=output, backend="serial")
    header = output.read_bytes()
    output.write_bytes(header[:20])
    engine.map(double, [1], output=output, backend="serial")
    assert output.read_bytes().startswith(header)


def test_garbage_in_the_middle_is_reported_with_its_line(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    engine.map(double, range(3), output=output, backend="serial")
    lines = output.read_text().splitlines()
    lines[2] = '{"key": "someth'
    output.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"out\.jsonl, line 3"):
        engine.map(double, range(3), output=output, backend="serial")


def test_the_file_of_another_function_is_refused_and_kept(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    engine.map(double, range(3), output=output, backend="serial")
    before = output.read_bytes()
    with pytest.raises(InputError, match=r"of engine_jobs\.double, not of .*_pair(.|\n)*out\.jsonl"):
        engine.map(_pair, range(3), output=output, backend="serial")
    assert output.read_bytes() == before


def test_the_file_of_other_settings_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    engine.map(functools.partial(pow, 2), range(3), output=output, backend="serial")
    with pytest.raises(InputError, match=r"pow with other settings"):
        engine.map(functools.partial(pow, 3), range(3), output=output, backend="serial")


@pytest.mark.parametrize("content", ["my notes", "my notes\n", '{"text": "a row"}\n', "\n"])
def test_a_file_that_is_no_output_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    output = tmp_path / "notes.txt"
    output.write_text(content)
    with pytest.raises(InputError, match=r"not a file of results(.|\n)*notes\.txt"):
        engine.map(double, range(3), output=output, backend="serial")
    assert output.read_text() == content


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        engine.map(double, range(3), output=tmp_path, backend="serial")


def test_two_runs_cannot_write_one_file(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "out.jsonl", job="j", settings="s"),
        pytest.raises(InputError, match=r"another run is writing(.|\n)*out\.jsonl"),
    ):
        Journal(tmp_path / "out.jsonl", job="j", settings="s")
    Journal(tmp_path / "out.jsonl", job="j", settings="s")


def test_a_full_disk_ends_the_run_and_loses_nothing_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out.jsonl"
    engine.map(double, range(3), output=output, backend="serial")
    before = output.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full_disk)
        with pytest.raises(IntarsiaError, match=r"disk is full(.|\n)*out\.jsonl(.|\n)*continues") as caught:
            engine.map(double, range(6), output=output, backend="serial")
        assert caught.value.exit_code == 1
    assert output.read_bytes().startswith(before)
    assert _values(engine.map(double, range(6), output=output, backend="serial")) == [0, 2, 4, 6, 8, 10]
    assert [json.loads(line) for line in output.read_text().splitlines()]


def _pair(number: int) -> tuple[int, str]:
    return number, "č\u2028"


def _full_disk(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
