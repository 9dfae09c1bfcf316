"""Report cards: how calls are divided, what a card holds, and how two are compared."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from intarsia.audit.card.budget import plan_calls
from intarsia.audit.card.card import Card, Score, bias_scores, read_card, roleplay_scores
from intarsia.audit.card.comparing import compare_cards
from intarsia.audit.card.page import card_report, comparison_report
from intarsia.audit.card.running import CardConfig, write_comparison
from intarsia.errors import ConfigError, DataError, InputError, UnknownNameError
from intarsia.experiments.report import render


def card(model: str = "a", **changes: Any) -> Card:
    scores = [
        Score("causal", "facts right", 60.0, 55.0, 65.0, 400, "higher"),
        Score("roleplay", "hallucinated (plain)", 20.0, 15.0, 25.0, 100, "lower"),
        Score("bias", "age: I, completes the stereotype", 0.5, 0.4, 0.6, 80, "lower", "index", "open bias"),
        Score("bias", "age: Delta, rejects its own", None, None, None, 0, "none", "index", "open bias"),
    ]
    settings: dict[str, Any] = {"causal": {"graphs": 3}, "roleplay": {"roles": 4}, "bias": {"draws": 4}}
    base = Card(model, "rules", 1000, {"causal": 300}, settings, scores)
    return replace(base, **changes)


@pytest.mark.parametrize("budget", [116, 120, 400, 1000, 2000, 10_000, 100_000])
def test_a_plan_stays_within_its_budget_and_grows_with_it(budget: int) -> None:
    for judged in (True, False):
        plan = plan_calls(budget, judged=judged, controls=20)
        assert sum(plan.calls.values()) <= budget
        larger = plan_calls(10 * budget, judged=judged, controls=20)
        assert all(larger.calls[suite] >= calls for suite, calls in plan.calls.items())
    assert plan_calls(budget, suites=("bias",)).calls.keys() == {"bias"}


def test_a_plan_asks_every_model_the_same() -> None:
    assert plan_calls(2000) == plan_calls(2000)
    with pytest.raises(ConfigError, match="budget is 10, but it must be at least 24 calls"):
        plan_calls(10)


def test_a_small_budget_runs_as_many_audits_as_it_can() -> None:
    assert plan_calls(116, judged=False).calls == {"causal": 24, "roleplay": 20, "bias": 72}
    assert plan_calls(115, judged=False).calls.keys() == {"causal", "roleplay"}
    assert plan_calls(24, judged=False).calls == {"roleplay": 20}


def test_settings_that_are_not_allowed() -> None:
    with pytest.raises(UnknownNameError, match="unknown audit 'biass'"):
        CardConfig("m", suites=("biass",))
    with pytest.raises(ConfigError, match="budget is 0"):
        CardConfig("m", budget=0)


def test_a_card_is_written_and_read(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps(card().to_json()))
    assert read_card(tmp_path) == read_card(tmp_path / "card.json") == card()
    with pytest.raises(InputError, match="no model report card"):
        read_card(tmp_path / "nowhere")
    (tmp_path / "card.json").write_text("[]")
    with pytest.raises(DataError, match="not a model report card"):
        read_card(tmp_path)


def test_scores_are_compared_by_their_intervals() -> None:
    better = [
        Score("causal", "facts right", 80.0, 76.0, 84.0, 400, "higher"),
        Score("roleplay", "hallucinated (plain)", 40.0, 35.0, 45.0, 100, "lower"),
        Score("bias", "age: I, completes the stereotype", 0.45, 0.35, 0.55, 80, "lower", "index", "no verdict: x"),
        Score("bias", "age: Delta, rejects its own", 0.1, 0.0, 0.2, 70, "none", "index", "no verdict: x"),
    ]
    rows = {row.name: row for row in compare_cards(card(), card("b", scores=better))}
    facts = rows["facts right"]
    assert facts.verdict == "better"
    assert (facts.difference, facts.low) == (20, pytest.approx(20 - (16 + 25) ** 0.5))
    assert rows["hallucinated (plain)"].verdict == "worse"
    assert rows["age: I, completes the stereotype"].verdict == "no verdict: a control failed"
    assert rows["age: Delta, rejects its own"].verdict == "not measured for both"
    assert {row.verdict for row in compare_cards(card(), card("b"))} == {"no clear difference", "not measured for both"}


def test_scores_of_other_questions_are_not_compared() -> None:
    other = card("b", settings={**card().settings, "causal": {"graphs": 9}}, judge="some/judge")
    verdicts = {row.name: row.verdict for row in compare_cards(card(), other)}
    assert verdicts["facts right"] == verdicts["hallucinated (plain)"] == "asked differently"
    assert verdicts["age: I, completes the stereotype"] == "no clear difference"


def test_pages_show_warnings_first(tmp_path: Path) -> None:
    first, second = card(), card("b", warnings=["A control of the bias audit failed."])
    page = render(card_report(second))
    assert page.index("<p>A control of the bias audit failed.") < page.index("<h2>Causal reasoning")
    assert "b: A control of the bias audit failed." in render(
        comparison_report(first, second, compare_cards(first, second))
    )
    for name, each in (("a", first), ("b", second)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(json.dumps(each.to_json()))
    rows, report = write_comparison(tmp_path / "a", tmp_path / "b", tmp_path / "both")
    assert report.is_file()
    assert report.read_text().index("Verdicts") < report.read_text().rindex("Second is")
    assert "a (second)" in render(comparison_report(first, first, compare_cards(first, first)))
    assert len(rows) == len(json.loads((tmp_path / "both" / "comparison.json").read_text())["rows"]) == 4


def test_verdicts_stand_beside_indices() -> None:
    cell = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 80}
    row = {
        "test": "age",
        "context": "fresh",
        "verdict": "no verdict",
        "reasons": ["why"],
        "implicit": cell,
        "delta": None,
    }
    tests = [{**row, "explicit": cell}, {**row, "context": "same_chat"}]
    scores = bias_scores({"contexts": ["fresh"], "controls": [], "tests": tests})
    assert [score.value for score in scores] == [0.5, None, 0.5]
    assert {score.note for score in scores} == {"no verdict: why"}
    page = render(card_report(card(scores=scores, calls={"bias": 72}, made={"bias": 40})))
    assert page.count("no verdict: why") == 1
    assert "bias tests: hidden bias" not in page, "a test without a verdict is not one without a bias"
    assert "at most 72 calls, of which 40 were made" in page
    # What failed for all tests is a warning of the card, and is not told again.
    scores = bias_scores({"contexts": ["fresh"], "controls": [{"problems": ["why"]}], "tests": tests})
    assert {score.note for score in scores} == {"no verdict"}


def test_role_play_scores_are_those_over_all_attacks() -> None:
    cell = {"value": 0.25, "low": 0.2, "high": 0.3, "n": 40}
    row = {"defence": "plain", "attack": "all", "hr": cell, "rf": None, "qf": None, "sc": {**cell, "value": 3.0}}
    scores = roleplay_scores({"table": [row, {**row, "attack": "omission"}]})
    assert [(score.name, score.value) for score in scores] == [
        ("hallucinated (plain)", 25.0),
        ("coherence (plain)", 3.0),
    ]
