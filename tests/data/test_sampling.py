from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.data import ClassificationRow, check_labels, label_counts, sample, split_of
from intarsia.errors import DataError


def test_shares_of_a_cut():
    counts = Counter(split_of(f"text {number}", {"dev": 0.1, "test": 0.2}) for number in range(5000))
    assert counts["dev"] == pytest.approx(500, abs=80)
    assert counts["test"] == pytest.approx(1000, abs=110)


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_a_text_falls_in_one_split_whatever_the_others_are(text):
    cut = {"dev": 0.1, "test": 0.2}
    assert split_of(text, cut) == split_of(text, cut)
    assert (split_of(text, cut) == "dev") == (split_of(text, {"dev": 0.1}) == "dev")
    assert split_of(text, {}) == "train"
    assert split_of(text, {"dev": 1.0}) == "dev"


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40), st.integers())
def test_a_seeded_sample_is_the_beginning_of_a_shuffle(count, limit, seed):
    rows = list(range(count))
    shuffled = list(sample(rows, seed=seed))
    assert sorted(shuffled) == rows
    assert list(sample(iter(rows), seed=seed, limit=limit)) == shuffled[:limit]


def test_every_row_is_as_likely_to_be_sampled():
    counts = Counter(row for seed in range(2000) for row in sample(range(10), seed=seed, limit=3))
    assert all(count == pytest.approx(600, abs=100) for count in counts.values())


def test_reading_stops_at_the_limit():
    def rows():
        yield 1
        yield 2
        raise AssertionError("read past the limit")

    assert list(sample(rows(), limit=2)) == [1, 2]


ROWS = [ClassificationRow("a", "earn", "r:1"), ClassificationRow("b", "grain", "r:2"), ClassificationRow("c", "grain")]


def test_label_counts():
    assert list(label_counts([*ROWS, ClassificationRow("d", "acq")]).items()) == [("grain", 2), ("acq", 1), ("earn", 1)]


def test_known_labels_pass():
    assert list(check_labels(ROWS, {"earn", "grain"})) == ROWS


def test_a_label_unseen_in_training_is_named_with_its_row_and_near_labels():
    with pytest.raises(DataError) as error:
        list(check_labels(ROWS, ["earn", "grains"], file="test.jsonl"))
    assert str(error.value) == (
        "the label 'grain' was not seen in training (row r:2)\n"
        "  where: test.jsonl, field 'label'\n"
        "  fix:   did you mean 'grains'?"
    )
