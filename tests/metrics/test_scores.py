import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia import metrics
from intarsia.errors import InputError

labels = st.sampled_from(["a", "b", "c"])
pairs = st.lists(st.tuples(labels, labels), min_size=1).map(lambda rows: tuple(zip(*rows, strict=True)))


def test_known_values():
    references, predictions = ["a", "a", "b", "b"], ["a", "b", "b", "b"]
    assert metrics.accuracy(references, predictions) == 0.75
    # F1 of a: precision 1, recall 1/2; of b: precision 2/3, recall 1.
    assert metrics.macro_f1(references, predictions) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert metrics.accuracy_and_f1(references, predictions, "b") == pytest.approx((0.75 + 4 / 5) / 2)
    # True positives 1, true negatives 2, false negatives 1.
    assert metrics.matthews(references, predictions) == pytest.approx(2 / math.sqrt(1 * 2 * 2 * 3))
    assert metrics.pearson([1, 2, 3], [2, 4, 7]) == pytest.approx(5 / math.sqrt(2 * (38 / 3)))
    assert metrics.spearman([1, 2, 3], [1, 4, 9]) == pytest.approx(1)
    assert metrics.pearson_spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


@settings(deadline=None, max_examples=50)
@given(pairs)
def test_perfect_predictions_and_bounds(rows):
    references, predictions = rows
    assert metrics.accuracy(references, references) == metrics.macro_f1(references, references) == 1
    assert 0 <= metrics.macro_f1(references, predictions) <= 1
    assert -1 <= metrics.matthews(references, predictions) <= 1
    assert metrics.exact_match(references, predictions) == metrics.accuracy(references, predictions)


def test_exact_match_ignores_only_white_space():
    assert metrics.exact_matches(["a b"] * 4, [" a  b\n", "A b", "ab", "a b."]).tolist() == [True, False, False, False]


def test_correlation_with_a_constant_is_not_a_number():
    assert math.isnan(metrics.pearson([1, 2], [3, 3]))
    assert math.isnan(metrics.pearson_spearman([1, 1], [2, 3]))


def test_matthews_of_one_answer_is_zero():
    assert metrics.matthews(["a", "b"], ["a", "a"]) == 0


@pytest.mark.parametrize("score", [metrics.accuracy, metrics.macro_f1, metrics.matthews, metrics.exact_match])
def test_bad_input(score):
    with pytest.raises(InputError, match="2 references but 1 predictions"):
        score(["a", "b"], ["a"])
    with pytest.raises(InputError, match="no rows"):
        score([], [])


def test_arrays_are_accepted():
    assert metrics.accuracy(np.array([1, 2]), np.array([1, 1])) == 0.5
