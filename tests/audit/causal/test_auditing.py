"""Asking a model in a folder: every engine, going on, refusing, and reports from what was written."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("inspect_ai", reason="the extra 'eval' is not installed")

from intarsia.audit.causal.answered import Answered
from intarsia.audit.causal.auditing import read_audit, run_audit, write_audit_report
from intarsia.audit.causal.baselines import BASELINE_TASKS
from intarsia.audit.causal.building import generate_questions
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.dataset import QUESTIONS, read_dataset, write_dataset
from intarsia.audit.causal.extraction import EXTRACTION_TOKENS, extraction_prompt
from intarsia.audit.causal.layout import RECORDING, AuditConfig
from intarsia.audit.causal.page import audit_report
from intarsia.audit.causal.questions import Question
from intarsia.audit.causal.results import audit_result
from intarsia.audit.causal.solver import solve
from intarsia.errors import ConfigError, DataError, InputError, IntarsiaError, RunExistsError, UnknownNameError
from intarsia.evals.call import Call
from intarsia.evals.inspect import add_script
from intarsia.evals.protocol import Reply, user
from intarsia.evals.reply_journal import Entry, ReplyJournal
from intarsia.experiments.report import render

BENCHMARK = BenchmarkConfig(levels=(1, 2), graphs=1, names=("specific", "bio"), minimal_sets=False)


def mixed_reply(number: int, question: Question) -> str:
    """Right, wrong and unreadable replies, and ones that only a model can read."""
    if number % 7 == 3:
        return "Let me see. I think it is as I said."
    return "ANSWER: none" if number % 5 == 2 else solve(question.prompt)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of a model to all questions, and what it makes of its own unreadable ones."""
    journal = ReplyJournal(tmp_path_factory.mktemp("recording") / "answers.jsonl")
    for number, question in enumerate(generate_questions(BENCHMARK)):
        reply = mixed_reply(number, question)
        journal.add(Entry("some/model", Call((user(question.prompt),), 0.0, 1024, None, question.id), Reply(reply)))
        asked = Call((user(extraction_prompt(question, reply)),), 0.0, EXTRACTION_TOKENS, None, None)
        journal.add(Entry("some/model", asked, Reply(solve(question.prompt) if number % 2 else "NO FINAL ANSWER")))
    return journal.path


@pytest.fixture(scope="module")
def logged(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An audit through Inspect, with extraction."""
    folder = tmp_path_factory.mktemp("logged") / "run"
    return run_audit(folder, AuditConfig(f"replay:{recording}", extractor="model"), benchmark=BENCHMARK)


def test_an_audit_has_what_its_table_says(logged: Any) -> None:
    result = logged.result
    assert (result.questions, result.unanswered, result.errors) == (96, 0, {})
    assert {row["task"]: row["n"] for row in result.by_task} == {"CP": 16, "BA": 16, "FI": 16, "CI": 48}
    assert sum(row["n"] for row in result.table) == 96
    assert {row["task"] for row in result.names} == {"CP", "BA", "FI", "CI", "all"}
    assert all(row["n"] == 48 for row in result.names if row["task"] == "all")
    for row in result.extraction:
        assert row["unparsable_with_model"] < row["unparsable_by_rules"]
        assert row["rules"]["accuracy"] < row["with_model"]["accuracy"] < 1
    assert {row["system"] for row in result.baselines} == {f"baseline:{name}" for name in BASELINE_TASKS} - {
        "baseline:solver"
    }
    assert json.loads((logged.folder / "results.json").read_text()) == json.loads(json.dumps(result.to_json()))


@pytest.mark.parametrize("engine", ["serial", "threads", "local", pytest.param("ray", marks=pytest.mark.slow)])
def test_every_engine_gives_the_same_table(engine: str, logged: Any, recording: Path, tmp_path: Path) -> None:
    if engine == "ray":
        pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    config = AuditConfig(f"replay:{recording}", extractor="model", engine=engine)
    try:
        run = run_audit(tmp_path / "run", config, benchmark=BENCHMARK)
    except IntarsiaError as error:
        if engine == "ray" and "could not start on this machine" in str(error):
            pytest.skip("this machine is too busy for Ray to start within its half minute")
        raise
    assert run.result == logged.result
    assert read_audit(run.folder) == logged.result
    lines: list[str] = []
    again = run_audit(tmp_path / "run", config, benchmark=BENCHMARK, say=lines.append)
    assert again.result == logged.result
    assert "0 calls to make, and at most 0 more to extract answers; 96 were answered before" in lines[0]


def test_a_report_is_made_again_without_a_model(logged: Any, tmp_path: Path) -> None:
    (log,) = (logged.folder / "logs").glob("*.eval")
    for path in (logged.folder, log):
        assert read_audit(path).to_json() == {**logged.result.to_json(), "model": read_audit(path).model}
    released = read_audit(log, criterion="released")
    assert released.criterion == "released"
    assert released.failures["BA"] != logged.result.failures["BA"]
    assert released.failures["CP"] == logged.result.failures["CP"]
    results, page = write_audit_report([logged.folder, log], tmp_path)
    text = page.read_text()
    assert len(results) == 2
    for part in ("Right answers by task", "Names compared".lower(), "baseline:random-set", "Why adjustment sets"):
        assert part in text
    assert len(json.loads((tmp_path / "results.json").read_text())) == 2


def test_the_report_has_tables_pictures_and_provenance(logged: Any) -> None:
    text = logged.report.read_text()
    for part in (
        "By level",
        "By derivation steps",
        "Why answers are wrong",
        "backdoor path left open",
        "Names compared",
        "Who reads the replies",
        "Where these numbers come from",
        "extractor",
    ):
        assert part in text, part
    assert text.count("<svg role=") == 4
    assert "<script" not in text


@pytest.fixture
def counted() -> list[str]:
    calls: list[str] = []

    def script(call: Call) -> str:
        calls.append(str(call.key))
        return solve(call.prompt)

    add_script("counted", script)
    return calls


SMALL = BenchmarkConfig(levels=(1,), graphs=2, tasks=("BA", "FI"), minimal_sets=False)


def test_the_number_of_calls_is_told_and_kept_to(counted: list[str], tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(InputError, match=r"(?s)may make 16 calls, but only 15 are allowed.*raise max_calls"):
        run_audit(tmp_path / "run", AuditConfig("scripted/counted", max_calls=15), benchmark=SMALL, say=lines.append)
    assert lines == ["scripted/counted: 16 questions, 16 calls to make"]
    assert not counted
    assert not (tmp_path / "run").exists()
    run_audit(tmp_path / "run", AuditConfig("scripted/counted", max_calls=16), benchmark=SMALL)
    assert len(counted) == 16
    # What is answered needs no calls any more.
    run_audit(tmp_path / "run", AuditConfig("scripted/counted", max_calls=0), benchmark=SMALL)
    with pytest.raises(InputError, match="may make 32 calls"):
        run_audit(tmp_path / "other", AuditConfig("scripted/counted", extractor="model", max_calls=31), benchmark=SMALL)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"config": AuditConfig("scripted/counted", criterion="released")}, "criterion"),
        ({"config": AuditConfig("scripted/counted", temperature=1.0)}, "temperature"),
        ({"config": AuditConfig("baseline:solver", engine="serial")}, "model, engine"),
        ({"benchmark": BenchmarkConfig(levels=(1,), graphs=3)}, "questions"),
    ],
)
def test_a_folder_holds_one_run(counted: list[str], tmp_path: Path, other: dict[str, Any], what: str) -> None:
    given: dict[str, Any] = {"config": AuditConfig("scripted/counted"), "benchmark": SMALL}
    run_audit(tmp_path / "run", **given)
    with pytest.raises(RunExistsError, match=rf"(?s)run with other settings \({what}\).*--overwrite"):
        run_audit(tmp_path / "run", **{**given, **other})
    # How it is asked makes no difference.
    run_audit(tmp_path / "run", AuditConfig("scripted/counted", concurrency=3, timeout=9), benchmark=SMALL)
    assert len(counted) == 16


def test_overwriting_asks_anew(counted: list[str], tmp_path: Path) -> None:
    run_audit(tmp_path / "run", AuditConfig("scripted/counted"), benchmark=SMALL)
    run_audit(tmp_path / "run", AuditConfig("scripted/counted", seed=1), benchmark=SMALL, overwrite=True)
    assert len(counted) == 32


def test_files_that_are_no_run_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunExistsError, match="files that are not a run"):
        run_audit(tmp_path, AuditConfig("baseline:solver"), benchmark=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_moved_run_can_be_read_but_not_continued(counted: list[str], tmp_path: Path) -> None:
    first = run_audit(tmp_path / "run", AuditConfig("scripted/counted"), benchmark=SMALL)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert read_audit(tmp_path / "moved") == first.result
    with pytest.raises(InputError, match=r"(?s)was moved after it was stopped.*move it back"):
        run_audit(tmp_path / "moved", AuditConfig("scripted/counted"), benchmark=SMALL)


def test_a_written_data_set_is_asked_and_kept_with_the_run(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", SMALL)
    run = run_audit(tmp_path / "run", AuditConfig("baseline:solver", engine="serial"), dataset=tmp_path / "set")
    assert {row["accuracy"] for row in run.result.by_task} == {1.0}
    shutil.rmtree(tmp_path / "set")
    assert read_audit(run.folder) == run.result
    assert [question.id for question in read_dataset(run.folder / "questions")] == [
        question.id for question in generate_questions(SMALL)
    ]


def test_a_recording_without_an_end_is_gone_on_with(recording: Path, logged: Any, tmp_path: Path) -> None:
    """What a killed run on an engine had answered is taken from its recording."""
    config = AuditConfig(f"replay:{recording}", engine="serial")
    whole = run_audit(tmp_path / "whole", config, benchmark=BENCHMARK)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for name in ("replies.jsonl", "results.json", "report.html"):
        (tmp_path / "cut" / name).unlink()
    lines = (tmp_path / "cut" / RECORDING).read_text().splitlines(keepends=True)
    (tmp_path / "cut" / RECORDING).write_text("".join(lines[:50]) + lines[50][:40])
    told: list[str] = []
    assert run_audit(tmp_path / "cut", config, benchmark=BENCHMARK, say=told.append).result == whole.result
    assert told == [f"replay:{recording}: 96 questions, 46 calls to make; 50 were answered before"]
    assert len((tmp_path / "cut" / RECORDING).read_text().splitlines()) == 96


def test_questions_without_a_reply_are_counted(recording: Path, tmp_path: Path) -> None:
    """On an engine a call that fails is a question without a reply, and in no share."""
    journal = ReplyJournal(tmp_path / "some.jsonl")
    kept = list(ReplyJournal(recording).entries())[:-24]
    for entry in kept:
        journal.add(entry)
    run = run_audit(tmp_path / "run", AuditConfig(f"replay:{journal.path}", engine="serial"), benchmark=BENCHMARK)
    assert (run.result.questions, run.result.unanswered) == (96, 12)
    assert sum(row["n"] for row in run.result.by_task) == 84
    ((reason, count),) = run.result.errors.items()
    assert count == 12
    assert "no answer to this call" in reason
    assert "12 of 96 questions got no reply" in run.report.read_text()
    assert read_audit(run.folder).unanswered == 12


def test_nothing_answered_is_an_error(tmp_path: Path) -> None:
    journal = ReplyJournal(tmp_path / "other.jsonl")
    journal.add(Entry("some/model", Call((user("2 + 2?"),)), Reply("4")))
    with pytest.raises(IntarsiaError):
        run_audit(tmp_path / "run", AuditConfig(f"replay:{journal.path}", engine="serial"), benchmark=SMALL)


def test_replies_that_can_never_be_read_are_all_wrong() -> None:
    answered = [Answered(question, "Who knows?") for question in generate_questions(SMALL)]
    result = audit_result(answered, model="shrug")
    assert {(row["accuracy"], row["unparsable"]) for row in result.by_task} == {(0.0, 1.0)}
    assert result.failures == {"BA": {"unparsable": 8}, "FI": {"unparsable": 8}}
    assert "16 of 16 replies cannot be read; they count as wrong." in render(audit_report([result]))


def test_a_result_of_right_answers_only_has_a_report() -> None:
    answered = [Answered(question, solve(question.prompt)) for question in generate_questions(SMALL)]
    assert "No reply is wrong." in render(audit_report([audit_result(answered, model="oracle")]))


# Bad input


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"criterion": "frontdoor"}, UnknownNameError, "unknown criterion 'frontdoor'"),
        ({"extractor": "regex"}, UnknownNameError, "unknown extractor 'regex'"),
        ({"extractor_model": "openai/gpt-4o"}, ConfigError, "extractor is 'rules', but it must be 'model'"),
        ({"model": "baseline:genius"}, UnknownNameError, "unknown baseline 'genius'"),
        ({"model": ""}, ConfigError, "model is ''"),
        ({"engine": "spark"}, UnknownNameError, "unknown engine 'spark'"),
        ({"temperature": -1.0}, ConfigError, "temperature is -1.0"),
        ({"concurrency": 0}, ConfigError, "concurrency is 0"),
        ({"timeout": 0}, ConfigError, "timeout is 0"),
        ({"max_tokens": 0}, ConfigError, "max_tokens is 0"),
        ({"max_calls": -1}, ConfigError, "max_calls is -1"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        AuditConfig(**{"model": "baseline:solver", **wrong})


def test_a_baseline_is_asked_its_own_tasks_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)'empty-set' answers BA only, but FI are asked too.*ask for BA only"):
        run_audit(tmp_path / "run", AuditConfig("baseline:empty-set"), benchmark=SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", sorted(set(BASELINE_TASKS) - {"solver"}))
def test_a_baseline_as_a_model_scores_what_its_row_says(name: str, tmp_path: Path) -> None:
    tasks = BASELINE_TASKS[name]
    benchmark = BenchmarkConfig(levels=(1,), graphs=3, tasks=tasks, minimal_sets=False)
    for engine in ("inspect", "serial"):
        run = run_audit(tmp_path / engine, AuditConfig(f"baseline:{name}", engine=engine), benchmark=benchmark)
        rows = {row["task"]: row for row in run.result.baselines if row["system"] == f"baseline:{name}"}
        assert {row["task"]: row["accuracy"] for row in run.result.by_task} == {
            task: row["accuracy"] for task, row in rows.items()
        }


@pytest.mark.parametrize("engine", ["inspect", "serial"])
def test_a_model_that_cannot_be_made_leaves_no_run(engine: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        run_audit(tmp_path / "run", AuditConfig("nowhere/model", engine=engine), benchmark=SMALL)
    assert not (tmp_path / "run").exists()


def test_a_data_set_and_a_generator_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a data set is given, and settings to generate one too"):
        run_audit(tmp_path, AuditConfig("baseline:solver"), dataset=tmp_path, benchmark=SMALL)


@pytest.mark.parametrize("content", [b"", None])
def test_an_empty_or_missing_data_set_is_named(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / QUESTIONS).write_bytes(content)
    with pytest.raises(DataError, match="data set is empty" if content is not None else "no file of questions"):
        run_audit(tmp_path / "run", AuditConfig("baseline:solver"), dataset=tmp_path)
    assert not (tmp_path / "run").exists()


def test_what_is_no_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run or log"):
        read_audit(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"(?s)holds no run.*give the folder of a run, or a log"):
        read_audit(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(DataError, match="not the record of a causal audit"):
        read_audit(tmp_path)
    with pytest.raises(InputError, match="there is no result to report"):
        audit_report([])
