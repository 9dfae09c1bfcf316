import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.finetune.miub import (
    MIUBConfig,
    ModuleAccumulator,
    Scores,
    SoftJoint,
    chi2_bound,
    entropy,
    jeffreys_bound,
    jensen_shannon,
    joint_distribution,
    joint_scores,
    js_ratio_bound,
    js_ratio_factor,
    mutual_information,
    paper_score,
    partition,
)


def rows(seed: int, tokens: int, classes: int, sharpness: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(sharpness * torch.randn(tokens, classes, generator=generator, dtype=torch.float64), -1)


def dependent_rows(seed: int, tokens: int, classes: int, sharpness: float, share: float) -> tuple[torch.Tensor, ...]:
    """Soft assignments whose two sides share some of their cause."""
    generator = torch.Generator().manual_seed(seed)
    base, other = torch.randn(2, tokens, classes, generator=generator, dtype=torch.float64)
    lora = share * base + (1 - share) * other
    return torch.softmax(sharpness * base, -1), torch.softmax(sharpness * lora, -1)


def scores_of(p: torch.Tensor, q: torch.Tensor) -> Scores:
    joint = SoftJoint()
    joint.update(p, q, [len(p)])
    return joint.statistics().scores


def clusters(classes: int, copies: int = 3) -> torch.Tensor:
    return torch.eye(classes, dtype=torch.float64).repeat(copies, 1)


assignments = st.builds(
    dependent_rows,
    seed=st.integers(0, 2**31),
    tokens=st.integers(2, 40),
    classes=st.integers(2, 12),
    sharpness=st.floats(0.01, 12),
    share=st.floats(0, 1),
)


@pytest.mark.parametrize(("tokens", "same"), [(1, False), (30, True)])
def test_nothing_to_learn_gives_zero(tokens, same):
    p, q = rows(0, tokens, 6, 2.0), rows(1, tokens, 6, 2.0)
    if same:
        q = q[:1].expand(tokens, -1)
    joint = joint_distribution(p, q)
    assert torch.allclose(joint, torch.outer(p.mean(0), q.mean(0)), atol=1e-15)
    assert max(joint_scores(joint)) <= 1e-12
    scores = scores_of(p, q)
    assert max(scores[:7]) <= 1e-12


@pytest.mark.parametrize(
    ("classes", "js"), [(2, 0.2157615543), (16, 0.5742969526), (256, 0.6803598212)], ids=["K=2", "K=16", "K=256"]
)
def test_one_hot_limit(classes, js):
    one_hot = clusters(classes)
    scores = scores_of(one_hot, one_hot)
    closed = 0.5 * math.log(2 * classes / (classes + 1)) + 0.5 * (
        math.log(2 / (classes + 1)) / classes + (1 - 1 / classes) * math.log(2)
    )
    assert scores.mutual_information == pytest.approx(math.log(classes), abs=1e-12)
    assert scores.dpi == pytest.approx(math.log(classes), abs=1e-12)
    assert scores.jensen_shannon == pytest.approx(closed, abs=1e-14)
    assert closed == pytest.approx(js, abs=1e-10)
    # One ratio for all of P's mass, and 0 elsewhere: the bound from the largest ratio still holds.
    assert scores.js_ratio >= scores.mutual_information


@pytest.mark.parametrize(("classes", "score"), [(2, 0.1496), (16, 0.398)])
def test_the_papers_quantity_is_no_bound(classes, score):
    joint = torch.eye(classes, dtype=torch.float64) / classes
    assert paper_score(joint) == pytest.approx(score, abs=1e-3)
    assert paper_score(joint) == pytest.approx(math.log(2) * jensen_shannon(joint), abs=1e-15)
    assert paper_score(joint) < mutual_information(joint) == pytest.approx(math.log(classes))


@settings(max_examples=150, deadline=None)
@given(assignments)
def test_bounds_hold_for_any_assignments(sides):
    p, q = sides
    s = scores_of(p, q)
    slack = 1e-12
    assert s.mutual_information >= 0
    for bound in (s.dpi, s.jeffreys, s.chi2, s.js_ratio):
        assert s.mutual_information <= bound + slack
    assert s.jensen_shannon <= math.log(2) + slack
    assert s.jensen_shannon <= s.jeffreys / 4 + slack
    assert s.base_information <= math.log(len(p)) + slack
    assert s.lora_information <= math.log(len(p)) + slack
    assert s.mutual_information <= min(entropy(p.mean(0)), entropy(q.mean(0))) + slack
    assert s.dpi == min(s.base_information, s.lora_information)


def test_weak_dependence_limits():
    p, q = dependent_rows(3, 60, 8, 3.0, 0.7)
    joint = joint_distribution(p, q)
    product = torch.outer(joint.sum(1), joint.sum(0))
    for epsilon, tolerance in ((1e-2, 2e-2), (1e-3, 2e-3)):
        s = joint_scores((1 - epsilon) * product + epsilon * joint)
        assert s.mutual_information / s.jensen_shannon == pytest.approx(4, rel=tolerance)
        assert s.jeffreys / s.mutual_information == pytest.approx(2, rel=tolerance)
        assert s.chi2 / s.mutual_information == pytest.approx(2, rel=tolerance)
        assert s.mutual_information / s.paper == pytest.approx(4 / math.log(2), rel=tolerance)


@settings(max_examples=30, deadline=None)
@given(assignments, st.integers(0, 1000))
def test_symmetries(sides, seed):
    p, q = sides
    generator = torch.Generator().manual_seed(seed)
    reference = scores_of(p, q)
    swapped = scores_of(q, p)
    assert swapped[:5] == pytest.approx(reference[:5], abs=1e-12)
    tokens = torch.randperm(len(p), generator=generator)
    base, lora = (torch.randperm(p.shape[1], generator=generator) for _ in range(2))
    assert scores_of(p[tokens], q[tokens]) == pytest.approx(reference, abs=1e-11)
    assert scores_of(p[:, base], q[:, lora]) == pytest.approx(reference, abs=1e-11)
    assert scores_of(p.repeat(2, 1), q.repeat(2, 1)) == pytest.approx(reference, abs=1e-11)


@settings(max_examples=60, deadline=None)
@given(assignments, st.data())
def test_binning_never_increases_a_score(sides, data):
    p, q = sides
    classes = p.shape[1]
    bins = data.draw(st.integers(1, classes))
    channel = torch.nn.functional.one_hot(partition(classes, bins), bins).double()
    fine, coarse = scores_of(p, q), scores_of(p @ channel, q @ channel)
    for name in ("mutual_information", "jensen_shannon", "jeffreys", "chi2", "dpi", "paper"):
        assert getattr(coarse, name) <= getattr(fine, name) + 1e-12
    if bins == classes:
        assert coarse == pytest.approx(fine, abs=1e-11)
    if bins == 1:
        assert max(coarse) <= 1e-12


@settings(max_examples=30, deadline=None)
@given(assignments)
def test_jeffreys_is_club_with_the_true_conditional(sides):
    joint = joint_distribution(*sides)
    product = torch.outer(joint.sum(1), joint.sum(0))
    log_conditional = (joint / joint.sum(1, keepdim=True)).log()
    club = ((joint - product) * log_conditional).sum()
    assert jeffreys_bound(joint) == pytest.approx(float(club), rel=1e-9, abs=1e-12)


def test_single_functions_agree_with_the_combined_one():
    joint = joint_distribution(*dependent_rows(5, 50, 7, 4.0, 0.5))
    together = joint_scores(joint)
    assert mutual_information(joint) == together.mutual_information
    assert jensen_shannon(joint) == together.jensen_shannon
    assert paper_score(joint) == together.paper
    assert jeffreys_bound(joint) == together.jeffreys
    assert chi2_bound(joint) == together.chi2
    assert js_ratio_bound(joint) == pytest.approx(together.js_ratio, rel=1e-12)


def test_scores_of_a_joint_written_out():
    joint = torch.tensor([[0.4, 0.1], [0.2, 0.3]], dtype=torch.float64)
    product = torch.tensor([[0.3, 0.2], [0.3, 0.2]], dtype=torch.float64)
    middle = (joint + product) / 2
    information = float((joint * (joint / product).log()).sum())
    js = float((joint * (joint / middle).log()).sum() + (product * (product / middle).log()).sum()) / 2
    s = joint_scores(joint)
    assert s.mutual_information == pytest.approx(information, abs=1e-14)
    assert s.jensen_shannon == pytest.approx(js, abs=1e-14)
    assert s.jeffreys == pytest.approx(information + float((product * (product / joint).log()).sum()), abs=1e-14)
    assert s.chi2 == pytest.approx(math.log(1 + float(((joint - product) ** 2 / product).sum())), abs=1e-14)
    assert s.js_ratio == pytest.approx(js_ratio_factor(1.5) * js, abs=1e-14)


@pytest.mark.parametrize(("ratio", "value"), [(0.0, 2 / math.log(2)), (1.0, 4.0), (10.0, 6.56), (100.0, 11.2)], ids=str)
def test_js_ratio_factor(ratio, value):
    assert js_ratio_factor(ratio) == pytest.approx(value, abs=0.03 if ratio == 100 else 5e-3)


def test_js_ratio_factor_increases_and_is_smooth_at_one():
    grid = torch.logspace(-6, 6, 4001, dtype=torch.float64).tolist()
    values = [js_ratio_factor(t) for t in grid]
    assert all(a < b for a, b in pairwise(values))
    for edge in (1 - 1e-3, 1 + 1e-3):
        assert js_ratio_factor(edge * (1 - 1e-9)) == pytest.approx(js_ratio_factor(edge * (1 + 1e-9)), abs=1e-7)


def test_zero_probabilities_cost_nothing():
    joint = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]], dtype=torch.float64)
    s = joint_scores(joint)
    assert s.mutual_information == pytest.approx(math.log(2))
    assert all(math.isfinite(value) for value in s)


def test_accumulator_and_functions_agree():
    generator = torch.Generator().manual_seed(9)
    base, lora = torch.randn(2, 80, 6, generator=generator, dtype=torch.float64)
    accumulator = ModuleAccumulator("m", MIUBConfig(normalizations=("softmax",), blocks=0, permutations=0))
    accumulator.update(base, lora)
    joint = joint_distribution(torch.softmax(base, -1), torch.softmax(lora, -1))
    assert accumulator.statistics()["softmax"].scores.mutual_information == pytest.approx(
        mutual_information(joint), rel=1e-10
    )
