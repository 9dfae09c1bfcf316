import math

import numpy as np
import pytest

from intarsia.errors import InputError, UnknownNameError
from intarsia.finetune.scaling import Run, RunTable, ScalingConfig, compare_metrics, seed_cv, trend

FAST = ScalingConfig(bootstrap=0)


def table(columns, *, ranks=(2, 8, 32, 128), seed=0, dataset="data", policy="fixed"):
    return RunTable(
        tuple(
            Run(
                N=1e6,
                R=rank,
                D=100,
                alpha=16,
                policy=policy,
                seed=seed,
                dataset=dataset,
                metrics={name: values[i] for name, values in columns.items()},
            )
            for i, rank in enumerate(ranks)
        )
    )


def join(*tables):
    return RunTable(tuple(run for part in tables for run in part.runs))


def test_concordance_is_one_for_falling_and_minus_one_for_rising():
    runs = table({"down": [4, 3, 2, 1], "up": [1, 2, 3, 4], "flat": [1, 1, 1, 1], "one_off": [4, 3, 1, 2]})
    assert trend(runs, "down", "R").tau == pytest.approx(1)
    assert trend(runs, "up", "R").tau == pytest.approx(-1)
    assert trend(runs, "flat", "R").tau == 0
    assert trend(runs, "one_off", "R").tau == pytest.approx(2 / 3)
    assert trend(runs, "one_off", "R").violations == pytest.approx(1 / 3)
    assert trend(runs, "down", "N") is None


def test_concordance_does_not_change_under_monotone_transforms():
    ce = np.random.default_rng(0).uniform(0.1, 2, 8)
    ranks = tuple(2**k for k in range(8))
    runs = table({"ce": ce, "ppl": np.exp(ce), "cubed": ce**3}, ranks=ranks)
    taus = {trend(runs, name, "R").tau for name in ("ce", "ppl", "cubed")}
    assert len(taus) == 1


def test_accuracy_counts_as_error():
    assert trend(table({"accuracy": [0.5, 0.6, 0.7, 0.8]}), "accuracy", "R").tau == pytest.approx(1)


def test_concordance_is_the_mean_over_seeds():
    runs = join(table({"x": [4, 3, 2, 1]}), table({"x": [1, 2, 3, 4]}, seed=1), table({"x": [4, 3, 1, 2]}, seed=2))
    found = trend(runs, "x", "R")
    assert found.lines == 3
    assert found.tau == pytest.approx((1 - 1 + 2 / 3) / 3)


def test_comparison_gives_every_number_by_its_definition():
    first = table({"miub": [0.5, 0.4, 0.33, 0.3], "ce": [0.5, 0.6, 0.4, 0.55], "accuracy": [0.6, 0.7, 0.8, 0.9]})
    second = table(
        {"miub": [0.52, 0.41, 0.34, 0.29], "ce": [0.4, 0.7, 0.5, 0.45], "accuracy": [0.61, 0.72, 0.79, 0.9]}, seed=1
    )
    comparison = compare_metrics(join(first, second), ["miub", "ce", "accuracy"], FAST)
    miub, ce = comparison["miub"], comparison["ce"]
    assert miub.concordance == pytest.approx(1)
    assert miub.concordance_by == {"data/R": pytest.approx(1)}
    assert miub.violations == 0
    assert miub.usefulness == pytest.approx(-1, abs=0.1)
    assert miub.adjusted_r2 > ce.adjusted_r2
    assert miub.loo_nrmse < ce.loo_nrmse
    assert miub.seed_cv < ce.seed_cv
    assert comparison["accuracy"].usefulness is None
    assert miub.dataset_std is None
    assert comparison.to_json()["scores"][0]["metric"] == "miub"


def test_the_spread_over_datasets_is_reported():
    runs = join(table({"x": [4, 3, 2, 1]}), table({"x": [1, 2, 3, 4]}, dataset="other"))
    score = compare_metrics(runs, ["x"], FAST)["x"]
    assert score.concordance == 0
    assert score.dataset_std == pytest.approx(math.sqrt(2))


def test_a_law_that_cannot_be_fitted_leaves_a_note_and_the_rest():
    score = compare_metrics(table({"x": [2, 1]}, ranks=(2, 8)), ["x"], FAST)["x"]
    assert score.concordance == pytest.approx(1)
    assert score.r2 is None
    assert "has two values" in score.notes[0]
    assert "nothing varies" in score.notes[1]


def test_seed_cv_is_std_over_mean_and_may_be_taken_above_the_minimum():
    runs = join(table({"x": [3, 5]}, ranks=(2, 8)), table({"x": [5, 7]}, ranks=(2, 8), seed=1))
    std = math.sqrt(2)
    assert seed_cv(runs, "x") == pytest.approx((std / 4 + std / 6) / 2)
    assert seed_cv(runs, "x", above_minimum=True) == pytest.approx((std / 1 + std / 3) / 2)
    assert seed_cv(table({"x": [1, 2]}, ranks=(2, 8)), "x") is None


def test_mixed_policies_and_missing_metrics_are_refused():
    mixed = join(table({"x": [4, 3, 2, 1]}), table({"x": [4, 3, 2, 1]}, policy="proportional"))
    with pytest.raises(InputError, match="mix alpha policies"):
        compare_metrics(mixed, ["x"])
    with pytest.raises(InputError, match="mix alpha policies"):
        trend(mixed, "x", "R")
    with pytest.raises(UnknownNameError, match="missing column"):
        compare_metrics(table({"x": [4, 3, 2, 1]}), ["y"])
