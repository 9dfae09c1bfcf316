"""Audits in a folder: calls, going on, concurrency, logs scored again, reports, refusals."""

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("inspect_ai", reason="the extra 'eval' is not installed")

from intarsia.audit.bias.asking import Record, ask_item, most_calls
from intarsia.audit.bias.association import select_tests, shipped_tests
from intarsia.audit.bias.auditing import (
    completions_of,
    read_bias_audit,
    read_records,
    run_bias_audit,
    write_bias_report,
)
from intarsia.audit.bias.config import RejudgeConfig
from intarsia.audit.bias.items import plan
from intarsia.audit.bias.layout import RECORDING, BiasAuditConfig
from intarsia.audit.bias.page import bias_report
from intarsia.audit.bias.results import BiasResult, bias_result
from intarsia.audit.bias.simulation import AGENTS, Beliefs, Responder, simulated_model
from intarsia.errors import DataError, InputError, IntarsiaError, RunExistsError, UnknownNameError
from intarsia.evals.call import Call
from intarsia.evals.inspect import add_script, find_logs, read_run, run
from intarsia.evals.scripted import ScriptedChat
from intarsia.experiments.report import render

SMALL = RejudgeConfig(tests=("gender-career", "age"), templates=4, draws=8, pairs=2, neutral=12)


def items(config: RejudgeConfig = SMALL) -> list[Any]:
    return plan(select_tests(shipped_tests(), config.tests), config)


def records(script: Callable[[Call], str], config: RejudgeConfig = SMALL) -> tuple[list[Record], ScriptedChat]:
    model = ScriptedChat(script)

    async def ask() -> list[Record]:
        return [await ask_item(model, item, config) for item in items(config)]

    return asyncio.run(ask()), model


def audited(name: str, config: RejudgeConfig = SMALL) -> BiasResult:
    found, _ = records(Responder(AGENTS[name]), config)
    return bias_result(found, model=name, config=config)


# Without Inspect


def test_only_the_model_that_shows_and_does_not_avow_hides_a_bias() -> None:
    config = RejudgeConfig(tests=("gender-career", "race"))
    verdicts = {name: {row["verdict"] for row in audited(name, config).tests} for name in AGENTS}
    assert verdicts == {
        "consistent": {"open bias"},
        "aligned-surface": {"hidden bias"},
        "rejects-everything": {"no verdict"},
        "agrees-with-everything": {"no verdict"},
        "noisy": {"no bias found"},
        "refuses-often": {"no verdict"},
    }


def test_judges_that_do_not_judge_have_delta_zero() -> None:
    for name, share in (("rejects-everything", 1.0), ("agrees-with-everything", 0.0)):
        for row in audited(name).tests:
            assert row["rejected"]["value"] == row["twins_rejected"]["value"] == share
            assert row["anti_rejected"] is None or row["anti_rejected"]["value"] == share
            assert row["delta"]["value"] == 0
            assert row["d_prime"] == pytest.approx(0)
            assert row["delta_p"] == 1


def test_a_judge_that_rejects_exactly_the_stereotype_has_delta_one() -> None:
    found, _ = records(Responder(Beliefs(implicit=1.5, explicit=-50)))
    for row in bias_result(found, model="m", config=SMALL).tests:
        assert row["delta"]["value"] == 1


def test_a_test_without_stereotypes_has_no_inconsistency() -> None:
    found, _ = records(Responder(Beliefs(implicit=-50)))
    result = bias_result(found, model="m", config=SMALL)
    for row in result.tests:
        assert row["implicit"]["value"] == -1
        assert (row["rejected"], row["delta"], row["d_prime"], row["delta_p"]) == (None, None, None, None)
    assert "–" in render(bias_report([result]))


def test_refusals_of_everything_leave_indices_undefined() -> None:
    found, model = records(Responder(Beliefs(refusals=1.0)))
    result = bias_result(found, model="m", config=SMALL)
    assert len(model.calls) == 64 + 12 * 4
    for row in result.tests:
        assert (row["implicit"], row["gap"], row["explicit"]) == (None, None, None)
        assert row["implicit_bounds"] == [-1.0, 1.0]
        assert row["verdict"] == "no verdict"


def test_calls_are_those_of_the_formula_and_draws_differ() -> None:
    found, model = records(Responder(Beliefs(implicit=50)))
    assert len(found) == 64 + 12
    assert len(model.calls) == most_calls(64, 12, SMALL)
    # No two calls are equal, so no cache can take one draw for another.
    assert len({call.identity("m") for call in model.calls}) == len(model.calls)
    assert len({call.key for call in model.calls}) == len(model.calls)
    assert {len(call.messages) for call in model.calls} == {1}


def test_repetitions_of_a_run_differ_in_their_seeds() -> None:
    model = ScriptedChat(Responder(Beliefs()))
    item = items()[0]
    for epoch in (1, 2):
        asyncio.run(ask_item(model, item, SMALL, epoch=epoch))
    first, second = (call for call in model.calls if call.key and call.key.endswith("completion"))
    assert first.messages == second.messages
    assert first.seed != second.seed


def test_contexts_are_tables_of_their_own() -> None:
    config = RejudgeConfig(tests=("age",), templates=2, draws=4, neutral=0, contexts=("fresh", "same_chat"))
    found, model = records(Responder(AGENTS["aligned-surface"]), config)
    result = bias_result(found, model="m", config=config)
    assert [row["context"] for row in result.tests] == ["fresh", "same_chat"]
    assert {len(call.messages) for call in model.calls} == {1, 3}
    # Without neutral statements nothing says that the judge can judge.
    assert all(row["reasons"][0] == "no neutral statements were judged" for row in result.tests)


def test_the_report_says_what_indices_mean_and_why_there_is_no_verdict() -> None:
    hidden = render(bias_report([audited("aligned-surface")]))
    assert "Stereotype-specific inconsistency" in hidden
    assert "consistent with a bias that is shown and not avowed" in hidden
    failed = render(bias_report([audited("rejects-everything")]))
    told = "There is no verdict on any test, because a control failed: it rejects 100 % of true neutral statements too"
    assert failed.count(told) == 1
    assert "tests: hidden bias" not in failed, "a test without a verdict is not one without a bias"
    both = render(bias_report([audited("noisy"), audited("consistent")]))
    assert both.count("What the indices mean") >= 1
    with pytest.raises(InputError, match="no result"):
        bias_report([])


# With Inspect


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("audit") / "run"
    said: list[str] = []
    run = run_bias_audit(folder, BiasAuditConfig("simulated:aligned-surface"), SMALL, say=said.append)
    assert said == ["simulated:aligned-surface: 76 items, at most 368 calls to make"]
    return run


def test_an_audit_through_inspect_is_the_same_as_one_without(done: Any) -> None:
    found, _ = records(Responder(AGENTS["aligned-surface"]))
    direct = bias_result(found, model="simulated:aligned-surface", config=SMALL)
    assert done.result.to_json() == direct.to_json()
    assert json.loads((done.folder / "results.json").read_text()) == json.loads(json.dumps(direct.to_json()))


def test_logs_are_scored_again_the_same(done: Any, tmp_path: Path) -> None:
    (log,) = find_logs(done.folder / "logs")
    assert read_bias_audit(done.folder) == done.result
    assert read_bias_audit(log).tests == done.result.tests
    results, page = write_bias_report([log, done.folder], tmp_path)
    assert len(results) == 2
    assert page.is_file()
    metrics = {(row["value"], row["metric"]): row["measured"] for row in read_run(log).metrics}
    rows = done.result.tests
    n = sum(row["implicit"]["n"] for row in rows)
    pooled = sum(row["implicit"]["value"] * row["implicit"]["n"] for row in rows) / n
    assert metrics["implicit", "mean"] == pytest.approx(pooled)
    assert metrics["delta", "intarsia/d_prime"] > 1


def test_inspect_scores_a_stored_log_as_it_was_scored(done: Any) -> None:
    from inspect_ai import score
    from inspect_ai.log import read_eval_log

    from intarsia.audit.bias.evaluation import rejudge_scorer

    (path,) = find_logs(done.folder / "logs")
    stored = read_eval_log(str(path))
    again = score(stored, rejudge_scorer(), action="overwrite", display="none")
    assert stored.results is not None
    assert again.results is not None
    before = {each.name: each.metrics for each in stored.results.scores}
    assert {each.name: each.metrics for each in again.results.scores} == before


def test_another_seed_asks_something_else(done: Any, tmp_path: Path) -> None:
    config = replace(SMALL, seed=7, temperature=0.5)
    again = run_bias_audit(tmp_path / "run", BiasAuditConfig("simulated:aligned-surface"), config)
    assert [each.item for each in read_records(again.folder)] == items(config) != items()
    assert again.result.tests != done.result.tests


def test_concurrency_makes_no_difference(done: Any, tmp_path: Path) -> None:
    for concurrency in (1, 20):
        again = run_bias_audit(
            tmp_path / str(concurrency), BiasAuditConfig("simulated:aligned-surface", concurrency=concurrency), SMALL
        )
        assert again.result == done.result


def test_an_interrupted_run_goes_on(done: Any, tmp_path: Path) -> None:
    answers, calls = Responder(AGENTS["aligned-surface"]), {"made": 0, "allowed": 120}

    def script(call: Call) -> str:
        calls["made"] += 1
        if calls["made"] > calls["allowed"]:
            raise RuntimeError("the line is dead")
        return answers(call)

    add_script("dying-rejudge", script)
    config = BiasAuditConfig("scripted/dying-rejudge", concurrency=4)
    with pytest.raises(IntarsiaError, match="ended early"):
        run_bias_audit(tmp_path / "run", config, SMALL)
    calls["allowed"] = 10**6
    said: list[str] = []
    resumed = run_bias_audit(tmp_path / "run", config, SMALL, say=said.append)
    assert "answered before" in said[0]
    assert resumed.result.tests == done.result.tests
    assert resumed.result.controls == done.result.controls
    # Done is done: the same call asks nothing.
    made = calls["made"]
    assert run_bias_audit(tmp_path / "run", config, SMALL).result == resumed.result
    assert calls["made"] == made


def test_completions_are_judged_again_elsewhere(done: Any, tmp_path: Path) -> None:
    config = RejudgeConfig(scales=("agree2",), contexts=("third_person",), neutral=12)
    said: list[str] = []
    again = run_bias_audit(
        tmp_path / "run", BiasAuditConfig("simulated:consistent"), config, completions=done.folder, say=said.append
    )
    assert len(completions_of(done.folder)) == 64
    assert said == [
        f"simulated:consistent: 76 items, at most {most_calls(64, 12, config, has_completions=True)} calls to make"
    ]
    assert [row["implicit"] for row in again.result.tests] == [row["implicit"] for row in done.result.tests]
    assert {row["context"] for row in again.result.tests} == {"third_person"}


def test_statement_pairs_are_only_judged(tmp_path: Path) -> None:
    item = items()[0]
    path = tmp_path / "pairs.jsonl"
    row = {"stereotype": item.stereotype, "reversed": item.reversed, "category": "gender"}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    run = run_bias_audit(
        tmp_path / "run", BiasAuditConfig("simulated:consistent"), RejudgeConfig(neutral=12), statements=path
    )
    (found,) = run.result.tests
    assert (found["completions"], found["implicit"], found["judged"]) == (0, None, 2)
    assert found["explicit"]["n"] == 1
    with pytest.raises(InputError, match="no first stage"):
        completions_of(run.folder)


def test_refused_runs_leave_nothing(done: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(InputError, match="may make 368 calls, but only 100 are allowed"):
        run_bias_audit(folder, BiasAuditConfig("simulated:noisy", max_calls=100), SMALL)
    assert not folder.exists()
    with pytest.raises(RunExistsError, match=r"other settings \(model\)"):
        run_bias_audit(done.folder, BiasAuditConfig("simulated:noisy"), SMALL)
    other = RejudgeConfig(tests=SMALL.tests, templates=4, draws=4, pairs=2, neutral=12)
    with pytest.raises(RunExistsError, match=r"other settings \(draws\)"):
        run_bias_audit(done.folder, BiasAuditConfig("simulated:aligned-surface"), other)
    with pytest.raises(UnknownNameError, match="unknown simulated model 'honest'"):
        BiasAuditConfig("simulated:honest")
    with pytest.raises(InputError, match="stimuli and statements are given"):
        run_bias_audit(folder, BiasAuditConfig("simulated:noisy"), stimuli="a", statements="b")
    with pytest.raises(InputError, match="holds no run"):
        read_bias_audit(tmp_path)
    with pytest.raises(InputError, match="no such run or log"):
        completions_of(tmp_path / "nowhere")


def test_word_lists_through_inspect(tmp_path: Path) -> None:
    log = run("intarsia/iat", model="simulated/aligned-surface", log_dir=tmp_path, tests="gender-career", draws=10)
    bias = next(row["measured"] for row in log.metrics if (row["value"], row["metric"]) == ("bias", "mean"))
    assert 0.4 < bias <= 0.9  # tanh(0.75) = 0.64
    with pytest.raises(DataError, match="task 'intarsia/iat'"):
        read_bias_audit(log.path)


def test_decisions_follow_word_lists_in_the_same_conversation(tmp_path: Path) -> None:
    log = run(
        "intarsia/iat",
        model="simulated/aligned-surface",
        log_dir=tmp_path,
        tests="gender-career,age",
        draws=20,
        decision=True,
    )
    found = {(row["value"], row["metric"]): row["measured"] for row in log.metrics}
    assert found["decided", "mean"] == 1
    assert 0.6 < found["decision", "mean"] < 1  # sigma(1.5) = 0.82
    assert math.isfinite(found["decision", "intarsia/decision_slope"])
    assert len(log.samples) == 40


def test_records_hold_every_word(done: Any) -> None:
    found = read_records(done.folder)
    assert len(found) == 76
    assert all(len(each.judgements) == 4 for each in found)
    assert not (done.folder / RECORDING).exists()
    assert simulated_model("noisy").name == "simulated:noisy"
