"""Worker processes that die, and runs that are killed with workers under way."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_jobs import double, hang_beside, kill_worker_always, kill_worker_once, slow_double, threads_and_process

from intarsia import engine

HERE = str(Path(__file__).parent)


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_killed_worker_costs_no_row(tmp_path: Path, chunk: int) -> None:
    job = functools.partial(kill_worker_once, folder=str(tmp_path), victim=6)
    outcomes = engine.map(job, range(16), backend="local", workers=2, chunk=chunk)
    assert (tmp_path / "killed").exists()
    assert outcomes == engine.map(job, range(16), backend="serial")


def test_a_row_that_kills_its_workers_fails_alone() -> None:
    outcomes = engine.map(
        functools.partial(kill_worker_always, victim=2), range(6), backend="local", workers=2, chunk=3, retries=1
    )
    assert [outcome.value for outcome in outcomes] == [0, 1, None, 3, 4, 5]
    assert outcomes[2].error is not None
    assert outcomes[2].error.startswith("WorkerDiedError: the worker died: killed, out of memory")
    assert outcomes[2].error.endswith("(attempts: 2)")


def test_cores_are_divided_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.engine.backends.local.cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    outcomes = engine.map(threads_and_process, range(4), backend="local", workers=2, chunk=1)
    assert {outcome.value[0] for outcome in outcomes} == {"3"}
    assert len({outcome.value[1] for outcome in outcomes}) == 2
    assert "OMP_NUM_THREADS" not in os.environ


def test_threads_that_the_user_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert engine.map(threads_and_process, [1], backend="local")[0].value[0] == "5"


def test_a_run_killed_at_any_point_continues(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    done = 0
    for lines in (1, 8, 20):
        process = _start(f"engine.map(slow_double, range(40), workers=2, chunk=1, output={str(output)!r})")
        _until(lambda lines=lines: _lines(output) > lines)
        process.kill()
        process.wait()
        assert _lines(output) >= done
        done = _lines(output)
    outcomes = engine.map(slow_double, range(40), output=output, workers=2)
    assert [outcome.value for outcome in outcomes] == [2 * number for number in range(40)]
    keys = [json.loads(line)["key"] for line in output.read_text().splitlines()[1:]]
    assert len(keys) == len(set(keys)) == 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_run(tmp_path: Path, number: signal.Signals) -> None:
    process = _start(f"engine.map(functools.partial(hang_beside, folder={str(tmp_path)!r}), range(2), workers=2)")
    _until(lambda: len(list(tmp_path.iterdir())) == 2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert (b"KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    _until(lambda: not any(_runs(worker) for worker in workers))


def test_an_interrupt_keeps_what_is_done(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    process = _start(f"engine.map(slow_double, range(1000), workers=2, output={str(output)!r})")
    _until(lambda: _lines(output) > 4)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    done = _lines(output) - 1
    assert 4 <= done < 1000
    outcomes = engine.map(slow_double, range(done), output=output, workers=2)
    assert [outcome.value for outcome in outcomes] == [2 * number for number in range(done)]


def test_a_script_without_a_guard_is_explained(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {HERE!r})\n"
        "from engine_jobs import double\n"
        "from intarsia import engine\n"
        "engine.map(double, range(4))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"worker processes cannot start" in done.stderr
    assert b"if __name__ == '__main__':" in done.stderr


def test_a_function_typed_into_an_interpreter_is_explained() -> None:
    code = "def f(row): return row\nfrom intarsia import engine\nengine.map(f, [1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert b"InputError: a worker process cannot load the function or a row: AttributeError" in done.stderr


def _start(call: str) -> "subprocess.Popen[bytes]":
    jobs = [double, hang_beside, slow_double]
    code = f"""
import functools, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {HERE!r})
from engine_jobs import {", ".join(job.__name__ for job in jobs)}
from intarsia import engine
{call}
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
