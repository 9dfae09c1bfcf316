"""Splitting expert weights into a shared model and low-rank residuals."""

import pytest
import torch
from torch import Tensor

from intarsia.errors import ConfigError, ModelError
from intarsia.merge.config import TwinMergingConfig
from intarsia.merge.residuals import (
    LoraFactors,
    exclusive_residuals,
    lora_factor_split,
    lora_residuals,
    resolve_rank,
    shared_delta,
    truncate,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def updates(count: int = 3, rows: int = 12, columns: int = 9, rank: int = 2) -> list[LoraFactors]:
    return [LoraFactors(random(rows, rank, seed=i), random(rank, columns, seed=50 + i)) for i in range(count)]


def mixed(base: Tensor, shared: Tensor, residuals: list[Tensor], weights: Tensor) -> Tensor:
    return base + shared + sum(w * d for w, d in zip(weights, residuals, strict=True))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.7])
def test_full_rank_mixtures_are_mixtures_of_the_experts_whatever_is_shared(gamma: float) -> None:
    base, deltas = random(6, 8), [random(6, 8, seed=i) for i in (1, 2, 3)]
    shared = shared_delta(deltas, gamma)
    residuals = [r.dense() for r in exclusive_residuals(deltas, shared, 6)]
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    expected = sum(w * (base + delta) for w, delta in zip(weights, deltas, strict=True))
    torch.testing.assert_close(mixed(base, shared, residuals, weights), expected, rtol=0, atol=1e-13)


def test_one_hot_mixture_at_full_rank_is_that_expert_and_uniform_is_the_average() -> None:
    base, deltas = random(6, 8), [random(6, 8, seed=i) for i in (1, 2)]
    shared = shared_delta(deltas, 0.3)
    residuals = [r.dense() for r in exclusive_residuals(deltas, shared, 6)]
    one_hot = mixed(base, shared, residuals, torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(one_hot, base + deltas[1], rtol=0, atol=1e-13)
    uniform = mixed(base, shared, residuals, torch.tensor([0.5, 0.5], dtype=torch.float64))
    torch.testing.assert_close(uniform, base + (deltas[0] + deltas[1]) / 2, rtol=0, atol=1e-13)


def test_truncation_error_is_the_energy_of_the_terms_left_out() -> None:
    matrix = random(10, 7)
    values = torch.linalg.svdvals(matrix)
    errors = []
    for rank in range(8):
        kept = truncate(matrix, rank)
        error = float((matrix - kept.dense()).square().sum())
        assert error == pytest.approx(float(values[rank:].square().sum()), abs=1e-12)
        assert kept.energy_kept == pytest.approx(1 - error / float(matrix.square().sum()))
        errors.append(error)
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == pytest.approx(float(matrix.square().sum()))


def test_a_zero_matrix_keeps_all_its_energy() -> None:
    assert truncate(torch.zeros(3, 4), 1).energy_kept == 1.0


def test_randomised_svd_of_a_large_matrix_is_close_to_the_best_and_repeats() -> None:
    # Falling spectrum, as residuals have; larger than what gets a full SVD.
    u, v = torch.linalg.qr(random(1100, 60)).Q, torch.linalg.qr(random(1050, 60, seed=1)).Q
    s = 0.8 ** torch.arange(60, dtype=torch.float64)
    matrix = (u * s) @ v.mT
    kept = truncate(matrix, 8, generator=torch.Generator().manual_seed(3))
    again = truncate(matrix, 8, generator=torch.Generator().manual_seed(3))
    best = float(s[:8].square().sum() / s.square().sum())
    assert best * (1 - 1e-6) <= kept.energy_kept <= best * (1 + 1e-9)
    torch.testing.assert_close(kept.s, s[:8], rtol=1e-4, atol=0)
    assert torch.equal(kept.u, again.u)


def test_gamma_one_over_experts_shares_the_average_and_residuals_cancel() -> None:
    deltas = [random(4, 5, seed=i) for i in range(4)]
    shared = shared_delta(deltas, 1 / 4)
    torch.testing.assert_close(shared, torch.stack(deltas).mean(0))
    total = sum(r.dense() for r in exclusive_residuals(deltas, shared, 4))
    torch.testing.assert_close(total, torch.zeros(4, 5, dtype=torch.float64), rtol=0, atol=1e-13)
    assert not shared_delta(deltas, 0.0).any()


def test_an_expert_equal_to_the_base_has_minus_the_others_as_residual() -> None:
    deltas = [torch.zeros(4, 5, dtype=torch.float64), random(4, 5), random(4, 5, seed=1)]
    residual = exclusive_residuals(deltas, shared_delta(deltas, 0.3), 4)[0]
    torch.testing.assert_close(residual.dense(), -0.3 * (deltas[1] + deltas[2]))


def test_lora_residuals_equal_the_dense_differences_and_their_singular_values() -> None:
    factors = updates()
    deltas = [update.b @ update.a for update in factors]
    shared = shared_delta(deltas, 0.3)
    for residual, delta in zip(lora_residuals(factors, 0.3, 6), deltas, strict=True):
        dense = delta - shared
        torch.testing.assert_close(residual.dense(), dense, rtol=0, atol=1e-12)
        torch.testing.assert_close(residual.s, torch.linalg.svdvals(dense)[:6], rtol=0, atol=1e-12)
        assert residual.energy == pytest.approx(float(dense.square().sum()))
        assert torch.linalg.matrix_rank(dense) <= 6
    for residual, delta in zip(lora_residuals(factors, 0.3, 2), deltas, strict=True):
        torch.testing.assert_close(residual.dense(), truncate(delta - shared, 2).dense(), rtol=0, atol=1e-12)


def test_lora_residuals_take_adapters_of_different_ranks_and_more_columns_than_the_matrix_has() -> None:
    factors = [LoraFactors(random(5, rank, seed=rank), random(rank, 4, seed=9)) for rank in (1, 3, 4)]
    shared = shared_delta([f.b @ f.a for f in factors], 0.5)
    for residual, update in zip(lora_residuals(factors, 0.5, 4), factors, strict=True):
        torch.testing.assert_close(residual.dense(), update.b @ update.a - shared, rtol=0, atol=1e-12)


def test_factor_mode_differs_from_the_mixture_of_updates_by_exactly_the_cross_terms() -> None:
    factors, gamma = updates(count=2), 0.3
    split = lora_factor_split(factors, gamma, 2)
    weights = torch.tensor([0.6, 0.4], dtype=torch.float64)
    merged = split.merged(weights)
    # At full rank the shared factors cancel: (sum w b) (sum w a), whose terms with two experts no update has.
    crossed = sum(weights[i] * weights[j] * factors[i].b @ factors[j].a for i in range(2) for j in range(2))
    torch.testing.assert_close(merged, crossed, rtol=0, atol=1e-12)
    product = sum(w * f.b @ f.a for w, f in zip(weights, factors, strict=True))
    assert (merged - product).abs().max() > 0.1
    one_hot = split.merged(torch.tensor([1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(one_hot, factors[0].b @ factors[0].a, rtol=0, atol=1e-12)


def test_factor_mode_refuses_adapters_of_different_ranks() -> None:
    factors = [LoraFactors(random(5, rank), random(rank, 4)) for rank in (1, 3)]
    with pytest.raises(ModelError, match="different LoRA ranks \\(1, 3\\)"):
        lora_factor_split(factors, 0.3, 1)


@pytest.mark.parametrize(
    ("rank", "lora", "expected"),
    [(None, True, 8), (None, False, 76), ("full", False, 768), (0.01, True, 7), (0.0001, False, 1), (5, False, 5)],
)
def test_rank_rules(rank: object, lora: bool, expected: int) -> None:
    assert resolve_rank(rank, 768, 1024, lora=lora) == expected  # type: ignore[arg-type]


def test_default_lora_rank_fits_small_matrices() -> None:
    assert resolve_rank(None, 4, 100, lora=True) == 4


def test_a_rank_above_the_matrix_is_refused_or_clipped() -> None:
    with pytest.raises(ConfigError, match="rank is 9, but it must be at most 4"):
        resolve_rank(9, 4, 100, lora=True)
    assert resolve_rank(9, 4, 100, lora=True, clip=True) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"rank": -1}, "rank is -1"),
        ({"rank": 1.5}, "rank is 1.5"),
        ({"rank": "half"}, "rank is 'half'"),
        ({"rank": True}, "rank is True"),
        ({"routing": "softly"}, "routing is 'softly'"),
        ({"lora_mode": "sum"}, "lora_mode is 'sum'"),
        ({"unknown_threshold": 2.0}, "unknown_threshold is 2.0"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TwinMergingConfig(**settings)  # type: ignore[arg-type]
