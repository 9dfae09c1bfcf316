import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.finetune.miub import MIUBConfig, ModuleAccumulator, partition, soft_assignments, standardized


def features(seed: int = 0, tokens: int = 80, dim: int = 12, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(tokens, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def scores(base, lora, normalization="zscore", **settings):
    config = MIUBConfig(normalizations=(normalization,), blocks=0, permutations=0, **settings)
    accumulator = ModuleAccumulator("m", config)
    accumulator.update(base, lora)
    return accumulator.statistics()[normalization].scores


@pytest.mark.parametrize("normalization", ["zscore", "softmax"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_untrained_adapter_scores_zero(normalization, dtype):
    base = features(dtype=dtype)
    zero = scores(base, torch.zeros_like(base), normalization)
    assert zero.lora_information <= 1e-14
    assert max(zero[:7]) <= 1e-12


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-50, 50))
def test_zscore_ignores_scale_and_offset(factor, offset):
    x = features()
    assert torch.allclose(
        soft_assignments(factor * x + offset, "zscore"), soft_assignments(x, "zscore"), rtol=1e-8, atol=1e-10
    )


def test_softmax_ignores_an_offset_only():
    x = features()
    reference = soft_assignments(x, "softmax")
    assert torch.allclose(soft_assignments(x + 3.7, "softmax"), reference, atol=1e-14)
    assert not torch.allclose(soft_assignments(2 * x, "softmax"), reference, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constant", [0.0, 0.1, -1234.567, 1e-20])
def test_constant_token_becomes_uniform(dtype, constant):
    x = torch.full((2, 7), constant, dtype=dtype)
    assert (standardized(x) == 0).all()
    assert torch.allclose(soft_assignments(x, "zscore"), torch.full((2, 7), 1 / 7, dtype=torch.float64), atol=1e-15)


def test_zscore_matches_its_definition():
    x = features()
    expected = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True, correction=0)
    assert torch.allclose(standardized(x), expected, atol=1e-14)
    assert torch.allclose(soft_assignments(x, "zscore", tau=2.5), torch.softmax(expected / 2.5, 1), atol=1e-14)


def test_hot_temperature_gives_zero():
    base, lora = features(0), features(0) + 0.1 * features(1)
    values = [scores(base, lora, tau=tau).dpi for tau in (1.0, 10.0, 1e3, 1e6)]
    assert values == sorted(values, reverse=True)
    assert values[-1] <= 1e-10


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rows_are_exact_distributions_in_float64(dtype):
    p = soft_assignments(features(dtype=dtype), "zscore")
    assert p.dtype == torch.float64
    assert torch.allclose(p.sum(1), torch.ones(len(p), dtype=torch.float64), atol=1e-15)


def test_float32_keeps_the_digits_of_a_weak_dependence():
    base, lora = features(0, 400, 64), 1e-3 * (features(0, 400, 64) + features(1, 400, 64))
    exact, low = scores(base, lora, "softmax"), scores(base.float(), lora.float(), "softmax")
    assert 0 < exact.dpi < 1e-6
    assert low.dpi == pytest.approx(exact.dpi, rel=1e-3)
    assert low.mutual_information == pytest.approx(exact.mutual_information, rel=1e-2)


@pytest.mark.parametrize(("dim", "bins"), [(12, 4), (13, 4), (7, 7), (5, 1)])
def test_partition_is_balanced_and_seeded(dim, bins):
    sizes = torch.bincount(partition(dim, bins, seed=3), minlength=bins)
    assert sizes.sum() == dim
    assert sizes.max() - sizes.min() <= 1
    assert torch.equal(partition(dim, bins, seed=3), partition(dim, bins, seed=3))


def test_partition_depends_on_the_seed():
    assert not torch.equal(partition(64, 8, seed=0), partition(64, 8, seed=1))


def test_binned_assignments_are_sums_of_the_features_probabilities():
    x = features()
    bin_of = partition(12, 5)
    expected = torch.stack([soft_assignments(x, "zscore")[:, bin_of == k].sum(1) for k in range(5)], dim=1)
    assert torch.allclose(soft_assignments(x, "zscore", bin_of=bin_of), expected, atol=1e-14)


def test_bins_of_the_configuration():
    base, lora = features(0), features(0) + features(1)
    fine = scores(base, lora, bins=None)
    assert scores(base, lora, bins=12) == pytest.approx(fine, abs=1e-12)
    assert max(scores(base, lora, bins=1)) <= 1e-12
    assert scores(base, lora, bins=5).mutual_information < fine.mutual_information


def test_wide_modules_are_binned_automatically():
    config = MIUBConfig()
    assert [config.classes(features, "m") for features in (576, 1024, 1025, 4096)] == [576, 1024, 256, 256]
    assert MIUBConfig(bins=None).classes(4096, "m") == 4096
