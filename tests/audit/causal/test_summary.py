"""Tables of scores, intervals and paired tests against closed forms and SciPy."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binomtest

from intarsia.audit.causal.building import generate_questions
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.scoring import Score, score
from intarsia.audit.causal.summary import accuracy_by_complexity, compare_names, summarise
from intarsia.errors import ConfigError, InputError, UnknownNameError
from intarsia.metrics.shares import holm, mcnemar, wilson


@pytest.fixture(scope="module")
def asked():
    return list(generate_questions(BenchmarkConfig(graphs=4, names=("specific", "bio"))))


def test_wilson_interval_is_scipys():
    for right, n in ((0, 10), (3, 10), (10, 10), (431, 600)):
        share = wilson(right, n)
        expected = binomtest(right, n).proportion_ci(method="wilson")
        assert (share.value, share.n) == (right / n, n)
        assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    for right, n in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(InputError, match="is not a share"):
            wilson(right, n)


def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ():
    generator = np.random.default_rng(0)
    for n in (1, 20, 3000):
        first, second = (generator.random(n) < p for p in (0.6, 0.5))
        test = mcnemar(first.tolist(), second.tolist())
        only = int((first & ~second).sum()), int((second & ~first).sum())
        assert (test.first_only, test.second_only) == only
        assert test.difference == pytest.approx(first.mean() - second.mean())
        expected = binomtest(only[0], sum(only)).pvalue if sum(only) else 1
        assert test.p_value == pytest.approx(expected)
    with pytest.raises(InputError, match="2 and 1 were given"):
        mcnemar([True, False], [True])


def test_holm_adjusts_upwards_and_keeps_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    with pytest.raises(ConfigError, match=r"p_values is 1\.5"):
        holm([1.5])


def test_groups_are_counted_apart(asked):
    scored = [(question, score(question, "ANSWER: none")) for question in asked]
    groups = summarise(scored, by=("task", "level"))
    assert sum(group.accuracy.n for group in groups) == len(asked)
    assert [tuple(group.group.values()) for group in groups] == sorted(tuple(g.group.values()) for g in groups)
    by_task = {group.group["task"]: group for group in summarise(scored)}
    assert set(by_task) == {"CP", "BA", "FI", "CI"}
    # "none" is an answer to CP and BA, and cannot be read as states.
    assert by_task["FI"].accuracy.value == 0
    assert by_task["FI"].unparsable == 1
    assert by_task["FI"].failures == {"unparsable": by_task["FI"].accuracy.n}
    assert by_task["CP"].unparsable == 0
    empty = [q for q in asked if q.task == "CP" and not q.problem.key.paths]
    assert by_task["CP"].accuracy.value == pytest.approx(len(empty) / by_task["CP"].accuracy.n)
    assert by_task["CP"].f1 == by_task["CP"].accuracy.value
    assert by_task["BA"].minimal == 1
    assert by_task["BA"].f1 is None
    with pytest.raises(UnknownNameError, match="unknown grouping 'tsak'"):
        summarise(scored, by=("tsak",))


def test_steps_and_what_ifs_are_groups_too(asked):
    scored = [(question, Score(True)) for question in asked]
    steps = {group.group["steps"] for group in summarise(scored, by=("steps",))}
    assert None in steps
    assert steps - {None} <= set(range(16))
    assert [group.group["what_ifs"] for group in summarise(scored, by=("what_ifs",))] == [0, 1, 2, 3]


def test_bins_of_complexity_hold_equal_values_together(asked):
    scored = [
        (question, Score(bool(question.complexity.steps and question.complexity.steps < 4))) for question in asked
    ]
    bins = accuracy_by_complexity(scored, "steps", bins=4)
    assert sum(share.n for _, share in bins) == sum(question.complexity.steps is not None for question in asked)
    assert all(low <= high for (low, high), _ in bins)
    edges = [edge for (edge, _) in bins]
    assert all(before[1] < after[0] for before, after in pairwise(edges))
    assert bins[0][1].value == 1
    assert bins[-1][1].value == 0
    assert len(accuracy_by_complexity(scored, "nodes", bins=10)) == 3
    with pytest.raises(UnknownNameError, match="unknown complexity measure 'step'"):
        accuracy_by_complexity(scored, "step")
    with pytest.raises(InputError, match="no question has the measure 'smallest_set'"):
        accuracy_by_complexity([pair for pair in scored if pair[0].task == "CP"], "smallest_set")


def test_names_are_compared_on_the_same_problems(asked):
    worse = {question.pair_id for question in asked if question.task == "FI"}
    scored = [(q, Score(q.names == "specific" or q.pair_id not in worse)) for q in asked]
    tests = compare_names(scored, "specific", "bio")
    assert tests["FI"].first_only == tests["FI"].n == len(worse)
    assert tests["FI"].p_value < 1e-9
    assert tests["CI"].p_value == 1
    assert tests["all"].n == len(asked) // 2
    assert compare_names(scored, "bio", "specific")["FI"].difference == -1
    # The order of the answers does not matter.
    assert compare_names(scored[::-1], "specific", "bio") == tests


def test_unpaired_problems_are_named(asked):
    scored = [(question, Score(True)) for question in asked]
    with pytest.raises(
        InputError, match="'specific' and 'bio' cannot be compared: problem '00-n1-p3-0000:BA:zero_shot'"
    ):
        compare_names([pair for pair in scored if pair[0].id != "00-n1-p3-0000:BA:bio:zero_shot"], "specific", "bio")
    with pytest.raises(InputError, match="there is no question in them"):
        compare_names(scored, "eco", "phy")


def test_a_question_can_be_renamed_without_losing_its_pair(asked):
    question = replace(asked[0], names="mine")
    assert question.pair_id == asked[0].pair_id
