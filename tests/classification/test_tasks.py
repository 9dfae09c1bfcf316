"""The task of Inspect, offline, with a scripted model."""

import json
from pathlib import Path

import pytest

pytest.importorskip("inspect_ai", reason="the extra 'eval' is not installed")

from classification_models import options_of
from inspect_ai import score
from inspect_ai.log import read_eval_log

from intarsia.classification.tasks import intent, intent_scorer
from intarsia.errors import ConfigError, UnknownNameError
from intarsia.evals.inspect import add_script, run

LABELS = [f"topic_{place}" for place in range(8)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"id": f"r{place}", "text": f"about {LABELS[place]}", "label": LABELS[place]} for place in range(6)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    return path


def reader(call):
    """Knows the label, because the text names it; is wrong about topic_5."""
    options = options_of(call)
    said = next((label for label in options if f"about {label}" in call.prompt), options[0] if options else "")
    return f"LABEL: {said}" if "topic_5" not in call.prompt.partition("TEXT:")[2] else f"LABEL: {sorted(options)[0]}"


def ask(rows, tmp_path, **settings):
    add_script("reader", reader)
    return run(
        "intarsia/intent",
        model="scripted/reader",
        log_dir=tmp_path / "logs",
        dataset=str(rows),
        labels=str(rows.parent / "labels.txt"),
        **settings,
    )


def test_two_stages_are_scored(rows, tmp_path):
    found = ask(rows, tmp_path)
    scores = [sample.scores["intent_scorer"] for sample in found.samples]
    assert [each["acc"] for each in scores] == [1, 1, 1, 1, 1, 0]
    assert {each["calls"] for each in scores} == {9}
    assert {each["mapped"] for each in scores} == {1}
    measured = {(each["value"], each["metric"]): each["measured"] for each in found.metrics}
    assert measured["acc", "mean"] == pytest.approx(5 / 6)
    assert 0 < measured["acc", "intarsia/macro_f1"] < 1
    assert measured["acc", "ci_wilson lower"] < 5 / 6 < measured["acc", "ci_wilson upper"]


def test_a_stored_log_is_scored_alike(rows, tmp_path):
    found = ask(rows, tmp_path, method="direct")
    again = score(read_eval_log(found.path), intent_scorer(), display="none", action="overwrite")
    fresh = [sample.scores["intent_scorer"].value for sample in again.samples]
    assert fresh == [sample.scores["intent_scorer"] for sample in found.samples]


def test_the_place_of_the_right_option_and_the_number_of_options_can_be_set(rows, tmp_path):
    add_script("first", lambda call: f"LABEL: {options_of(call)[0]}")
    for place, right in ((0, 1.0), (2, 0.0)):
        found = run(
            "intarsia/intent",
            model="scripted/first",
            log_dir=tmp_path / "logs",
            dataset=str(rows),
            labels=str(rows.parent / "labels.txt"),
            method="direct",
            option_num=3,
            gold_position=place,
        )
        measured = {(each["value"], each["metric"]): each["measured"] for each in found.metrics}
        assert measured["acc", "mean"] == right
        assert measured["acc", "position_bias total variation"] == 1 - right


def test_answers_that_change_with_the_shuffle_are_counted(rows, tmp_path):
    add_script("shuffled", lambda call: f"LABEL: {options_of(call)[0]}")
    found = run(
        "intarsia/intent",
        model="scripted/shuffled",
        log_dir=tmp_path / "logs",
        dataset=str(rows),
        labels=str(rows.parent / "labels.txt"),
        method="direct",
        flips=True,
    )
    assert any(sample.scores["intent_scorer"]["flip"] for sample in found.samples)


def test_observed_labels_are_fewer(intent_folder):
    full = intent(dataset="hwu64", folder=str(intent_folder))
    observed = intent(dataset="hwu64", folder=str(intent_folder), label_space="observed")
    assert len(full.dataset) == len(observed.dataset) == 55
    assert len(full.dataset[0].metadata["options"]) == 64
    assert len(observed.dataset[0].metadata["options"]) < 64
    assert "observed labels" in observed.dataset.name


def test_bad_parameters_are_named(intent_folder, monkeypatch):
    monkeypatch.delenv("INTARSIA_DATA", raising=False)
    with pytest.raises(ConfigError, match="folder is ''"):
        intent()
    with pytest.raises(UnknownNameError, match="unknown intent set 'banking'"):
        intent(dataset="banking", folder=str(intent_folder))
    with pytest.raises(UnknownNameError, match="unknown subset 'harder'"):
        intent(folder=str(intent_folder), subset="harder")
    with pytest.raises(UnknownNameError, match="unknown reducer"):
        intent(folder=str(intent_folder), reducer="itrr")
