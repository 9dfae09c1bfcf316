import math

import pytest
import torch

from intarsia.errors import ConfigError, ModelError
from intarsia.finetune.miub import MIUBConfig, ModuleAccumulator, SoftJoint, soft_assignments
from intarsia.finetune.miub.jackknife import block_of_tokens, standard_error


def sides(tokens=300, dim=10, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    base, other = torch.randn(2, tokens, dim, generator=generator, dtype=torch.float64)
    return base.to(dtype), (0.6 * base + 0.4 * other).to(dtype)


def measured(base, lora, config, parts=1):
    accumulator = ModuleAccumulator("layers.0.q_proj", config)
    first = 0
    for chunk_base, chunk_lora in zip(base.chunk(parts), lora.chunk(parts), strict=True):
        blocks = block_of_tokens(first, len(chunk_base), max(1, config.blocks))
        accumulator.update(chunk_base, chunk_lora, blocks)
        first += len(chunk_base)
    return accumulator


@pytest.mark.parametrize("bins", [None, 4])
def test_streaming_equals_one_pass(bins):
    base, lora = sides()
    config = MIUBConfig(permutations=0, bins=bins)
    once, streamed = (measured(base, lora, config, parts) for parts in (1, 7))
    for normalization in config.normalizations:
        a, b = once.statistics()[normalization], streamed.statistics()[normalization]
        assert a.scores == pytest.approx(b.scores, abs=1e-10)
        assert a.bias == pytest.approx(b.bias, rel=1e-9)
    assert once.statistics()["zscore"].errors == pytest.approx(streamed.statistics()["zscore"].errors, abs=1e-10)
    assert once.lora_to_base == pytest.approx(streamed.lora_to_base, rel=1e-12)
    assert once.tokens == streamed.tokens == 300


def test_float32_matches_float64():
    base, lora = sides(dim=40)
    exact = measured(base, lora, MIUBConfig()).statistics()
    low = measured(base.float(), lora.float(), MIUBConfig()).statistics()
    for normalization in ("zscore", "softmax"):
        assert low[normalization].scores == pytest.approx(exact[normalization].scores, rel=1e-5, abs=1e-9)


def test_jackknife_leaves_out_exactly_one_block():
    base, lora = sides()
    config = MIUBConfig(normalizations=("zscore",), permutations=0)
    found = measured(base, lora, config).statistics()["zscore"]
    blocks = block_of_tokens(0, len(base), 10)
    plain = config.light()
    for block, row in enumerate(found.without_block):
        keep = blocks != block
        alone = measured(base[keep], lora[keep], plain).statistics()["zscore"].scores
        assert row.tolist() == pytest.approx(list(alone), abs=1e-11)
    assert found.block_sizes.tolist() == torch.bincount(blocks).tolist()


def test_standard_error_of_a_mean_is_the_textbook_one():
    values = torch.arange(10.0, dtype=torch.float64) ** 2
    mean = values.mean()
    without = torch.stack([(values.sum() - value) / 9 for value in values])
    error = standard_error(mean, without, torch.ones(10, dtype=torch.float64))
    assert float(error) == pytest.approx(float(values.std() / math.sqrt(10)), rel=1e-12)


def test_standard_error_tracks_the_spread_over_fresh_data():
    config = MIUBConfig(normalizations=("zscore",), permutations=0)
    found = [measured(*sides(400, 8, seed=seed), config).statistics()["zscore"] for seed in range(40)]
    spread = torch.tensor([one.scores.dpi for one in found], dtype=torch.float64).std()
    errors = torch.tensor([one.errors.dpi for one in found], dtype=torch.float64)
    assert 0.6 < float(errors.mean() / spread) < 1.6


def test_blocks_depend_on_the_place_in_the_data_only():
    whole = block_of_tokens(0, 200, 10)
    assert torch.equal(torch.cat([block_of_tokens(0, 77, 10), block_of_tokens(77, 123, 10)]), whole)
    assert whole[:16].eq(0).all()
    assert whole[16:32].eq(1).all()


@pytest.mark.parametrize("classes", [16, 32])
def test_independent_assignments_have_the_closed_form_bias(classes):
    generator = torch.Generator().manual_seed(classes)
    p, q = torch.softmax(torch.randn(2, 800, classes, generator=generator, dtype=torch.float64), -1)
    joint = SoftJoint(permutations=5)
    joint.update(p, q, [len(p)])
    found = joint.statistics()
    chi2 = [float(((x - x.mean(0)) ** 2 / x.mean(0)).sum(1).mean()) for x in (p, q)]
    assert found.bias == pytest.approx(chi2[0] * chi2[1] / 1600, rel=1e-9)
    assert found.bias < 0.05
    assert found.scores.mutual_information == pytest.approx(found.bias, rel=0.2)
    assert found.null == pytest.approx(found.bias, rel=0.2)


def test_null_is_far_below_a_real_dependence_and_leaves_dpi_alone():
    base, lora = sides(1000)
    config = MIUBConfig(normalizations=("zscore",), blocks=0)
    found = measured(base, lora, config).statistics()["zscore"]
    assert 0 < found.null < 0.1 * found.scores.mutual_information
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(1))
    shuffled = measured(base, lora[order], config).statistics()["zscore"]
    assert shuffled.scores.mutual_information == pytest.approx(found.null, rel=0.2)
    assert shuffled.scores.dpi == pytest.approx(found.scores.dpi, abs=1e-12)


def test_debias_subtracts_the_null():
    base, lora = sides()
    plain = measured(base, lora, MIUBConfig()).statistics()["zscore"]
    debiased = measured(base, lora, MIUBConfig(debias=True)).statistics()["zscore"]
    assert debiased.scores.mutual_information == pytest.approx(plain.scores.mutual_information - plain.null, abs=1e-14)
    assert debiased.errors == pytest.approx(plain.errors, abs=1e-12)


def test_same_seed_same_null():
    base, lora = sides()
    first, second = (measured(base, lora, MIUBConfig(seed=4)).statistics()["zscore"].null for _ in range(2))
    assert first == second != measured(base, lora, MIUBConfig(seed=5)).statistics()["zscore"].null


def test_light_form_has_no_errors_and_no_null():
    found = measured(*sides(), MIUBConfig().light()).statistics()["zscore"]
    assert found.errors is None
    assert found.null is None


def test_lora_to_base_is_the_ratio_of_norms():
    base, lora = sides()
    found = measured(base, lora, MIUBConfig(), parts=3).lora_to_base
    assert found == pytest.approx(float(lora.norm() / base.norm()), rel=1e-12)


def test_scaled_features_are_assigned_in_float64_rows():
    p = soft_assignments(sides()[0].float(), "softmax")
    assert p.dtype == torch.float64


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", [0, 1])
def test_not_finite_features_name_the_module(side, value):
    pair = sides()
    pair[side][3, 2] = value
    with pytest.raises(ModelError, match=r"(base|LoRA) features hold NaN or infinity\n.*layers\.0\.q_proj"):
        measured(*pair, MIUBConfig())


def test_different_token_counts_name_the_module():
    base, lora = sides()
    with pytest.raises(ModelError, match=r"different shapes: \[300, 10\] and \[299, 10\]\n.*layers\.0\.q_proj"):
        ModuleAccumulator("layers.0.q_proj", MIUBConfig()).update(base, lora[:-1])


def test_more_bins_than_features_name_the_module():
    with pytest.raises(ConfigError, match=r"bins is 11, but it must be at most 10.*\n.*layers\.0\.q_proj"):
        measured(*sides(), MIUBConfig(bins=11))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tau", 0.0),
        ("tau", -1.0),
        ("tau", float("nan")),
        ("bins", 0),
        ("bins", "all"),
        ("token_mask", "answers"),
        ("max_tokens", 49),
        ("tokens_per_forward", 0),
        ("blocks", 1),
        ("blocks", -1),
        ("permutations", -1),
        ("normalizations", ()),
        ("normalizations", ("zscore", "zscore")),
        ("normalizations", ("sigmoid",)),
    ],
)
def test_wrong_settings_are_named(field, value):
    with pytest.raises(ConfigError, match=f"^{field} is "):
        MIUBConfig(**{field: value})


def test_debias_needs_permutations():
    with pytest.raises(ConfigError, match="debias"):
        MIUBConfig(debias=True, permutations=0)
