"""Criteria, their null, and the verdict in words."""

import pytest

from intarsia.errors import InputError
from intarsia.quantum.qnn import (
    CircuitConfig,
    DataConfig,
    TrainingConfig,
    compare_with_null,
    judge,
    qnn_report,
    verdict_text,
)
from intarsia.quantum.qnn.figures import qnn_figures
from intarsia.quantum.qnn.trials import TrackedRun

FLAT = [0.5] * 5


def test_growth_needs_more_than_a_fiftieth_of_a_bit() -> None:
    assert judge([0.1, 0.5, 0.13], [0.0, 0.1, 0.0]).grows
    assert not judge([0.1, 0.5, 0.119], [0.0, 0.1, 0.0]).grows
    assert judge([0.1, 0.2], FLAT[:2]).change == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("curve", "two_phases"),
    [
        ([0.0, 0.3, 0.8, 0.5, 0.4], True),
        ([0.0, 0.2, 0.5, 0.8, 1.0], False),  # the maximum is the end
        ([1.0, 0.8, 0.4, 0.2, 0.0], False),  # the maximum is the start
        ([0.0, 0.5, 1.0, 0.9, 0.8], False),  # falls by a fifth only
        ([0.8, 1.0, 0.5, 0.2, 0.0], False),  # rises by a fifth only
        ([0.0, 0.0005, 0.001, 0.0005, 0.0], True),  # scale-free, hence the range beside it
        (FLAT, False),
    ],
)
def test_two_phases(curve: list[float], two_phases: bool) -> None:
    found = judge(FLAT, curve)
    assert found.two_phases is two_phases
    assert found.span == pytest.approx(max(curve) - min(curve))


def test_a_dip_counts_into_the_range() -> None:
    found = judge(FLAT, [0.5, 0.6, 0.0, 0.1, 0.4])
    assert (found.rise, found.fall, found.span) == pytest.approx((0.1, 0.2, 0.6))
    assert not found.two_phases


def test_fisher_p_values_by_hand() -> None:
    found = compare_with_null([True] * 12, [True] * 5 + [False] * 7)
    assert found.p_value == pytest.approx(0.0046, abs=1e-4)
    assert found.tied_to_labels
    assert str(found) == "12 of 12 with real labels, 5 of 12 with shuffled labels (Fisher p = 0.0046)"
    assert compare_with_null([True] * 7 + [False] * 5, [True] * 3 + [False] * 9).p_value == pytest.approx(
        0.21, abs=0.01
    )
    fewer = compare_with_null([False] * 12, [True] * 12)
    assert fewer.p_value < 0.01
    assert not fewer.tied_to_labels


def test_curves_and_nulls_that_are_absent() -> None:
    with pytest.raises(InputError, match="3 and 2 points"):
        judge([0.1, 0.2, 0.3], [0.1, 0.2])
    with pytest.raises(InputError, match="against a null"):
        compare_with_null([True], [])


def run(labels: str, seed: int, di_mo: list[float], mi_mo: list[float]) -> TrackedRun:
    history = [
        {
            "epoch": epoch,
            "loss": 0.5,
            "test_accuracy": 0.9,
            "data_di_mo": d,
            "data_mi_mo": m,
            "chi_labels": 0.1 * epoch,
        }
        for epoch, (d, m) in enumerate(zip(di_mo, mi_mo, strict=True))
    ]
    return TrackedRun(labels, seed, history, 70, 30, ["1", "2"], 0.95, {})


@pytest.fixture
def runs() -> list[TrackedRun]:
    real = [run("real", seed, [0.1, 0.3, 0.6], [0.0, 0.02, 0.05]) for seed in range(6)]
    return real + [run("shuffled", seed, [0.1, 0.1, 0.1], [0.0, 0.002, 0.001]) for seed in range(6)]


TRAINING = TrainingConfig(definitions=("data", "holevo"), epochs=2)


def test_a_verdict_states_everything_it_rests_on(runs: list[TrackedRun]) -> None:
    text = verdict_text(runs, DataConfig(), CircuitConfig(), TRAINING)
    assert text.startswith("Reconstruction: only the paper's abstract was available")
    assert "iris, classes 1, 2, 70 training and 30 test samples; angle encoding, ring circuit of 4 qubits" in text
    assert "seeds 0 to 5" in text
    assert "Definition data (reference purifies the mean input state)" in text
    assert "claim 1, I(Di:Mo) grows: confirmed in this configuration: 6 of 6 with real labels, 0 of 6" in text
    assert "median change +0.500 bit" in text
    assert "claim 2, I(Mi:Mo) rises, then falls: not confirmed in this reconstruction: 0 of 6 with real labels" in text
    assert "6 of 6 with shuffled labels" in text
    assert "median range is 0.050 bit" in text
    assert "Definition choi" not in text
    assert "0.000 to 0.200 bit with real labels" in text


def test_what_the_null_shows_too_is_not_confirmed(runs: list[TrackedRun]) -> None:
    same = [each._replace(labels=labels) for each in runs[:6] for labels in ("real", "shuffled")]
    text = verdict_text(same, DataConfig(), CircuitConfig(), TRAINING)
    assert "claim 1, I(Di:Mo) grows: seen, but not told from the null: 6 of 6" in text


def test_too_few_seeds_are_said_to_be_too_few(runs: list[TrackedRun]) -> None:
    few = [each for each in runs if each.seed < 3]
    assert "take at least 4" in verdict_text(few, DataConfig(), CircuitConfig(), TRAINING)
    assert "take at least 4" not in verdict_text(runs, DataConfig(), CircuitConfig(), TRAINING)
    assert verdict_text([each for each in runs if each.seed < 4], DataConfig(), CircuitConfig(), TRAINING).count(
        "confirmed in this configuration: 4 of 4"
    )


def test_the_page_holds_verdict_pictures_and_runs(runs: list[TrackedRun]) -> None:
    from intarsia.experiments.report import render

    page = render(qnn_report(runs, DataConfig(), CircuitConfig(), TRAINING))
    assert "not confirmed in this reconstruction" in page
    figures = qnn_figures(runs, TRAINING.definitions)
    assert len(figures) == 5
    assert all(f'aria-label="{figure.title}"' in page for figure in figures)
    assert "information plane, data" in page
