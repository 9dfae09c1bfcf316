import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from intarsia.errors import ConfigError, InputError
from intarsia.metrics import (
    bootstrap_interval,
    normalized_difference,
    normalized_interval,
    normalized_score,
    paired_difference,
)

answers = st.lists(st.booleans(), min_size=8, max_size=40)


def correct(rate, rows=400, seed=0):
    return np.random.default_rng(seed).random(rows) < rate


@settings(deadline=None, max_examples=25)
@given(answers)
def test_interval_contains_the_mean_and_is_inside_the_data(values):
    interval = bootstrap_interval(values, resamples=300)
    assert min(values) <= interval.low <= np.mean(values) <= interval.high <= max(values)


def test_interval_agrees_with_the_normal_one_on_many_rows():
    values = np.random.default_rng(1).normal(3, 2, 2000)
    half = stats.norm.ppf(0.975) * values.std() / np.sqrt(2000)
    assert bootstrap_interval(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 5)


def test_interval_of_other_statistics_and_confidences():
    values = np.arange(101.0)
    wide, narrow = bootstrap_interval(values), bootstrap_interval(values, confidence=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high
    median = bootstrap_interval(values, statistic=np.median)
    assert median.low < 50 < median.high
    assert median != wide


def test_seeds():
    values = correct(0.7)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1, resamples=50) != bootstrap_interval(values, seed=2, resamples=50)


def test_coverage_is_about_what_is_promised():
    covered = [
        interval.low <= 0.7 <= interval.high
        for seed in range(200)
        for interval in [bootstrap_interval(correct(0.7, 100, seed), resamples=300, seed=seed)]
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.05)


def test_one_row_is_its_own_interval():
    assert bootstrap_interval([0.5]) == (0.5, 0.5)


def test_pairing_narrows_the_interval():
    expert = correct(0.8)
    worse = expert & correct(0.95, seed=1)
    paired = paired_difference(worse, expert)
    assert paired.mean == pytest.approx(worse.mean() - expert.mean())
    assert paired.low <= paired.mean <= paired.high < 0
    unpaired = paired_difference(np.random.default_rng(2).permutation(worse), expert)
    assert paired.high - paired.low < unpaired.high - unpaired.low


def test_normalized_score_of_known_values():
    assert normalized_score({"a": 0.4, "b": 0.9}, {"b": 0.9, "a": 0.8}) == pytest.approx(75)
    assert normalized_score({"a": 0.5}, {"a": 0.5}) == 100


@settings(deadline=None, max_examples=20)
@given(st.dictionaries(st.sampled_from("abcd"), answers.filter(any), min_size=1))
def test_a_model_equal_to_its_experts_is_100_in_every_draw(scores):
    assert normalized_interval(scores, scores, resamples=50) == (100, 100)
    assert normalized_difference(scores, scores, scores, resamples=50) == (0, 0, 0)


def test_normalized_interval_contains_the_score_and_narrows_with_rows():
    widths = []
    for rows in (50, 800):
        expert = {task: correct(0.8, rows, seed) for seed, task in enumerate("abcd")}
        merged = {task: values & correct(0.9, rows, 9) for task, values in expert.items()}
        interval = normalized_interval(merged, expert)
        score = normalized_score(*({task: v.mean() for task, v in s.items()} for s in (merged, expert)))
        assert interval.low < score < interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2


def test_normalized_interval_agrees_with_resampling_by_hand():
    expert = {"a": correct(0.8, 60, 1), "b": correct(0.6, 90, 2)}
    merged = {"a": correct(0.7, 60, 3), "b": correct(0.6, 90, 4)}
    generator = np.random.default_rng(5)
    draws = []
    for _ in range(2000):
        ratios = []
        for task in expert:
            rows = generator.integers(0, len(expert[task]), len(expert[task]))
            ratios.append(merged[task][rows].mean() / expert[task][rows].mean())
        draws.append(100 * np.mean(ratios))
    assert normalized_interval(merged, expert) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1.5)


def test_normalized_difference_is_paired():
    expert = {task: correct(0.8, 300, seed) for seed, task in enumerate("ab")}
    good = {task: values & correct(0.98, 300, 7) for task, values in expert.items()}
    bad = {task: values & correct(0.9, 300, 8) for task, values in good.items()}
    difference = normalized_difference(good, bad, expert)
    assert 0 < difference.low < difference.mean < difference.high
    opposite = normalized_difference(bad, good, expert)
    assert opposite == pytest.approx((-difference.mean, -difference.high, -difference.low))


def test_order_of_tasks_does_not_matter():
    expert = {task: correct(0.8, 100, seed) for seed, task in enumerate("abc")}
    merged = {task: correct(0.7, 100, seed + 9) for seed, task in enumerate("abc")}
    assert normalized_interval(dict(reversed(merged.items())), expert) == normalized_interval(merged, expert)


def test_an_expert_rarely_right_gives_finite_intervals():
    interval = normalized_interval({"a": [1, 0, 0, 0]}, {"a": [1, 0, 0, 0]})
    assert np.isfinite(interval).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([]), "no rows"),
        (lambda: paired_difference([1, 0], [1]), "the same rows: 2 and 1"),
        (lambda: normalized_score({"a": 1}, {"b": 1}), "different tasks: a, b"),
        (lambda: normalized_score({}, {}), "no tasks"),
        (lambda: normalized_score({"a": 1}, {"a": 0}), "the expert of 'a' scores 0"),
        (lambda: normalized_interval({"a": [1, 1]}, {"a": [0, 0]}), "the expert of 'a' scores 0"),
        (lambda: normalized_interval({"a": [1, 1]}, {"a": [1]}), "'a' was scored on 1 and 2 rows"),
        (lambda: normalized_interval({"a": []}, {"a": []}), "'a' has no rows"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    "function", [bootstrap_interval, lambda values, **o: normalized_interval({"a": values}, {"a": values}, **o)]
)
def test_bad_settings(function):
    with pytest.raises(ConfigError, match="confidence is 95"):
        function([1, 0], confidence=95)
    with pytest.raises(ConfigError, match="resamples is 0"):
        function([1, 0], resamples=0)
