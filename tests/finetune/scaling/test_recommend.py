import math

import pytest

from intarsia.errors import ConfigError
from intarsia.finetune.scaling import (
    Run,
    RunTable,
    ScalingConfig,
    fit_scaling_law,
    recommend_rank,
    smallest_rank_within_error,
)
from intarsia.finetune.scaling.recommend import next_power_of_two


def table(values, ranks=(2, 4, 8, 16, 32, 64), *, noise=0.0, **metrics):
    return RunTable(
        tuple(
            Run(
                N=1,
                R=rank,
                D=1,
                alpha=16,
                policy="fixed",
                seed=seed,
                metrics={"miub": value + noise * (seed - 1) * (-1) ** i, **metrics},
            )
            for i, (rank, value) in enumerate(zip(ranks, values, strict=True))
            for seed in range(3)
        )
    )


def power(beta, ranks=(2, 4, 8, 16, 32, 64)):
    return [0.5 * (2 / rank) ** beta + 0.1 for rank in ranks]


def test_the_rank_solves_the_inequality_exactly():
    fit = fit_scaling_law(table(power(1.0)), "miub", ScalingConfig(bootstrap=0))
    found = recommend_rank(fit, 0.1)
    limit = 0.1
    assert found.rank == 20
    assert fit.predict(R=20) - limit <= 0.1 * (fit.predict(R=2) - limit) + 1e-9
    assert fit.predict(R=19) - limit > 0.1 * (fit.predict(R=2) - limit)
    assert found.refused == ()
    assert not found.beyond_grid


def test_an_interval_comes_with_repetitions():
    found = recommend_rank(fit_scaling_law(table(power(1.0), noise=0.01), "miub"), 0.1)
    assert 2 <= found.low <= found.rank <= found.high


def test_a_rank_above_the_grid_is_marked():
    found = recommend_rank(fit_scaling_law(table(power(0.5)), "miub", ScalingConfig(bootstrap=0)), 0.05)
    assert found.beyond_grid
    assert found.rank == 800


def test_a_metric_that_rises_is_refused_with_the_concordance():
    found = recommend_rank(fit_scaling_law(table(sorted(power(0.5))), "miub", ScalingConfig(bootstrap=0)))
    assert found.rank is None
    assert any("concordance -1.00" in reason for reason in found.refused)
    assert any("amplitude is 0" in reason for reason in found.refused)


def test_a_law_without_a_rank_axis_is_refused():
    runs = tuple(Run(N=1, R=8, D=d, alpha=16, policy="fixed", seed=0, metrics={"miub": 1 / d}) for d in (1, 2, 4, 8))
    found = recommend_rank(fit_scaling_law(RunTable(runs), "miub", ScalingConfig(bootstrap=0)))
    assert "no rank axis" in found.refused[0]


def test_the_spectral_rule_takes_the_largest_adapter():
    fit = fit_scaling_law(table(power(1.0), k90=5.5), "miub", ScalingConfig(bootstrap=0))
    assert recommend_rank(fit).spectral_rank == 8
    assert [next_power_of_two(value) for value in (0.5, 1, 2, 2.1, 8, 9)] == [1, 1, 2, 4, 8, 16]


def test_the_one_standard_error_rule_prefers_the_smaller_rank():
    noisy = RunTable(
        tuple(
            Run(N=1, R=rank, D=1, alpha=16, policy="fixed", seed=seed, metrics={"ce": mean + 0.1 * (seed - 1)})
            for rank, mean in [(2, 0.9), (4, 0.54), (8, 0.5), (16, 0.52)]
            for seed in range(3)
        )
    )
    # Rank 4 is 0.04 worse than the best, within its standard error of 0.1 / sqrt(3).
    assert smallest_rank_within_error(noisy) == 4


def test_json_has_no_infinity():
    found = recommend_rank(fit_scaling_law(table(power(1.0), noise=0.09), "miub", ScalingConfig(bootstrap=20)), 0.1)
    assert not any(isinstance(v, float) and math.isinf(v) for v in found.to_json().values())


@pytest.mark.parametrize("tolerance", [0, 1, -0.5, 2])
def test_a_tolerance_outside_zero_to_one_is_refused(tolerance):
    with pytest.raises(ConfigError, match="tolerance"):
        recommend_rank(fit_scaling_law(table(power(1.0)), "miub", ScalingConfig(bootstrap=0)), tolerance)
