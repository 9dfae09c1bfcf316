"""Scores, measures of bias, arranged options and the observed label space."""

import numpy as np
import pytest
from classification_models import TOPICS, HashEncoder

from intarsia.classification import Classification, LabelSet, arrange_options, evaluate, observed_labels
from intarsia.classification.evaluation import (
    calibration_error,
    compare,
    flip_rate,
    label_bias,
    position_bias,
    recall_deviation,
    total_variation,
)
from intarsia.classification.options import label_space
from intarsia.errors import ConfigError, DataError, InputError
from intarsia.metrics import accuracy


def found(id, label, candidates=("a", "b"), **settings):
    return Classification(id, label, label, candidates, {}, 0.9, calls=4, **settings)


GOLD = {"1": "a", "2": "b", "3": "c", "4": "a"}


def test_scores_of_four_texts():
    rows = [found("1", "a"), found("2", "a"), found("3", "b"), found("4", None)]
    scores = evaluate(rows, GOLD, "abc")
    assert scores.accuracy.value == 0.25
    assert scores.top.value == 0.75
    assert scores.decided.value == pytest.approx(1 / 3)
    assert scores.accuracy.value == pytest.approx(scores.top.value * scores.decided.value)
    assert scores.answered.value == 0.75
    assert scores.calls == 4
    from sklearn.metrics import f1_score

    micro = f1_score(list(GOLD.values()), ["a", "a", "b", "none"], average="micro", labels=["a", "b", "c", "none"])
    assert scores.accuracy.value == pytest.approx(micro)
    assert accuracy(list(GOLD.values()), ["a", "a", "b", "none"]) == scores.accuracy.value
    assert compare(rows, [found(id, gold) for id, gold in GOLD.items()], GOLD).second_only == 3


def test_what_cannot_be_scored_is_named():
    with pytest.raises(InputError, match="no texts"):
        evaluate([], GOLD, "abc")
    with pytest.raises(DataError, match="'9' has no gold label"):
        evaluate([found("9", "a")], GOLD, "abc")
    with pytest.raises(DataError, match="the gold label 'c' of '3' is not among the 2 labels"):
        evaluate([found("3", "a")], GOLD, "ab")
    with pytest.raises(InputError, match="same texts"):
        compare([found("1", "a")], [found("2", "a")], GOLD)


def test_measures_of_bias_have_their_closed_forms():
    assert total_variation([1, 0], [0, 1]) == 1
    assert total_variation([0.5, 0.5], [0.5, 0.5]) == 0
    assert position_bias([0, 0, 0, 0], [0, 1, 2, 3], 4) == pytest.approx(0.75)
    assert position_bias([3, 2, 1, 0], [0, 1, 2, 3], 4) == 0
    assert position_bias([None], [0], 2) == 0
    assert label_bias(["a", "a"], "ab") == pytest.approx(0.5)
    assert recall_deviation([True, True, False, False], [0, 0, 1, 1]) == pytest.approx(0.5)
    assert flip_rate(["a", "b", None], ["a", "c", None]).value == pytest.approx(1 / 3)
    assert calibration_error([1.0, 1.0], [True, False]) == pytest.approx(0.5)
    assert calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, True, False]) == pytest.approx(0)


def test_options_are_arranged_as_asked():
    labels = LabelSet.of(TOPICS)
    options = arrange_options(labels, TOPICS[7], option_num=6, gold_position=4, item="x")
    assert len(set(options)) == 6
    assert options[4] == TOPICS[7]
    assert options == arrange_options(labels, TOPICS[7], option_num=6, gold_position=4, item="x")
    assert options != arrange_options(labels, TOPICS[7], option_num=6, gold_position=4, item="y")
    assert arrange_options(labels, TOPICS[7]) == labels.names
    assert arrange_options(labels, TOPICS[7], option_num=1) == (TOPICS[7],)


def test_similar_options_are_the_nearest_ones():
    labels, vectors = LabelSet.of(TOPICS), HashEncoder().embed(TOPICS)
    options = arrange_options(labels, TOPICS[2], option_num=4, similar_rate=1.0, vectors=vectors)
    nearest = [TOPICS[place] for place in np.argsort(-(vectors @ vectors[2]), kind="stable") if place != 2][:3]
    assert set(options) == {TOPICS[2], *nearest}
    half = arrange_options(labels, TOPICS[2], option_num=5, similar_rate=0.5, vectors=vectors)
    assert set(nearest[:2]) <= set(half)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"option_num": 31}, "option_num is 31, but it must be between 1 and 30"),
        ({"option_num": 0}, "option_num is 0"),
        ({"option_num": 3, "gold_position": 3}, "gold_position is 3, but it must be between 0 and 2"),
        ({"similar_rate": 2.0}, "similar_rate is 2.0"),
        ({"similar_rate": 0.5}, "labels have no vectors"),
    ],
)
def test_impossible_arrangements_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        arrange_options(LabelSet.of(TOPICS), TOPICS[0], **settings)


def test_the_observed_label_space_is_that_of_the_published_code():
    labels = LabelSet(("a", "b", "c"), {"c": "see"})
    assert observed_labels(labels, ["c", "a", "a"]) == LabelSet(("a", "c"), {"c": "see"})
    assert label_space(labels, ["a"], "full") is labels
    assert label_space(labels, ["a"], "observed").names == ("a",)
    with pytest.raises(ConfigError, match="label_space is 'seen', but it must be full or observed"):
        label_space(labels, ["a"], "seen")
    with pytest.raises(DataError, match="gold label 'z' is not among the 3 labels"):
        label_space(labels, ["z"], "full")


def test_hard_cases_of_the_published_runs_have_fewer_options(intent_folder):
    from intarsia.classification.intent_sets import read_intent_set

    sizes = {
        "banking77": (2367, 154, 77),
        "hwu64": (851, 55, 64),
        "liu54": (1958, 127, 54),
        "clinc150": (1733, 113, 150),
    }
    for name, (count, hard, labels) in sizes.items():
        each = read_intent_set(intent_folder, name)
        assert (len(each.items), len(each.hard), len(each.labels)) == (count, hard, labels)
        assert len(each.labels_of(each.subset("hard"), "observed")) < labels
        assert len(each.labels_of(each.subset("hard"), "full")) == labels
        # Texts to classify are no examples.
        shown = {text.casefold() for text, _ in each.examples_of(each.labels)}
        assert not shown & {item.text.casefold() for item in each.items}
