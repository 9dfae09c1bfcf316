"""Best approximations of low rank, and sizes that multiply to a given one."""

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.compress.ratio import UnreachableRatioError, check_ratio
from intarsia.compress.rivals.factorisation import (
    check_matrix,
    largest_rank,
    near_equal_factors,
    truncated_svd,
)
from intarsia.errors import ConfigError, ModelError


@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (9, 9)])
@pytest.mark.parametrize("rank", [1, 4, 9])
def test_squared_error_is_the_sum_of_discarded_squares(shape, rank):
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left, right, discarded = truncated_svd(matrix, rank)
    values = torch.linalg.svdvals(matrix)
    assert discarded == pytest.approx(float(values[rank:].square().sum()), abs=1e-9)
    assert float((matrix - left @ right).square().sum()) == pytest.approx(discarded, abs=1e-9)


def test_a_matrix_of_low_rank_survives_single_precision():
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(200, 3, generator=generator) @ torch.randn(3, 40, generator=generator)
    left, right, discarded = truncated_svd(matrix, 10)
    assert torch.isfinite(left).all()
    assert torch.allclose(left @ right, matrix, atol=1e-4)
    assert discarded < 1e-4


def test_zeros_stay_zeros():
    left, right, discarded = truncated_svd(torch.zeros(6, 4), 2)
    assert torch.equal(left @ right, torch.zeros(6, 4))
    assert discarded == 0


def test_factors_of_known_vocabularies():
    assert near_equal_factors(49_152, 2) == (192, 256)
    assert near_equal_factors(49_152, 3) == (32, 32, 48)
    assert near_equal_factors(576, 2) == (24, 24)
    assert near_equal_factors(576, 3) == (8, 8, 9)


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 3))
def test_factors_cover_the_number_and_are_of_one_size(number, parts):
    factors = near_equal_factors(number, parts)
    assert len(factors) == parts
    assert prod(factors) >= number
    assert factors[-1] <= 2 * factors[0] or parts == 1


def test_largest_rank_fills_the_budget_and_not_more():
    for ratio in (1.5, 2, 7, 30):
        rank = largest_rank(ratio, 10_000, 90, lambda rank: 11 * rank, method="it")
        assert 11 * rank <= 10_000 / ratio
        assert rank == 90 or 11 * (rank + 1) > 10_000 / ratio


def test_a_ratio_that_cannot_be_reached_says_which_can():
    with pytest.raises(UnreachableRatioError, match=r"ratio of 1000 leaves less than rank 1 of it[^§]*most 909\.09"):
        largest_rank(1000.0, 10_000, 90, lambda rank: 11 * rank, method="it")


@pytest.mark.parametrize("ratio", [1.0, 0.5, -3.0, float("nan"), float("inf")])
def test_a_ratio_must_be_above_one(ratio):
    with pytest.raises(ConfigError, match=r"ratio is .* above 1"):
        check_ratio(ratio)


def test_matrices_that_cannot_be_compressed():
    with pytest.raises(ConfigError, match=r"matrix is \(3,\)"):
        check_matrix(torch.zeros(3))
    matrix = torch.zeros(4, 3)
    matrix[1, 2] = float("nan")
    with pytest.raises(ModelError, match="1 of 12 weights of the embedding matrix are NaN"):
        check_matrix(matrix)
