"""Inspect's evaluations from Python: our providers, logs as rows, stopping and going on."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("inspect_ai", reason="the extra 'eval' is not installed")

from inspect_ai import eval as inspect_eval
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.tool import ToolInfo

from intarsia.audit.causal.solver import solve
from intarsia.errors import DataError, InputError, IntarsiaError, UnknownNameError
from intarsia.evals.call import Call
from intarsia.evals.failures import ModelCallError
from intarsia.evals.inspect import add_script, find_logs, read_run, run
from intarsia.evals.inspect.providers import provider_name
from intarsia.evals.protocol import Reply, Usage, user
from intarsia.evals.reply_journal import Entry, ReplyJournal

PARAMS: dict[str, Any] = {"tasks": "FI,BA", "levels": 1, "graphs": 5}
QUESTIONS = 40


class Counted:
    """The exact solver as a script that counts its calls and may be told to misbehave at one."""

    def __init__(self, name: str) -> None:
        self.keys: list[str | None] = []
        self.at: dict[int, Callable[[], None]] = {}
        add_script(name, self)

    def __call__(self, call: Call) -> Reply:
        self.keys.append(call.key)
        self.at.get(len(self.keys), lambda: None)()
        return Reply(solve(call.prompt), Usage(3, 2))


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Counted:
    return Counted(request.node.name)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"scripted/{request.node.name}"


def table(found: Any) -> list[Any]:
    rows = [(each.id, each.epoch, each.reply, each.error, each.scores) for each in found.samples]
    return json.loads(json.dumps(sorted(rows)))


def same(first: Any, second: Any) -> bool:
    # NaN stands for "does not apply" and equals nothing.
    return json.dumps(table(first)) == json.dumps(table(second)) and json.dumps(first.metrics) == json.dumps(
        second.metrics
    )


def test_a_run_asks_every_sample_once_and_a_second_one_none(counted: Counted, name: str, tmp_path: Path) -> None:
    heard = []
    found = run("intarsia/causal", model=name, log_dir=tmp_path, on_sample=lambda: heard.append(1), **PARAMS)
    assert found.is_complete
    assert found.answered == found.planned == len(counted.keys) == len(heard) == QUESTIONS
    assert set(counted.keys) == {sample.id for sample in found.samples}
    assert {sample.output_tokens for sample in found.samples} == {2}
    assert all(sample.scores["causal_scorer"]["exact"] == 1 for sample in found.samples)
    assert same(run("intarsia/causal", model=name, log_dir=tmp_path, **PARAMS), found)
    assert len(counted.keys) == QUESTIONS


@pytest.mark.parametrize("other", [{"temperature": 0.5}, {"max_tokens": 9}, {"graphs": 6}])
def test_other_settings_are_another_run(counted: Counted, name: str, tmp_path: Path, other: dict[str, Any]) -> None:
    run("intarsia/causal", model=name, log_dir=tmp_path, **PARAMS)
    run("intarsia/causal", model=name, log_dir=tmp_path, **{**PARAMS, **other})
    assert len(counted.keys) > QUESTIONS
    assert len(find_logs(tmp_path)) == 2


def test_calls_at_once_do_not_change_the_table(counted: Counted, name: str, tmp_path: Path) -> None:
    one, many = [
        run("intarsia/causal", model=name, log_dir=tmp_path / str(calls), concurrency=calls, **PARAMS)
        for calls in (1, 20)
    ]
    assert same(one, many)


def test_an_interrupted_run_goes_on_and_equals_an_uninterrupted_one(
    counted: Counted, name: str, tmp_path: Path
) -> None:
    counted.at[25] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run("intarsia/causal", model=name, log_dir=tmp_path / "a", concurrency=2, **PARAMS)
    stopped = read_run(find_logs(tmp_path / "a")[0])
    assert stopped.status == "cancelled"
    assert not stopped.is_complete
    assert 20 <= stopped.answered < QUESTIONS
    before = len(counted.keys)
    resumed = run("intarsia/causal", model=name, log_dir=tmp_path / "a", **PARAMS)
    assert len(counted.keys) - before == QUESTIONS - stopped.answered
    assert same(resumed, run("intarsia/causal", model=name, log_dir=tmp_path / "b", **PARAMS))


def test_a_killed_run_goes_on_from_what_its_log_holds(counted: Counted, name: str, tmp_path: Path) -> None:
    program = f"""
        import os
        from intarsia.audit.causal.solver import solve
        from intarsia.evals.inspect import add_script, run
        calls = []

        def script(call):
            calls.append(call)
            if len(calls) == 30:
                os._exit(9)
            return solve(call.prompt)

        add_script({name.removeprefix("scripted/")!r}, script)
        run("intarsia/causal", model={name!r}, log_dir={str(tmp_path)!r}, concurrency=1, **{PARAMS!r})
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, timeout=300)
    assert killed.returncode == 9
    stopped = read_run(find_logs(tmp_path)[0])
    assert stopped.status == "started"
    assert 10 <= stopped.answered < 30
    resumed = run("intarsia/causal", model=name, log_dir=tmp_path, **PARAMS)
    assert resumed.is_complete
    assert len(counted.keys) == QUESTIONS - stopped.answered


def fail() -> None:
    raise ModelCallError("the model is on holiday", where="scripted")


def test_a_few_failed_calls_are_counted_and_asked_again_by_the_next_run(
    counted: Counted, name: str, tmp_path: Path
) -> None:
    refused: list[str | None] = []

    def refuse_first_question() -> None:
        refused.append(counted.keys[-1])
        fail()

    counted.at[1] = refuse_first_question
    # The sample is tried again twice, wherever these calls fall.
    original = counted.__class__.__call__

    def stubborn(self: Counted, call: Call) -> Reply:
        if refused and call.key == refused[0] and len(refused) < 3:
            refused.append(call.key)
            fail()
        return original(self, call)

    add_script(name.removeprefix("scripted/"), lambda call: stubborn(counted, call))
    found = run("intarsia/causal", model=name, log_dir=tmp_path, **PARAMS)
    assert found.status == "success"
    assert not found.is_complete
    (failed,) = [sample for sample in found.samples if sample.reply is None]
    assert failed.id == refused[0]
    assert "on holiday" in str(failed.error)
    again = run("intarsia/causal", model=name, log_dir=tmp_path, **PARAMS)
    assert again.is_complete
    assert again.answered == QUESTIONS


def test_many_failed_calls_end_the_run_and_say_why(counted: Counted, name: str, tmp_path: Path) -> None:
    counted.at |= dict.fromkeys(range(20, 200), fail)
    with pytest.raises(IntarsiaError, match=r"(?s)on holiday.*what was answered is not asked twice"):
        run("intarsia/causal", model=name, log_dir=tmp_path, concurrency=1, **PARAMS)
    counted.at.clear()
    before = len(counted.keys)
    assert run("intarsia/causal", model=name, log_dir=tmp_path, **PARAMS).is_complete
    assert len(counted.keys) - before < QUESTIONS


# Providers


@pytest.mark.parametrize(
    ("ref", "called"),
    [
        ("asset:smollm2-135m-instruct", "intarsia/asset:smollm2-135m-instruct"),
        ("hf/Qwen/Qwen2.5-7B-Instruct", "intarsia/hf/Qwen/Qwen2.5-7B-Instruct"),
        ("http://localhost:8000/v1#tiny", "intarsia/http://localhost:8000/v1#tiny"),
        ("replay:answers,old.jsonl", "intarsia/replay:answers,old.jsonl"),
        ("./model", "intarsia/./model"),
        ("openai/gpt-4o-mini", "openai/gpt-4o-mini"),
        ("openai-api/local/qwen", "openai-api/local/qwen"),
    ],
)
def test_models_keep_their_names_in_inspect(ref: str, called: str) -> None:
    assert provider_name(ref) == called


def test_recorded_answers_are_replayed_by_what_was_asked(tmp_path: Path) -> None:
    from intarsia.audit.causal.building import generate_questions
    from intarsia.audit.causal.config import BenchmarkConfig

    journal = ReplyJournal(tmp_path / "answers, old.jsonl")
    for question in generate_questions(BenchmarkConfig(tasks=("FI",), levels=(1,), graphs=1)):
        reply = Reply(solve(question.prompt), Usage(7, 5))
        journal.add(Entry("some/model", Call((user(question.prompt),), 0.0, 1024, None, question.id), reply))
    record = tmp_path / "again.jsonl"
    found = run(
        "intarsia/causal",
        model=f"intarsia/replay:{journal.path}",
        model_args={"record": str(record)},
        log_dir=tmp_path / "logs",
        tasks="FI",
        levels=1,
        graphs=1,
    )
    assert found.is_complete
    assert {sample.output_tokens for sample in found.samples} == {5}
    assert len(record.read_text().splitlines()) == 4
    with pytest.raises(IntarsiaError, match="has no answer to this call"):
        run("intarsia/causal", model=f"intarsia/replay:{journal.path}", log_dir=tmp_path, tasks="FI", seed=1, graphs=1)


def test_an_unknown_script_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown script 'nobody'"):
        get_model("scripted/nobody", memoize=False)


def test_an_unknown_provider_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Inspect cannot make this model: .*nowhere"):
        run("intarsia/causal", model="nowhere/model", log_dir=tmp_path, **PARAMS)


def test_tools_are_refused(counted: Counted, name: str) -> None:
    api = get_model(name, memoize=False).api
    with pytest.raises(InputError, match="calls no tools"):
        asyncio.run(api.generate([], [ToolInfo(name="search", description="")], "auto", GenerateConfig()))


# Logs


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)log not found.*nothing\.eval"):
        read_run(tmp_path / "nothing.eval")
    (tmp_path / "broken.eval").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match="not a log of Inspect"):
        read_run(tmp_path / "broken.eval")


def test_repetitions_are_samples_of_their_own(counted: Counted, name: str, tmp_path: Path) -> None:
    (log,) = inspect_eval(
        "intarsia/causal",
        model=name,
        task_args={"tasks": "FI", "levels": 1, "graphs": 1},
        epochs=2,
        log_dir=str(tmp_path),
        display="none",
    )
    found = read_run(log.location)
    assert (found.planned, found.answered) == (8, 8)
    assert sorted(sample.epoch for sample in found.samples) == [1] * 4 + [2] * 4
    assert sum(str(key).endswith("/epoch-2") for key in counted.keys) == 4


@pytest.fixture(autouse=True)
def no_environment_of_inspect(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [each for each in os.environ if each.startswith("INSPECT_")]:
        monkeypatch.delenv(variable)
