"""Agreement of judges, and rates corrected for their errors."""

import numpy as np
import pytest

from intarsia.errors import ConfigError, InputError
from intarsia.metrics import (
    cluster_draws,
    cluster_interval,
    clustered_difference,
    cohen_kappa,
    corrected_interval,
    judge_quality,
    krippendorff_alpha,
    rogan_gladen,
    uniformity_p,
)


def test_kappa_is_what_the_book_says() -> None:
    # 20 times both yes, 15 times both no, 5 and 10 split: 0.7 seen, 0.5 by chance.
    first = [1] * 25 + [0] * 25
    second = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert cohen_kappa([1, 0], [1, 0]) == 1
    assert cohen_kappa([1, 1], [1, 1]) is None
    with pytest.raises(InputError, match="the same items twice"):
        cohen_kappa([1], [1, 2])


def test_alpha_is_what_the_book_says() -> None:
    # Krippendorff's example with four observers and missing values: 0.743 nominal, 0.815 ordinal.
    table = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    assert krippendorff_alpha(table) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(table, level="ordinal") == pytest.approx(0.815, abs=5e-4)
    assert krippendorff_alpha([[1, 2], [1, 2]]) == krippendorff_alpha([[1, 2], [1, 2]], level="ordinal") == 1
    assert krippendorff_alpha([[1, 1], [1, 1]]) is None
    near, far = ([[1, 2, 3, 4, 5], [wrong, 2, 3, 4, 5]] for wrong in (2, 5))
    assert krippendorff_alpha(near, level="ordinal") > krippendorff_alpha(far, level="ordinal")  # type: ignore[operator]
    shuffled = np.random.default_rng(0).integers(1, 6, size=(2, 5000)).tolist()
    assert abs(krippendorff_alpha(shuffled) or 1) < 0.03
    assert abs(krippendorff_alpha(shuffled, level="ordinal") or 1) < 0.05
    with pytest.raises(InputError, match="the same items of every judge"):
        krippendorff_alpha([[1], [1, 2]])


def test_a_perfect_judge_needs_no_correction_and_a_coin_cannot_be_corrected() -> None:
    assert rogan_gladen(0.3, 1, 1) == pytest.approx(0.3)
    assert rogan_gladen(0.01, 0.9, 0.9) == 0
    for sensitivity in (0.5, 0.2):
        with pytest.raises(InputError, match=r"(?s)no better than a coin.*use a better judge"):
            rogan_gladen(0.3, sensitivity, 1 - sensitivity)
    with pytest.raises(ConfigError, match="rate is 2"):
        rogan_gladen(2, 1, 1)


def test_correction_recovers_the_true_rate_and_its_interval_covers_it() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(60):
        truth = generator.random(600) < 0.4
        known = np.arange(200) < 100

        def judge(cases: np.ndarray) -> np.ndarray:
            return np.where(cases, generator.random(len(cases)) < 0.85, generator.random(len(cases)) < 0.1)

        quality = judge_quality(known.tolist(), judge(known).tolist())
        judged = judge(truth).astype(float)
        draws = cluster_draws(judged.tolist(), list(range(600)), resamples=400)
        interval = corrected_interval(draws, quality)
        assert interval is not None
        covered += interval.low <= 0.4 <= interval.high
        assert abs(rogan_gladen(judged.mean(), quality.sensitivity, quality.specificity) - 0.4) < 0.12
    assert covered >= 52


def test_no_interval_where_the_judge_may_be_a_coin() -> None:
    quality = judge_quality([True, True, False, False], [True, False, True, False])
    assert corrected_interval(np.full(100, 0.5), quality) is None
    with pytest.raises(InputError, match="one kind is missing"):
        judge_quality([True], [True])


def test_clusters_widen_the_interval_and_order_does_not_matter() -> None:
    values = [float(role % 2) for role in range(20) for _ in range(10)]
    clusters = [role for role in range(20) for _ in range(10)]
    wide = cluster_interval(values, clusters)
    narrow = cluster_interval(values, list(range(200)))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    order = np.random.default_rng(0).permutation(200)
    assert cluster_interval([values[i] for i in order], [clusters[i] for i in order]) == wide
    same = clustered_difference(values, values, clusters)
    assert same == (0, 0, 0)
    with pytest.raises(InputError, match="the same items"):
        clustered_difference([1.0], [], [1])
    with pytest.raises(InputError, match="a value and a cluster"):
        cluster_interval([1.0], [])


def test_a_favourite_letter_is_found() -> None:
    assert uniformity_p([25, 25, 25, 25]) == 1
    assert uniformity_p([90, 3, 4, 3]) < 1e-6
    with pytest.raises(InputError, match="no option was chosen"):
        uniformity_p([0, 0])
