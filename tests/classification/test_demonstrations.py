"""Boundary pairs are the greedy best pairs, disjoint, and the same for both orders of two labels."""

import numpy as np
import pytest
from classification_models import HashEncoder, examples

from intarsia.classification import Demonstrations, LabelSet
from intarsia.classification.demonstrations import boundary_pairs
from intarsia.errors import DataError


def unit(generator, count):
    rows = generator.normal(size=(count, 6)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def brute_force(first, second, count):
    similarity = first @ second.T
    pairs = []
    for _ in range(min(count, *similarity.shape)):
        row, column = np.unravel_index(similarity.argmax(), similarity.shape)
        pairs.append((int(row), int(column)))
        similarity[row], similarity[:, column] = -9, -9
    return pairs


@pytest.mark.parametrize("sizes", [(1, 1), (1, 5), (4, 3), (10, 10), (30, 2)])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_boundary_pairs_are_those_of_brute_force(sizes, count):
    generator = np.random.default_rng(sum(sizes) + count)
    for _ in range(10):
        first, second = unit(generator, sizes[0]), unit(generator, sizes[1])
        rows, columns = boundary_pairs(first, second, count)
        assert list(zip(rows, columns, strict=True)) == brute_force(first, second, count)
        assert len(set(rows)) == len(rows) == len(set(columns))


def demonstrations(kind="boundary", shots=3, count=4, **settings):
    labels = LabelSet(("red", "green", "blue"))
    return Demonstrations(
        examples(labels.names, count), labels, kind=kind, shots=shots, encoder=HashEncoder(), **settings
    )


@pytest.mark.parametrize("kind", ["boundary", "center", "random"])
def test_both_orders_show_the_same_sentences_in_turns(kind):
    shown = demonstrations(kind)
    one, other = shown.of_pair("red", "blue"), shown.of_pair("blue", "red")
    assert sorted(one) == sorted(other)
    assert [label for _, label in one] == ["red", "blue"] * 3
    assert [label for _, label in other] == ["blue", "red"] * 3
    assert len({text for text, _ in one}) == 6


def test_one_sentence_a_label_is_shown_once():
    shown = demonstrations(count=1).of_pair("red", "green")
    assert [label for _, label in shown] == ["red", "green"]


def test_center_shows_what_is_nearest_to_the_mean():
    shown = demonstrations("center", shots=1)
    vectors = shown.vectors["red"]
    best = shown.texts["red"][int((vectors @ vectors.mean(axis=0)).argmax())]
    assert shown.of_pair("red", "green")[0] == (best, "red")


def test_texts_to_classify_are_not_shown_and_repeated_ones_count_once():
    rows = [("Same  text", "red"), ("same text", "red"), ("other", "red"), ("green one", "green"), ("blue", "blue")]
    shown = Demonstrations(rows, LabelSet(("red", "green", "blue")), encoder=HashEncoder(), exclude=["Other"])
    assert shown.texts["red"] == ["Same text", "same text"]


def test_examples_for_a_question_over_all_options_cover_labels_first():
    shown = demonstrations(count=2)
    drawn = shown.draw(4, "item", 0)
    assert len(drawn) == 4
    assert {label for _, label in drawn[:3]} == {"red", "green", "blue"}
    assert drawn == shown.draw(4, "item", 0)
    assert len(shown.draw(99, "item", 0)) == 6


def test_a_label_without_examples_is_named():
    labels = LabelSet(("red", "green"))
    with pytest.raises(DataError, match="no example of the label 'green'"):
        Demonstrations([("a", "red")], labels)
    with pytest.raises(DataError, match="the label 'pink', which is not among the 2 labels"):
        Demonstrations([("a", "pink")], labels)
