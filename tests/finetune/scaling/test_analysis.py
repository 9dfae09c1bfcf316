import pytest

from intarsia.errors import InputError
from intarsia.finetune.scaling import (
    Run,
    RunTable,
    ScalingConfig,
    analyse,
    compare_metrics,
    draw_curves,
    identifiable_part,
    save_figure,
)

FAST = ScalingConfig(bootstrap=10)


@pytest.fixture
def runs():
    """Falls as a power law in R under a fixed alpha, rises under a proportional one; two data sizes."""
    rows = []
    for policy, sign in (("fixed", -1), ("proportional", 1)):
        for rank in (2, 4, 8, 16, 32):
            for size in (200, 800):
                for seed in range(3):
                    value = 0.1 + 0.5 * (rank / 2) ** sign + 20 / size + 1e-3 * seed
                    metrics = {"miub": value, "ce": 0.5 + 0.01 * seed, "ppl": 1.7, "accuracy": 0.8, "k90": 3.0}
                    alpha = 16.0 if policy == "fixed" else 2.0 * rank
                    rows.append(
                        Run(N=10, R=rank, D=size, alpha=alpha, policy=policy, seed=seed, metrics=metrics, dataset="sst")
                    )
    return RunTable(tuple(rows))


def test_every_policy_is_analysed_on_its_own(runs):
    found = analyse(runs, config=FAST, tolerance=0.1)
    assert list(found) == ["fixed", "proportional"]
    fixed, proportional = found["fixed"], found["proportional"]
    assert fixed.recommendations["sst"].rank == 20
    assert fixed.recommendations["sst"].spectral_rank == 4
    assert proportional.recommendations["sst"].rank is None
    assert fixed.measured_ranks == {"sst": 2}
    assert fixed.comparison["miub"].concordance_by["sst/R"] == pytest.approx(1)
    assert proportional.comparison["miub"].concordance_by["sst/R"] == pytest.approx(-1)
    assert fixed.to_json()["recommendations"]["sst"]["rank"] == 20


def test_an_axis_with_two_values_is_cut_to_the_larger_with_a_note(runs):
    part, notes = identifiable_part(runs.where(policy="fixed"))
    assert part.axis_values("D") == [800]
    assert "data size has two values, 200 and 800" in notes[0]
    kept, no_notes = identifiable_part(runs.where(policy="fixed"), ScalingConfig(fixed_exponents={"D": 0.5}))
    assert kept == runs.where(policy="fixed")
    assert no_notes == []
    assert any(
        "fitted at 800" in note for note in compare_metrics(runs.where(policy="fixed"), ["miub"], FAST)["miub"].notes
    )


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_curves_are_written_the_same_each_time(runs, tmp_path, suffix):
    part = runs.where(policy="fixed")
    fits = compare_metrics(part, ["miub"], FAST).fits["sst"]
    paths = [tmp_path / f"{name}.{suffix}" for name in ("a", "b")]
    for path in paths:
        figure = draw_curves(part, fits, ["miub", "ce"], title="sst")
        assert len(figure.axes) == 4
        save_figure(figure, path)
    assert paths[0].stat().st_size > 5000
    if suffix == "png":
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_nothing_to_draw_is_said(runs):
    one = runs.filter(lambda run: run.axis("R") == 2 and run.axis("D") == 200 and run.policy == "fixed")
    with pytest.raises(InputError, match="no axis varies"):
        draw_curves(one, {}, ["miub"], title="x")
