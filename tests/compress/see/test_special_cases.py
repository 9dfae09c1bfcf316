"""Embeddings that the layer contains: a plain one, word2ket, word2ketXS, MorphTE, each by its own formula."""

from functools import reduce

import pytest
import torch
from torch import Tensor, nn

from intarsia.compress import SEEConfig, SEEEmbedding, TermTable
from intarsia.compress.units import digit_units, piece_units, private_units

BARE = SEEConfig(mean=False)


def vectors(embedding: SEEEmbedding, rows: Tensor, slot: int) -> Tensor:
    return embedding.weight.detach()[rows.long(), : embedding.slot_sizes[slot]]


def test_one_private_unit_of_order_one_is_a_plain_embedding() -> None:
    table = private_units(7, order=1, terms=1)
    embedding = SEEEmbedding.from_table(table, 5, BARE, padding_idx=2)
    plain = nn.Embedding(7, 5, padding_idx=2)
    with torch.no_grad():
        plain.weight.copy_(embedding.to_dense())
    ids = torch.tensor([[6, 0, 2], [0, 0, 5]])
    assert torch.equal(embedding(ids), plain(ids))
    upstream = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    embedding(ids).backward(upstream)
    plain(ids).backward(upstream)
    assert plain.weight.grad is not None
    assert torch.equal(embedding.weight.grad, plain.weight.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("order", "dim"), [(2, 12), (3, 24), (4, 36)])
def test_private_units_are_word2ket(order: int, dim: int) -> None:
    vocab, rank = 6, 3
    table = private_units(vocab, order=order, terms=rank)
    embedding = SEEEmbedding.from_table(table, dim, BARE)
    expected = torch.zeros(vocab, dim)
    for token in range(vocab):
        for term in range(rank):
            factors = [vectors(embedding, table.rows[token, term, slot], slot) for slot in range(order)]
            expected[token] += reduce(torch.kron, factors)
    torch.testing.assert_close(embedding.to_dense(), expected, rtol=0, atol=1e-6)
    assert embedding.parameter_count() == vocab * rank * order * max(embedding.slot_sizes)


@pytest.mark.parametrize(
    ("vocab", "radices", "sizes"), [(50, (7, 8), (3, 5)), (50, (3, 4, 5), (2, 3, 4)), (81, (3, 3, 3, 3), (2, 2, 2, 2))]
)
def test_digits_are_word2ketxs(vocab: int, radices: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    rank, dim = 3, 15
    table = digit_units(vocab, radices, terms=rank)
    embedding = SEEEmbedding.from_table(table, dim, SEEConfig(mean=False, slot_sizes=sizes))
    total = torch.zeros(())
    for term in range(rank):
        factors, first = [], 0
        for slot, radix in enumerate(radices):
            # The units of a slot follow each other, each with its copies.
            rows = (first + torch.arange(radix)) * rank + term
            factors.append(vectors(embedding, rows, slot))
            first += radix
        total = total + reduce(torch.kron, factors)
    torch.testing.assert_close(embedding.to_dense(), total[:vocab, :dim], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 2])
def test_word2ketxs_has_the_parameters_it_claims(rank: int) -> None:
    # The paper's example: 30,000 tokens of 256 numbers, order 4, four factors of 14 x 4.
    table = digit_units(30_000, (14, 14, 14, 14), terms=rank)
    assert SEEEmbedding.from_table(table, 256, BARE).parameter_count() == rank * 224


PIECES = [["un", "do", "ing"], ["do"], ["do", "ing"], ["un", "do", "er", "s"]]


def test_pieces_and_a_final_normalisation_are_morphte() -> None:
    rank, order = 3, 3
    table = piece_units(PIECES, order=order, terms=rank)
    embedding = SEEEmbedding.from_table(table, 20, SEEConfig(mean=False, layernorm=True))
    embedding.norm.weight.data.uniform_(0.5, 2)  # type: ignore[union-attr]
    q = embedding.slot_sizes[-1]
    copies = [embedding.weight.detach()[torch.arange(table.num_units) * rank + copy] for copy in range(rank)]
    units = table.units[:, 0].long()
    expected = torch.zeros(len(PIECES), q**order)
    for j in range(rank):
        left, middle, right = (copies[j][units[:, slot]] for slot in range(order))
        expected += torch.einsum("wa,wb,wc->wabc", left, middle, right).flatten(1)
    expected = expected.reshape(-1, q, q, q)[:, : embedding.slot_sizes[0], : embedding.slot_sizes[1]]
    expected = embedding.norm(expected.flatten(1)[:, :20])  # type: ignore[misc]
    torch.testing.assert_close(embedding.to_dense(), expected.detach(), rtol=0, atol=1e-5)


def test_renumbering_morphtes_copies_changes_nothing() -> None:
    table = piece_units(PIECES, order=3, terms=3)
    embedding = SEEEmbedding.from_table(table, 27, SEEConfig(mean=False, layernorm=True))
    other = torch.tensor([2, 0, 1])[table.copies.long()]
    renumbered = TermTable(table.units, other, table.mask, table.copies_of_unit, table.exact)
    again = SEEEmbedding.from_table(renumbered, 27, SEEConfig(mean=False, layernorm=True))
    assert torch.equal(again.weight, embedding.weight)
    torch.testing.assert_close(again.to_dense(), embedding.to_dense(), rtol=0, atol=1e-5)
