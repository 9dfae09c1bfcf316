"""How units get copies, and the term tables of the methods that the sum of products contains."""

import pytest
import torch

from intarsia.compress.units import (
    assign_copies,
    cycle_terms,
    digit_units,
    hashed_copies,
    hashed_units,
    piece_units,
    private_units,
)
from intarsia.errors import ConfigError, DataError, InputError

UNITS = torch.tensor([[[0, 1], [2, 1]], [[0, 3], [0, 0]], [[0, 1], [2, 1]]])
MASK = torch.tensor([[True, True], [True, False], [True, True]])


def rows(table, size=4, seed=0):
    """Rows of random vectors by the formula, one token, term and slot at a time."""
    weight = torch.randn(table.num_rows, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weight.requires_grad_()
    made = []
    for of_token, mask in zip(table.rows.tolist(), table.mask.tolist(), strict=True):
        total = torch.zeros(size**table.order, dtype=torch.float64)
        for of_term in (term for term, present in zip(of_token, mask, strict=True) if present):
            product = torch.ones(1, dtype=torch.float64)
            for row in of_term:
                product = torch.kron(product, weight[row])
            total = total + product
        made.append(total)
    return torch.stack(made), weight


def test_copies_are_in_proportion_to_use_and_add_up():
    usage = torch.tensor([100, 10, 1, 0])
    units = torch.repeat_interleave(torch.arange(4), usage)[:, None, None]
    mask = torch.ones(len(units), 1, dtype=torch.bool)
    for total in (4, 5, 23, 57, 111):
        of_unit = assign_copies(units, mask, total, num_units=4).copies_of_unit
        assert of_unit.sum() == total
        assert of_unit.min() == 1
    assert assign_copies(units, mask, 57, num_units=4).copies_of_unit.tolist() == [50, 5, 1, 1]


def test_every_slot_picks_a_copy_by_token_term_and_slot():
    table = assign_copies(UNITS, MASK, 40, seed=1, terms=6)
    assert table.mask.all()
    assert table.units.shape == (3, 6, 2)
    again = assign_copies(UNITS, MASK, 40, seed=1, terms=6)
    assert table.digest() == again.digest()
    assert table.digest() != assign_copies(UNITS, MASK, 40, seed=2, terms=6).digest()
    # The hash of a token does not depend on which others are there.
    last = hashed_copies(table.units[2:], table.copies_of_unit, 1, first_token=2)
    assert torch.equal(last[0], table.copies[2])
    # Pinned: another machine, and a later version, must give the same table.
    assert table.copies[0, [0, 4, 5]].tolist() == [[7, 2], [2, 3], [4, 3]]


def test_copies_are_spread_evenly():
    units = torch.zeros(2000, 4, 3, dtype=torch.long)
    table = assign_copies(units, torch.ones(2000, 4, dtype=torch.bool), 16)
    counts = torch.bincount(table.copies.flatten())
    assert counts.min() > 0.9 * 1500
    assert counts.max() < 1.1 * 1500


def test_terms_repeat_in_turn():
    units, mask = cycle_terms(UNITS, MASK, 5)
    assert units[0, :, 0].tolist() == [0, 2, 0, 2, 0]
    assert units[1, :, 1].tolist() == [3] * 5
    assert mask.all()
    assert not cycle_terms(UNITS, torch.zeros_like(MASK), 5)[1].any()


def test_all_copies_repeat_the_terms_once_for_each():
    table = assign_copies(UNITS, MASK, 14, how="all")
    assert table.copies_of_unit.tolist() == [3] * 4
    assert table.terms == 6
    assert table.copies[0, :, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert table.mask[1].tolist() == [True, False] * 3
    # Changing the order of copies in all units alike changes no row.
    made, _ = rows(table)
    permuted = table.__class__(
        table.units, torch.tensor([2, 0, 1])[table.copies.long()], table.mask, table.copies_of_unit, table.exact
    )
    weight = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = weight.view(4, 3, 4)[:, [1, 2, 0]].reshape(12, 4)
    assert torch.allclose(made, _rows_of(permuted, moved))


def _rows_of(table, weight):
    vectors = weight[table.rows.long()]
    products = torch.einsum("vri,vrj->vrij", vectors[:, :, 0], vectors[:, :, 1]).flatten(2)
    return (products * table.mask[..., None]).sum(1)


def test_equal_terms_and_copies_give_equal_rows_and_gradients_stay_with_a_tokens_units():
    table = assign_copies(UNITS, MASK, 12, how="all")
    made, weight = rows(table)
    assert torch.equal(made[0], made[2])
    (gradient,) = torch.autograd.grad(made[1].sum(), weight)
    touched = gradient.abs().sum(1).nonzero().flatten().tolist()
    assert touched == sorted({int(row) for row in table.rows[1][table.mask[1]].flatten()})


def test_private_units_of_order_one_are_an_embedding():
    table = private_units(5, order=1, terms=1)
    made, weight = rows(table)
    assert torch.equal(made, weight)


def test_private_units_are_word2ket():
    table = private_units(4, order=2, terms=3)
    made, weight = rows(table)
    vectors = weight.view(4, 2, 3, 4)  # token, slot, term, size
    assert torch.allclose(made, torch.einsum("vki,vkj->vij", vectors[:, 0], vectors[:, 1]).flatten(1))


def test_digit_units_are_a_sum_of_kronecker_products():
    table = digit_units(11, (2, 3, 2), terms=2)
    made, weight = rows(table, size=3)
    factors = [weight[start : start + 2 * radix].view(radix, 2, 3) for start, radix in ((0, 2), (4, 3), (10, 2))]
    whole = sum(
        torch.kron(torch.kron(factors[0][:, term], factors[1][:, term]), factors[2][:, term]) for term in range(2)
    )
    assert torch.allclose(made, whole[:11], atol=1e-12)
    # word2ketXS' own example: 30,000 x 256 of order 4 and rank 1 is four factors of 14 x 4.
    assert digit_units(30000, (14, 14, 14, 14), terms=1).num_rows * 4 == 224
    assert digit_units(30000, (14, 14, 14, 14), terms=2).num_rows * 4 == 448


def test_piece_units_are_morphte():
    table = piece_units([["un", "happi", "ness"], ["happi"], ["un", "happi", "ly", "ish"]], terms=2)
    made, weight = rows(table, size=2)
    names = ["un", "happi", "ness", "pad:2", "pad:3", "lyish"]
    vector = {name: weight[2 * number : 2 * number + 2] for number, name in enumerate(names)}
    for row, of_token in zip(
        made, (["un", "happi", "ness"], ["happi", "pad:2", "pad:3"], ["un", "happi", "lyish"]), strict=True
    ):
        a, b, c = (vector[name] for name in of_token)
        assert torch.allclose(row, sum(torch.kron(torch.kron(a[j], b[j]), c[j]) for j in range(2)))


def test_hashed_units_use_all_units_and_repeat():
    table = hashed_units(50, 30, order=3, terms=4, seed=5)
    assert table.units.unique().tolist() == list(range(30))
    assert table.num_rows == 30
    assert table.digest() == hashed_units(50, 30, order=3, terms=4, seed=5).digest()
    assert table.digest() != hashed_units(50, 30, order=3, terms=4, seed=6).digest()


def test_bad_sizes_are_refused():
    with pytest.raises(InputError, match=r"3 copies are too few for 4 units"):
        assign_copies(UNITS, MASK, 3)
    with pytest.raises(ConfigError, match="how is 'some', but it must be one of assigned, all"):
        assign_copies(UNITS, MASK, 9, how="some")
    with pytest.raises(ConfigError, match=r"radices is \(2, 3\).*7 or more"):
        digit_units(7, (2, 3), terms=1)
    with pytest.raises(ConfigError, match="order is 0"):
        private_units(3, order=0, terms=1)
    with pytest.raises(ConfigError, match="terms is 0"):
        piece_units([["a"]], terms=0)
    with pytest.raises(DataError, match="token 1 has no pieces"):
        piece_units([["a"], []], terms=1)
    with pytest.raises(InputError, match="99 units for 8 slots"):
        hashed_units(2, 99, order=2, terms=2)
