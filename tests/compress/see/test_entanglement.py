"""Rank and entropy of sums of products."""

import math

import pytest
import torch

from intarsia.compress import (
    SEEConfig,
    SEEEmbedding,
    TermTable,
    entanglement_entropy,
    schmidt_coefficients,
    schmidt_rank,
)
from intarsia.errors import ConfigError, InputError


@pytest.mark.parametrize("cut", [1, 2])
def test_rank_is_at_most_the_number_of_terms(cut: int) -> None:
    counts = torch.tensor([1, 2, 3, 4, 7])
    generator = torch.Generator().manual_seed(0)
    units = torch.randint(40, (5, 7, 3), generator=generator)
    mask = torch.arange(7) < counts[:, None]
    table = TermTable(
        units, torch.zeros_like(units), mask, torch.ones(40, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    )
    embedding = SEEEmbedding.from_table(table, 4 * 5 * 6, SEEConfig(slot_sizes=(4, 5, 6)), deviation=1.0)
    coefficients = schmidt_coefficients(embedding.products(torch.arange(5)).detach(), (4, 5, 6), cut)
    rank = schmidt_rank(coefficients)
    assert rank.tolist() == [min(count, (4, 6)[cut - 1]) for count in counts.tolist()]
    entropy = entanglement_entropy(coefficients)
    assert float(entropy[0]) == pytest.approx(0, abs=1e-5)
    assert (entropy[1:] > 0.01).all()
    assert (entropy <= rank.log() + 1e-5).all()


@pytest.mark.parametrize("terms", [1, 2, 3, 4])
def test_orthogonal_terms_of_equal_norm_have_the_entropy_of_a_fair_choice(terms: int) -> None:
    left = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q[:terms]
    right = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q[:terms]
    vector = 3 * torch.einsum("ka,kb->ab", left, right).flatten()
    coefficients = schmidt_coefficients(vector, (4, 2, 3), 1)
    torch.testing.assert_close(coefficients[:terms], torch.full((terms,), 3.0, dtype=torch.float64))
    assert int(schmidt_rank(coefficients)) == terms
    assert float(entanglement_entropy(coefficients)) == pytest.approx(math.log(terms), abs=1e-9)


def test_nothing_has_no_entropy() -> None:
    coefficients = schmidt_coefficients(torch.zeros(2, 6), (2, 3))
    assert entanglement_entropy(coefficients).tolist() == [0, 0]
    assert schmidt_rank(coefficients).tolist() == [0, 0]


def test_wrong_cuts_and_lengths_are_named() -> None:
    with pytest.raises(ConfigError, match="cut is 2, but it must be between 1 and 1"):
        schmidt_coefficients(torch.zeros(6), (2, 3), 2)
    with pytest.raises(InputError, match="the vectors have 5 numbers, but the slots 2 x 3"):
        schmidt_coefficients(torch.zeros(5), (2, 3))
