"""Indices: identities, invariants and closed forms."""

import numpy as np
import pytest

from intarsia.audit.bias.association import shipped_tests
from intarsia.audit.bias.decisions import decision_question, logistic_slope, read_decision
from intarsia.audit.bias.indices import (
    completions_needed,
    detection,
    explicit_index,
    implicit_bounds,
    implicit_index,
    pairs_needed,
    position_bias_free_log_odds,
    rate_bounds,
    stereotype_p_value,
)
from intarsia.audit.bias.simulation import sigma
from intarsia.audit.bias.verdicts import Control, Evidence, benjamini_hochberg, decide
from intarsia.audit.bias.word_lists import WordList, association_bias, word_list_question
from intarsia.errors import ConfigError, InputError
from intarsia.metrics.shares import mcnemar, wilson


def test_implicit_index_flips_with_one_exchange_and_stands_with_two() -> None:
    assert implicit_index(7, 3) == pytest.approx(0.4)
    assert implicit_index(3, 7) == pytest.approx(-0.4)
    found = WordList(5, 2, 1, 6)
    bias = association_bias(found)
    assert bias is not None
    groups_exchanged = WordList(1, 6, 5, 2)
    assert association_bias(groups_exchanged) == pytest.approx(-bias)
    both = WordList(6, 1, 2, 5)
    assert association_bias(both) == pytest.approx(bias)


def test_word_list_bias_of_perfect_lists() -> None:
    assert association_bias(WordList(8, 0, 0, 8)) == 1
    assert association_bias(WordList(0, 8, 8, 0)) == -1
    assert association_bias(WordList(4, 4, 4, 4)) == 0
    assert association_bias(WordList(8, 8, 0, 0)) is None
    assert association_bias(WordList(8, 0, 0, 8), smoothing=0.01) == pytest.approx(2 * 8 / 8.01 - 1)


@pytest.mark.parametrize("right", range(9))
def test_both_forms_agree_where_words_are_used_equally(right: int) -> None:
    # Each group word is used for half of 16 attributes, `right` of them as the stereotype has it.
    found = WordList(right, 8 - right, 8 - right, right)
    assert association_bias(found) == pytest.approx(implicit_index(2 * right, 16 - 2 * right))


def test_fair_completer_is_covered_by_wilson_intervals() -> None:
    counts = np.random.default_rng(0).binomial(200, 0.5, size=2000)
    covered = [(share := wilson(int(count), 200)).low <= 0.5 <= share.high for count in counts]
    assert np.mean(counts / 200) == pytest.approx(0.5, abs=0.005)
    assert 0.935 <= np.mean(covered) <= 0.965


def test_one_belief_has_delta_of_minus_i() -> None:
    for beta in np.linspace(-4, 4, 33):
        implicit = 2 * sigma(float(beta)) - 1
        delta = (1 - sigma(float(beta))) - sigma(float(beta))
        assert delta == pytest.approx(-implicit, abs=1e-12)
        assert implicit == pytest.approx(np.tanh(beta / 2))
        assert not (implicit > 0 and delta > 0)


def test_detection_is_zero_for_equal_rates_and_antisymmetric() -> None:
    assert detection(20, 20, 20, 20).d_prime == 0
    assert detection(0, 20, 0, 20).d_prime == 0
    assert detection(18, 20, 3, 20).d_prime == pytest.approx(-detection(3, 20, 18, 20).d_prime)
    assert detection(20, 20, 20, 20).criterion < 0 < detection(0, 20, 0, 20).criterion
    # By hand: (18 + 0.5) / 21 and (3 + 0.5) / 21.
    assert detection(18, 20, 3, 20).d_prime == pytest.approx(1.17976 + 0.96742, abs=2e-5)
    with pytest.raises(InputError, match="21 of 20"):
        detection(21, 20, 0, 20)


def test_position_bias_cancels_over_orders() -> None:
    odds, bias, n = 1.2, 0.7, 10**9
    orders = []
    for sign in (1, -1):
        stereotypes = round(n * sigma(odds + sign * bias))
        orders.append((stereotypes, n - stereotypes))
    assert position_bias_free_log_odds(orders) == pytest.approx(odds, abs=1e-6)
    with pytest.raises(InputError, match="one kind only"):
        position_bias_free_log_odds([(5, 0)])


def test_mcnemar_is_a_binomial_of_the_pairs_that_differ() -> None:
    from scipy.stats import binomtest

    first = [True] * 9 + [False] * 3 + [True] * 20
    second = [False] * 9 + [True] * 3 + [True] * 20
    assert mcnemar(first, second).p_value == pytest.approx(binomtest(9, 12).pvalue)


def test_bounds_hold_what_refusals_might_have_been() -> None:
    assert implicit_bounds(6, 2, 4) == (0.0, pytest.approx(8 / 12))
    assert implicit_bounds(6, 2, 0) == (0.5, 0.5)
    assert implicit_bounds(0, 0, 0) is None
    assert rate_bounds(3, 4, 6) == (0.3, 0.9)
    assert rate_bounds(0, 0, 0) is None


def test_indices_of_nothing_are_none_and_not_zero() -> None:
    assert implicit_index(0, 0) is None
    assert explicit_index([], [3.0]) is None
    assert explicit_index([5.0, 5.0], [1.0, 1.0]) == 1
    assert explicit_index([1.0], [5.0]) == -1
    assert stereotype_p_value(0, 0) == 1.0


def test_sizes_needed_grow_with_noise_and_fall_with_difference() -> None:
    assert pairs_needed(0.1, 0.1) < pairs_needed(0.1, 0.3) < pairs_needed(0.1, 0.5)
    assert pairs_needed(0.2, 0.3) < pairs_needed(0.1, 0.3)
    assert completions_needed(0.1) == pytest.approx(194, abs=2)
    with pytest.raises(ConfigError, match=r"difference is 0\.4"):
        pairs_needed(0.4, 0.3)


def test_sizes_needed_give_their_power() -> None:
    n, generator, found = pairs_needed(0.1, 0.3), np.random.default_rng(1), 0
    for _ in range(300):
        own, twin, _ = generator.multinomial(n, [0.2, 0.1, 0.7])
        first = [True] * own + [False] * (n - own)
        second = [False] * own + [True] * twin + [False] * (n - own - twin)
        found += mcnemar(first, second).p_value < 0.05
    assert 0.7 < found / 300 < 0.9


def test_logistic_slope_finds_what_made_the_decisions() -> None:
    generator = np.random.default_rng(3)
    bias = generator.uniform(-1, 1, 5000)
    decisions = (generator.random(5000) < 1 / (1 + np.exp(-(0.4 + 1.1 * bias)))).astype(int)
    fit = logistic_slope(list(bias), list(decisions))
    assert fit.low < 1.1 < fit.high
    assert fit.intercept == pytest.approx(0.4, abs=0.12)
    with pytest.raises(InputError, match="no finite fit"):
        logistic_slope([0.1, 0.2, 0.3], [1, 1, 1])
    with pytest.raises(InputError, match="no finite fit"):
        logistic_slope([-1.0, -0.5, 0.5, 1.0], [0, 0, 1, 1])
    with pytest.raises(InputError, match="3 and 1"):
        logistic_slope([0.1, 0.2, 0.3], [1])


def test_decisions_name_both_groups_and_one_subject_of_each() -> None:
    test = shipped_tests()[0]
    asked = decision_question(test, 3, "plain", 5)
    words = word_list_question(test, 3, "plain", 5).words
    assert asked == decision_question(test, 3, "plain", 5) != decision_question(test, 4, "plain", 5)
    assert f"{words[0]} and {words[1]}" in asked
    assert sum(f" on {attribute}" in asked for attribute in test.default_attributes) == 1
    a, b, x, y = test.default_group[0], test.target_group[0], test.default_attributes[0], test.target_attributes[0]
    assert read_decision(test, f"{x} - {a}\n{y} - {b}") == 1
    assert read_decision(test, f"1. {y}: {a}\n2. {x}: {b}") == 0
    for unread in ("", f"{x} - {a}", f"{x} - {a}\n{y} - {a}", "Both could lead either."):
        assert read_decision(test, unread) is None


def test_benjamini_hochberg_by_hand() -> None:
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    with pytest.raises(ConfigError):
        benjamini_hochberg([1.5])


def cell(value: float, half: float = 0.1) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half, "n": 100}


def evidence(**changes: object) -> Evidence:
    given: dict[str, object] = {
        "completions": 100,
        "coverage": 0.95,
        "unscored": 0.0,
        "pairs": 60,
        "implicit": cell(0.6),
        "implicit_p": 0.001,
        "delta": cell(0.7),
        "delta_p": 0.001,
        "explicit": cell(-0.5),
    }
    return Evidence(**{**given, **changes})  # type: ignore[arg-type]


def test_verdicts() -> None:
    assert decide(evidence(), []).name == "hidden bias"
    assert decide(evidence(explicit=cell(0.5), delta=cell(-0.6)), []).name == "open bias"
    assert decide(evidence(implicit=cell(0.0), implicit_p=0.9), []).name == "no bias found"
    assert decide(evidence(implicit=cell(0.0), implicit_p=0.9, explicit=cell(0.5)), []).name == "avowed only"
    assert decide(evidence(implicit=cell(-0.6)), []).name == "reversed"
    assert decide(evidence(delta=cell(0.0), delta_p=0.8), []).name == "undecided"
    # An interval above 0 is not enough where the adjusted p-value is not below the level.
    assert decide(evidence(delta_p=0.06), []).name == "undecided"
    assert decide(evidence(pairs=9), []).name == "undecided"


@pytest.mark.parametrize(
    ("changes", "problems", "reason"),
    [
        ({}, ["it rejects 100 % of true neutral statements too"], "rejects 100 %"),
        ({"coverage": 0.3}, [], "only 30 % of completions"),
        ({"unscored": 0.4}, [], "40 % of judgements"),
        ({"unscored": None}, [], "no statement was judged"),
        ({"implicit": None, "coverage": 1.0}, [], "no completion"),
    ],
)
def test_there_is_no_verdict_where_a_control_fails(
    changes: dict[str, object], problems: list[str], reason: str
) -> None:
    verdict = decide(evidence(**changes), problems)
    assert verdict.name == "no verdict"
    assert any(reason in each for each in verdict.reasons)


def test_controls_catch_judges_that_do_not_judge() -> None:
    assert Control(1, 40, 38, 40).problems() == []
    assert len(Control(40, 40, 40, 40).problems()) == 2
    assert "does not tell" in Control(0, 40, 0, 40).problems()[0]
    assert Control(0, 40, 0, 40, "biased2").problems() == []
    assert "only 3" in Control(0, 3, 3, 3).problems()[0]
