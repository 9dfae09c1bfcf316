from itertools import product

import numpy as np
import pytest

from intarsia.errors import ConfigError, InputError, UnknownNameError
from intarsia.finetune.scaling import Run, RunTable, ScalingConfig, fit_scaling_law

TRUE = {"A": 0.2, "B": 0.5, "C": 0.3, "alpha": 0.4, "beta": 0.3, "gamma": 0.25}
NO_BOOTSTRAP = ScalingConfig(bootstrap=0)


def law(N, R, D, N0=1e6, R0=2, D0=100, E=0.0):
    t = TRUE
    return t["A"] * (N0 / N) ** t["alpha"] + t["B"] * (R0 / R) ** t["beta"] + t["C"] * (D0 / D) ** t["gamma"] + E


def grid(*, scale_n=1.0, noise=0.0, seeds=(0,), N=(1e6, 2e6, 4e6, 8e6), R=(2, 4, 8, 32, 128), D=(100, 400, 1600, 6400)):
    generator = np.random.default_rng(0)
    return [
        Run(
            N=n * scale_n,
            R=r,
            D=d,
            alpha=16,
            policy="fixed",
            seed=seed,
            metrics={"miub": law(n, r, d) * float(np.exp(noise * generator.standard_normal()))},
        )
        for n, r, d, seed in product(N, R, D, seeds)
    ]


def ranks_only(values, seeds=1, noise=0.0, ranks=(2, 8, 32, 128), **extra):
    generator = np.random.default_rng(1)
    return RunTable(
        tuple(
            Run(
                N=1e6,
                R=rank,
                D=100,
                alpha=16,
                policy="fixed",
                seed=seed,
                metrics={"miub": value + noise * float(generator.standard_normal()), **extra},
            )
            for rank, value in zip(ranks, values, strict=True)
            for seed in range(seeds)
        )
    )


@pytest.fixture(scope="module")
def recovered():
    return fit_scaling_law(RunTable(tuple(grid())), "miub", NO_BOOTSTRAP)


def test_a_noiseless_grid_gives_its_parameters_back(recovered):
    for name, value in TRUE.items():
        assert recovered.parameters[name].value == pytest.approx(value, abs=1e-3)
    assert recovered.r2 == pytest.approx(1)
    assert recovered.loo_nrmse == pytest.approx(0, abs=1e-6)
    assert recovered.degrees_of_freedom == 80 - 6


def test_a_constant_is_recovered_when_asked_for():
    runs = [Run(**{**run.__dict__, "metrics": {"miub": run.metrics["miub"] + 0.7}}) for run in grid()]
    fit = fit_scaling_law(RunTable(tuple(runs)), "miub", ScalingConfig(bootstrap=0, constant=True))
    assert fit.parameters["E"].value == pytest.approx(0.7, abs=1e-3)
    assert fit.parameters["beta"].value == pytest.approx(0.3, abs=1e-3)


def test_rescaling_an_axis_with_its_reference_changes_nothing(recovered):
    scaled = fit_scaling_law(RunTable(tuple(grid(scale_n=1000))), "miub", NO_BOOTSTRAP)
    for name, parameter in recovered.parameters.items():
        assert scaled.parameters[name].value == pytest.approx(parameter.value, rel=1e-6)
    assert scaled.predict(N=3e9, R=16, D=800) == pytest.approx(recovered.predict(N=3e6, R=16, D=800), rel=1e-6)


def test_the_order_of_rows_changes_nothing():
    runs = grid(noise=0.05)
    forward = fit_scaling_law(RunTable(tuple(runs)), "miub", NO_BOOTSTRAP)
    backward = fit_scaling_law(RunTable(tuple(reversed(runs))), "miub", NO_BOOTSTRAP)
    assert forward == backward


def test_prediction_between_the_grid_points_is_the_law(recovered):
    assert recovered.predict(N=3e6, R=16, D=800) == pytest.approx(law(3e6, 16, 800), rel=1e-4)
    with pytest.raises(InputError, match="rank"):
        recovered.predict(N=3e6, D=800)


def test_intervals_hold_the_truth_and_widen_with_noise():
    widths = []
    for noise in (0.01, 0.04):
        table = RunTable(tuple(grid(noise=noise, seeds=(0, 1, 2), N=(1e6,), D=(100,), R=(2, 4, 8, 16, 32, 64, 128))))
        beta = fit_scaling_law(table, "miub", ScalingConfig(bootstrap=60)).parameters["B"]
        assert beta.low <= TRUE["B"] <= beta.high
        widths.append(beta.high - beta.low)
    assert widths[1] > widths[0] > 0


def test_the_bootstrap_follows_the_seed():
    table = ranks_only([0.5, 0.4, 0.3, 0.29], seeds=3, noise=0.01)
    first, again = (fit_scaling_law(table, "miub", ScalingConfig(bootstrap=10)) for _ in range(2))
    other = fit_scaling_law(table, "miub", ScalingConfig(bootstrap=10, seed=1))
    assert np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)


def test_an_axis_with_one_value_collapses_into_the_constant():
    fit = fit_scaling_law(ranks_only([0.5, 0.4, 0.35, 0.33]), "miub", NO_BOOTSTRAP)
    assert fit.axes == ("R",)
    assert set(fit.parameters) == {"B", "beta", "E"}
    assert any("model size, data size" in warning for warning in fit.warnings)


def test_huber_resists_one_spoilt_cell():
    ranks = tuple(2**k for k in range(1, 10))
    values = [0.5 * (2 / rank) ** 0.3 + 0.1 for rank in ranks]
    values[4] += 0.3
    table = ranks_only(values, ranks=ranks)
    plain = fit_scaling_law(table, "miub", NO_BOOTSTRAP)
    robust = fit_scaling_law(table, "miub", ScalingConfig(bootstrap=0, huber=1.5))
    truth = 0.5 * (2 / 64) ** 0.3 + 0.1
    assert abs(robust.predict(R=64) - truth) < 0.02 < abs(plain.predict(R=64) - truth)


def test_noisy_cells_weigh_less():
    generator = np.random.default_rng(3)
    runs = []
    for rank, value, noise in [(2, 0.6, 1e-3), (4, 0.5, 1e-3), (8, 0.42, 1e-3), (16, 0.36, 1e-3), (32, 0.6, 0.3)]:
        for seed in range(8):
            metrics = {"miub": value + noise * float(generator.uniform(-1, 1))}
            runs.append(Run(N=1, R=rank, D=1, alpha=16, policy="fixed", seed=seed, metrics=metrics))
    weighted = fit_scaling_law(RunTable(tuple(runs)), "miub", NO_BOOTSTRAP)
    equal = fit_scaling_law(RunTable(tuple(runs)), "miub", ScalingConfig(bootstrap=0, weights="equal"))
    assert abs(weighted.predict(R=16) - 0.36) < abs(equal.predict(R=16) - 0.36) / 3


def test_log_perplexity_is_cross_entropy():
    ce = [0.9, 0.7, 0.6, 0.55]
    table = RunTable(
        tuple(
            Run(N=1, R=rank, D=1, alpha=16, policy="fixed", seed=0, metrics={"ce": value, "ppl": float(np.exp(value))})
            for rank, value in zip((2, 8, 32, 128), ce, strict=True)
        )
    )
    by_ce, by_ppl = (fit_scaling_law(table, metric, NO_BOOTSTRAP) for metric in ("ce", "ppl"))
    assert by_ppl.quantity == "log ppl"
    assert by_ppl.predict_metric(R=20) == pytest.approx(np.exp(by_ppl.predict(R=20)))
    assert by_ppl.predict(R=20) == pytest.approx(by_ce.predict(R=20), rel=1e-6)


def test_accuracy_is_fitted_as_error_rate():
    fit = fit_scaling_law(ranks_only([1] * 4, accuracy=0.8), "accuracy", NO_BOOTSTRAP)
    assert fit.quantity == "1 - accuracy"
    assert fit.predict(R=8) == pytest.approx(0.2)
    assert fit.predict_metric(R=8) == pytest.approx(0.8)


def test_no_degree_of_freedom_is_said():
    fit = fit_scaling_law(ranks_only([0.5, 0.4, 0.35], ranks=(2, 8, 32)), "miub")
    assert fit.r2 == pytest.approx(1)
    assert fit.adjusted_r2 is None
    assert fit.loo_nrmse is None
    assert any("R2 = 1 means nothing" in warning for warning in fit.warnings)
    assert fit.parameters["beta"].low is None


def test_a_rising_metric_is_not_identified():
    fit = fit_scaling_law(ranks_only([0.3, 0.35, 0.4, 0.5]), "miub", NO_BOOTSTRAP)
    assert "does not fall" in fit.unidentified["R"]
    assert fit.concordance["R"] == -1


def test_a_straight_line_in_log_rank_shows_no_plateau():
    fit = fit_scaling_law(ranks_only([308, 306, 304, 302]), "miub", NO_BOOTSTRAP)
    assert "lower bound" in fit.unidentified["R"]


def test_an_exponent_that_noise_hides_is_not_identified():
    fit = fit_scaling_law(ranks_only([0.5, 0.46, 0.45, 0.44], seeds=3, noise=0.05), "miub")
    assert "not determine it" in fit.unidentified["R"]


def test_missing_column_is_named_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"'mibu'.*\n.*'miub'"):
        fit_scaling_law(ranks_only([4, 3, 2, 1]), "mibu")


@pytest.mark.parametrize("value", [0.0, -0.1])
def test_non_positive_metric_is_refused(value):
    with pytest.raises(InputError, match=r"miub is -?0.*positive.*\n.*R=128"):
        fit_scaling_law(ranks_only([4, 3, 2, value]), "miub")


def test_non_finite_metric_is_refused():
    with pytest.raises(InputError, match=r"miub.*nan"):
        fit_scaling_law(ranks_only([4, 3, 2, float("nan")]), "miub")


def test_two_values_on_an_axis_are_refused_with_the_way_out():
    table = ranks_only([4, 3], ranks=(2, 8), seeds=3)
    with pytest.raises(
        InputError, match=r"axis R \(rank\) has 2 values \(2, 8\).*at least 3[\s\S]*fixed_exponents.*drop"
    ):
        fit_scaling_law(table, "miub")


def test_two_values_suffice_with_a_given_exponent():
    table = ranks_only([0.6, 0.35], ranks=(2, 8))
    fit = fit_scaling_law(table, "miub", ScalingConfig(bootstrap=0, fixed_exponents={"R": 0.5}))
    assert fit.parameters["B"].value == pytest.approx(0.5)
    assert fit.parameters["E"].value == pytest.approx(0.1)


def test_an_axis_can_be_dropped():
    runs = grid(D=(100, 400), N=(1e6,))
    fit = fit_scaling_law(RunTable(tuple(runs)), "miub", ScalingConfig(bootstrap=0, drop=("D",)))
    assert fit.axes == ("R",)
    assert all(cell.runs == 2 for cell in fit.cells)


def test_fewer_cells_than_parameters_is_refused():
    runs = [run for run in grid() if (run.N, run.R, run.D) in {(1e6, 2, 100), (2e6, 4, 400), (4e6, 8, 1600)}]
    with pytest.raises(InputError, match=r"6 parameters.*only 3 distinct cells"):
        fit_scaling_law(RunTable(tuple(runs)), "miub")


def test_nothing_varies_is_refused():
    with pytest.raises(InputError, match="nothing varies"):
        fit_scaling_law(ranks_only([1], ranks=(8,), seeds=3), "miub")


def test_mixed_alpha_policies_are_refused():
    fixed = ranks_only([4, 3, 2, 1]).runs
    other = [Run(**{**run.__dict__, "alpha": 2 * run.R, "policy": "proportional"}) for run in fixed]
    with pytest.raises(InputError, match="fixed, proportional"):
        fit_scaling_law(RunTable((*fixed, *other)), "miub")


def test_several_datasets_are_refused():
    runs = ranks_only([4, 3, 2, 1]).runs
    other = [Run(**{**run.__dict__, "dataset": "other"}) for run in runs]
    with pytest.raises(InputError, match="data, other"):
        fit_scaling_law(RunTable((*runs, *other)), "miub")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("exponents", (0.0, 1.0)),
        ("starts", 0),
        ("drop", ("Q",)),
        ("fixed_exponents", {"R": -1.0}),
        ("weights", "some"),
        ("huber", 0.0),
        ("bootstrap", -1),
        ("confidence", 1.0),
    ],
)
def test_wrong_settings_name_the_field(setting, value):
    with pytest.raises(ConfigError, match=setting):
        ScalingConfig(**{setting: value})
