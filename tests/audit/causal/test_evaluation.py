"""The benchmark's tasks, solvers and scorers in Inspect, offline."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("inspect_ai", reason="the extra 'eval' is not installed")

from inspect_ai import score
from inspect_ai.log import read_eval_log, write_eval_log

from intarsia.audit.causal import tasks
from intarsia.audit.causal.building import generate_questions
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.dataset import QUESTIONS, dumped, write_dataset
from intarsia.audit.causal.evaluation import causal_scorer
from intarsia.audit.causal.questions import to_record
from intarsia.audit.causal.solver import solve
from intarsia.errors import ConfigError, DataError, InputError, UnknownNameError
from intarsia.evals.call import Call
from intarsia.evals.inspect import add_script, read_run, run

ROOT = Path(__file__).parents[3]
SMALL: dict[str, Any] = {"levels": "1,2", "graphs": 1}


def exact(found: Any, scorer: str = "causal_scorer") -> list[float]:
    return [sample.scores[scorer]["exact"] for sample in found.samples]


@pytest.mark.parametrize("prompt", ["zero_shot", "two_cot", "mis_hint"])
def test_the_exact_solver_as_a_model_is_always_right(prompt: str, tmp_path: Path) -> None:
    found = run("intarsia/causal", model="causal-baseline/solver", log_dir=tmp_path, prompt=prompt, **SMALL)
    assert len(found.samples) == 8 * (1 + 1 + 1 + 3)
    assert set(exact(found)) == {1.0}
    measured = {(each["value"], each["metric"]): each["measured"] for each in found.metrics}
    assert measured["exact", "mean"] == measured["parsed", "mean"] == 1
    assert measured["exact", "accuracy_by_group BA"] == measured["exact", "accuracy_by_group level 2"] == 1
    assert measured["exact", "ci_wilson lower"] < 1


def test_partial_evidence_and_name_styles_are_asked(tmp_path: Path) -> None:
    found = run(
        "intarsia/causal_names",
        model="causal-baseline/solver",
        log_dir=tmp_path,
        names="pseudo,bio,eco",
        tasks="FI",
        evidence="partial",
        **SMALL,
    )
    assert set(exact(found)) == {1.0}
    styles = [sample.metadata["names"] for sample in found.samples]
    assert {style: styles.count(style) for style in styles} == {"pseudo": 8, "bio": 8, "eco": 8}
    assert len({sample.metadata["pair_id"] for sample in found.samples}) == 8


def test_replies_have_the_room_their_prompt_style_needs(tmp_path: Path) -> None:
    seen = {}

    def script(call: Call) -> str:
        seen[str(call.key).rpartition(":")[2]] = call.max_tokens
        return solve(call.prompt)

    add_script("room", script)
    run("intarsia/causal", model="scripted/room", log_dir=tmp_path, prompt="zero_shot,zero_cot", tasks="FI", graphs=1)
    assert seen == {"zero_shot": 1024, "zero_cot": 2048}
    run("intarsia/causal", model="scripted/room", log_dir=tmp_path, max_tokens=7, tasks="FI", graphs=1)
    assert seen["zero_shot"] == 7


def test_replies_that_cannot_be_read_count_as_wrong(tmp_path: Path) -> None:
    add_script("mumble", lambda call: "Hm, hard to say." if "List" not in call.prompt else "")
    found = run("intarsia/causal", model="scripted/mumble", log_dir=tmp_path, **SMALL)
    assert found.is_complete
    assert set(exact(found)) == {0.0}
    assert {sample.scores["causal_scorer"]["parsed"] for sample in found.samples} == {0.0}
    (mean,) = [each["measured"] for each in found.metrics if (each["value"], each["metric"]) == ("exact", "mean")]
    assert mean == 0


def wordy(call: Call) -> str:
    """Answers right in words that the rules cannot read; as the extractor it writes them out."""
    if "--- Reply ---" in call.prompt:
        question = call.prompt.partition("--- Question ---\n")[2].partition("\n\n--- Reply ---")[0]
        return "NO FINAL ANSWER" if "We want" in question else solve(question)
    return "After much thought: see above."


def test_a_model_reads_what_the_rules_cannot_and_both_rates_are_there(tmp_path: Path) -> None:
    add_script("wordy", wordy)
    found = run("intarsia/causal", model="scripted/wordy", log_dir=tmp_path, extractor="model", **SMALL)
    by_task = {sample.metadata["task"]: sample.scores for sample in found.samples}
    assert by_task["FI"]["causal_scorer"]["exact"] == by_task["FI"]["causal_scorer"]["parsed"] == 0
    assert by_task["FI"]["extracted_scorer"]["exact"] == 1
    assert by_task["BA"]["extracted_scorer"]["parsed"] == 0
    assert all("extracted" in sample.metadata for sample in found.samples)


def test_the_extracting_model_may_be_another(tmp_path: Path) -> None:
    asked = []
    add_script("wordy reader", lambda call: asked.append(call.key) or wordy(call))
    add_script("mute", lambda call: "I would rather not.")
    found = run(
        "intarsia/causal",
        model="scripted/mute",
        model_roles={"extractor": "scripted/wordy reader"},
        log_dir=tmp_path,
        extractor="model",
        tasks="FI",
        graphs=1,
    )
    assert set(exact(found, "extracted_scorer")) == {1.0}
    assert {str(key).rpartition("/")[2] for key in asked} == {"extraction"}


# Scoring a log again


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    add_script("half", lambda call: solve(call.prompt) if len(call.prompt) % 2 else "ANSWER: none")
    folder = tmp_path_factory.mktemp("logs")
    return Path(run("intarsia/causal", model="scripted/half", log_dir=folder, **SMALL).path)


def test_scoring_the_stored_log_gives_the_stored_scores(log: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "inspect_ai", "score", str(log), "--scorer", "intarsia/causal_scorer"]
    # The log names a model of this process only; scoring needs one, though it asks nothing.
    command += ["--action", "overwrite", "--output-file", str(tmp_path / "again.eval")]
    command += ["--model", "causal-baseline/solver"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = read_run(log), read_run(tmp_path / "again.eval")
    assert 0 < sum(exact(before)) < len(before.samples)
    for one, other in zip(before.samples, after.samples, strict=True):
        assert json.dumps([one.id, one.scores]) == json.dumps([other.id, other.scores])
    assert json.dumps(before.metrics) == json.dumps(after.metrics)


def test_another_criterion_can_be_scored_from_the_same_log(log: Path) -> None:
    stored = read_eval_log(log)
    stored.eval.model = "causal-baseline/solver"
    released = score(stored, causal_scorer("released"), action="overwrite", display="none")
    kinds = {sample.scores["causal_scorer"].explanation for sample in released.samples or ()}
    assert "rejected" in kinds
    assert "open_backdoor_path" not in kinds


def test_a_missing_answer_key_is_named_at_scoring_time(log: Path, tmp_path: Path) -> None:
    stored = read_eval_log(log)
    stored.eval.model = "causal-baseline/solver"
    sample = next(each for each in stored.samples or () if each.metadata["task"] == "FI")
    sample.metadata["question"]["terms"] = None
    with pytest.raises(InputError, match=rf"(?s)no answer key.*{sample.id}"):
        score(stored, causal_scorer(), display="none")
    del sample.metadata["question"]
    with pytest.raises(InputError, match=rf"(?s)holds no causal question.*{sample.id}"):
        score(stored, causal_scorer(), display="none")
    write_eval_log(stored, str(tmp_path / "x.eval"))


# What tasks are given


def test_tasks_are_listed_with_what_they_take() -> None:
    command = [sys.executable, "-m", "inspect_ai", "list", "tasks", "src/intarsia/audit/causal", "--json"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
    assert [each["name"] for each in listed] == ["causal", "causal_names"]
    for each in listed:
        function = getattr(tasks, each["name"])
        assert function.__doc__
        for name, parameter in inspect.signature(function).parameters.items():
            assert parameter.annotation is not inspect.Parameter.empty
            assert parameter.default is not inspect.Parameter.empty
            assert f"{name}: " in function.__doc__


def test_a_written_data_set_is_asked_as_it_is(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", BenchmarkConfig(levels=(1,), graphs=2, tasks=("CP",), seed=3))
    found = run("intarsia/causal", model="causal-baseline/solver", log_dir=tmp_path, dataset=str(tmp_path / "set"))
    assert set(exact(found)) == {1.0}
    ids = [json.loads(line)["id"] for line in (tmp_path / "set" / QUESTIONS).read_text().splitlines()]
    assert sorted(sample.id for sample in found.samples) == sorted(ids)


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"tasks": "BA,XX"}, UnknownNameError, "unknown task 'XX'"),
        ({"prompt": "zero_shoot"}, UnknownNameError, "(?s)unknown prompt style 'zero_shoot'.*zero_shot"),
        ({"names": "specific,klingon"}, UnknownNameError, "unknown name style 'klingon'"),
        ({"criterion": "frontdoor"}, UnknownNameError, "unknown criterion 'frontdoor'"),
        ({"extractor": "regex"}, UnknownNameError, "unknown extractor 'regex'"),
        ({"group": 40}, UnknownNameError, "unknown group '40'"),
        ({"levels": "one"}, ConfigError, "'one', but it must be whole numbers"),
        ({"graphs": 0}, ConfigError, "graphs is 0"),
        ({"dataset": "nowhere"}, DataError, "(?s)no file of questions.*nowhere"),
    ],
)
def test_wrong_parameters_are_named(wrong: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        tasks.causal(**{"graphs": 1, **wrong})


def test_one_name_style_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="two or more name styles"):
        tasks.causal_names(names="specific")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: [], "the data set is empty"),
        (lambda rows: [{**rows[0], "paths": None}, *rows[1:]], "(?s)question '00-n1-p3-0000:CP.*has no answer key"),
        (lambda rows: [rows[0], rows[0]], "(?s)'00-n1-p3-0000:CP.*more than once"),
    ],
)
def test_a_data_set_that_cannot_be_scored_is_refused_before_any_call(edit: Any, message: str, tmp_path: Path) -> None:
    config = BenchmarkConfig(levels=(1,), graphs=1, tasks=("CP",))
    rows = edit([to_record(question) for question in generate_questions(config)])
    (tmp_path / QUESTIONS).write_bytes(b"".join(dumped(row) for row in rows))
    with pytest.raises(DataError, match=message):
        tasks.causal(dataset=str(tmp_path))
