"""The layer: its parts, its gradient, padding, exact rows, growing, saving."""

import copy

import pytest
import torch
from torch import Tensor, nn

from intarsia.compress import SEEConfig, SEEEmbedding, TermTable
from intarsia.compress.rivals.factorisation import truncated_svd
from intarsia.compress.see.config import factorise
from intarsia.compress.units import private_units
from intarsia.errors import ConfigError, InputError, ModelError, UnknownNameError

VOCAB, UNITS, DIM = 23, 9, 24


def table_of(
    vocab: int = VOCAB,
    *,
    units: int = UNITS,
    terms: int = 5,
    order: int = 3,
    exact: tuple[int, ...] = (),
    seed: int = 0,
) -> TermTable:
    """Random units, two copies each, 1 to `terms` terms; tokens of a smaller vocabulary have the same ones."""
    generator = torch.Generator().manual_seed(seed)
    numbers, copies, counts = [], [], []
    for _ in range(vocab):
        numbers.append(torch.randint(UNITS, (terms, order), generator=generator))
        copies.append(torch.randint(2, (terms, order), generator=generator))
        counts.append(int(torch.randint(1, terms + 1, (1,), generator=generator)))
    mask = torch.arange(terms)[None] < torch.tensor(counts)[:, None]
    mask[list(exact)] = False
    of_unit = torch.full((units,), 2)
    return TermTable(torch.stack(numbers), torch.stack(copies), mask, of_unit, torch.tensor(exact, dtype=torch.long))


def embedding_of(table: TermTable | None = None, dim: int = DIM, **settings: object) -> SEEEmbedding:
    padding = settings.pop("padding_idx", None)
    made = SEEEmbedding.from_table(
        table or table_of(),
        dim,
        SEEConfig(**settings),  # type: ignore[arg-type]
        padding_idx=padding,  # type: ignore[arg-type]
    )
    with torch.no_grad():
        for number, parameter in enumerate(made.parameters()):
            # Everything has a part in the result.
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * 0.3)
    return made


def rows_of(embedding: SEEEmbedding, table: TermTable) -> Tensor:
    """The rows, token by token."""
    rows = []
    for token in range(table.num_embeddings):
        row = torch.zeros(embedding.embedding_dim)
        for term in table.mask[token].nonzero()[:, 0].tolist():
            product = torch.ones(1)
            for slot, size in enumerate(embedding.slot_sizes):
                vector = embedding.weight[int(table.rows[token, term, slot]), :size]
                product = torch.outer(product, vector).flatten()
            row = row + product[: embedding.embedding_dim]
        if embedding.scale is not None:
            row = row * embedding.scale[token]
        if embedding.token_factors is not None and embedding.shared_factors is not None:
            row = row + embedding.token_factors[token] @ embedding.shared_factors
        if embedding.mean is not None:
            row = row + embedding.mean
        if embedding.norm is not None:
            row = nn.functional.layer_norm(row, row.shape, embedding.norm.weight, embedding.norm.bias)
        place = sorted(table.exact.tolist()).index(token) if token in table.exact.tolist() else None
        if place is not None and embedding.exact is not None:
            row = embedding.exact[place]
        rows.append(row if token != embedding.padding_idx else torch.zeros_like(row))
    return torch.stack(rows)


@pytest.mark.parametrize(
    "settings",
    [
        {"mean": False},
        {},
        {"token_scale": True},
        {"lowrank": 3},
        {"layernorm": True, "mean": False},
        {"token_scale": True, "lowrank": 2, "layernorm": True, "padding_idx": 4},
        {"slot_sizes": (2, 4, 5)},
    ],
)
@pytest.mark.parametrize("exact", [(), (7, 2)])
def test_rows_are_the_formula(settings: dict[str, object], exact: tuple[int, ...]) -> None:
    table = table_of(exact=exact)
    embedding = embedding_of(table, **settings)
    expected = rows_of(embedding, table)
    ids = torch.tensor([[3, 4, 3], [2, 7, 22]])
    torch.testing.assert_close(embedding(ids), expected[ids], rtol=0, atol=1e-5)
    torch.testing.assert_close(embedding.to_dense(), expected, rtol=0, atol=1e-5)
    upstream = torch.randn(2, 3, DIM, generator=torch.Generator().manual_seed(9))
    parameters = list(embedding.parameters())
    ours = torch.autograd.grad(embedding(ids), parameters, upstream, allow_unused=True, materialize_grads=True)
    plain = torch.autograd.grad(expected[ids], parameters, upstream, allow_unused=True, materialize_grads=True)
    for (name, _), gradient, other in zip(embedding.named_parameters(), ours, plain, strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_a_length_without_like_factors_is_cut() -> None:
    table = table_of()
    embedding = embedding_of(table, 23)
    assert embedding.slot_sizes == (3, 3, 3)
    torch.testing.assert_close(embedding.to_dense(), rows_of(embedding, table), rtol=0, atol=1e-5)


def test_a_batch_computes_each_token_once(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = embedding_of()
    asked: list[Tensor] = []
    rows = embedding.rows
    monkeypatch.setattr(embedding, "rows", lambda ids: asked.append(ids) or rows(ids))
    embedding(torch.tensor([[5, 5, 1], [1, 5, 0]]))
    assert asked[0].tolist() == [0, 1, 5]


def test_padding_is_zero_and_teaches_nothing() -> None:
    embedding = embedding_of(padding_idx=-1)
    assert embedding.padding_idx == VOCAB - 1
    out = embedding(torch.tensor([VOCAB - 1, VOCAB - 1]))
    assert not out.any()
    out.sum().backward()
    assert not any(parameter.grad.any() for parameter in embedding.parameters() if parameter.grad is not None)


def test_the_gradient_of_a_token_touches_only_its_own_units() -> None:
    table = table_of()
    embedding = embedding_of(table)
    embedding(torch.tensor([6])).sum().backward()
    touched = embedding.weight.grad.abs().sum(1).nonzero()[:, 0].tolist()  # type: ignore[union-attr]
    assert touched == sorted(set(table.rows[6][table.mask[6]].flatten().tolist()))


def test_equal_terms_give_equal_rows_in_any_order() -> None:
    base = table_of(6)
    units, copies, mask = base.units.clone(), base.copies.clone(), base.mask.clone()
    mask[:2] = True
    units[1], copies[1] = units[0].flip(0), copies[0].flip(0)
    embedding = embedding_of(TermTable(units, copies, mask, base.copies_of_unit, base.exact))
    dense = embedding.to_dense()
    torch.testing.assert_close(dense[0], dense[1], rtol=0, atol=1e-6)
    assert not torch.allclose(dense[0], dense[2])


def test_products_scale_with_the_vectors_of_one_slot() -> None:
    # A unit for each slot, so that those of the first can be scaled alone.
    table = private_units(5, order=3, terms=2)
    embedding = embedding_of(table)
    before = embedding.products(torch.arange(5)).detach()
    first = table.rows[:, :, 0].unique().long()
    with torch.no_grad():
        embedding.weight[first] *= -2.5
    torch.testing.assert_close(embedding.products(torch.arange(5)), -2.5 * before)


def test_inner_products_of_single_terms_are_products_of_inner_products() -> None:
    table = private_units(2, order=3, terms=1)
    embedding = embedding_of(table, mean=False)
    first, second = embedding.to_dense()
    vectors = [embedding.weight[table.rows[token, 0].long()] for token in (0, 1)]
    expected = torch.ones(())
    for slot, size in enumerate(embedding.slot_sizes):
        expected = expected * (vectors[0][slot, :size] @ vectors[1][slot, :size])
    torch.testing.assert_close(first @ second, expected)


def test_first_values_have_the_deviation_asked_for() -> None:
    table = table_of(400, units=200)
    units = torch.randint(200, table.units.shape, generator=torch.Generator().manual_seed(0))
    table = TermTable(units, table.copies, torch.ones_like(table.mask), table.copies_of_unit, table.exact)
    dense = SEEEmbedding.from_table(table, 64, deviation=0.02).to_dense()
    assert float(dense.std()) == pytest.approx(0.02, rel=0.15)
    again = SEEEmbedding.from_table(table, 64, deviation=0.02)
    assert torch.equal(dense, again.to_dense())
    assert not torch.equal(dense, SEEEmbedding.from_table(table, 64, SEEConfig(seed=1), deviation=0.02).to_dense())


def test_from_a_matrix_come_mean_exact_rows_and_the_low_rank_part() -> None:
    matrix = torch.randn(VOCAB, DIM, generator=torch.Generator().manual_seed(0)) + 2
    table = table_of(exact=(9, 1))
    embedding = SEEEmbedding.from_matrix(matrix, table, SEEConfig(lowrank=4))
    torch.testing.assert_close(embedding.to_dense()[[1, 9]], matrix[[1, 9]])
    with torch.no_grad():
        embedding.weight.zero_()
    ordinary = [token for token in range(VOCAB) if token not in (1, 9)]
    rest = matrix[ordinary]
    svd = truncated_svd(rest - rest.mean(0), 4)
    torch.testing.assert_close(embedding.to_dense()[ordinary], svd.left @ svd.right + rest.mean(0), rtol=0, atol=1e-4)


def test_a_hybrid_without_products_is_the_svd() -> None:
    matrix = torch.randn(VOCAB, DIM, generator=torch.Generator().manual_seed(3))
    embedding = SEEEmbedding.from_matrix(matrix, table_of(), SEEConfig(lowrank=5))
    with torch.no_grad():
        embedding.weight.zero_()
    centred = matrix - matrix.mean(0)
    discarded = torch.linalg.svdvals(centred.double())[5:].square().sum()
    error = (embedding.to_dense() - matrix).double().square().sum()
    torch.testing.assert_close(error, discarded, rtol=1e-5, atol=0)


def test_parameters_and_bytes_are_counted() -> None:
    embedding = embedding_of(table_of(exact=(3, 5)), lowrank=2, token_scale=True)
    assert embedding.parameter_count() == 18 * 4 + DIM + VOCAB + 2 * (VOCAB + DIM) + 2 * DIM
    stored = embedding.stored_bytes()
    assert stored.weights == 4 * embedding.parameter_count()
    assert stored.with_table == sum(value.numel() * value.element_size() for value in embedding.state_dict().values())


def test_half_precision_leaves_the_products_as_they_are() -> None:
    embedding = embedding_of()
    before = embedding.to_dense()
    model = nn.Sequential(embedding, nn.Linear(DIM, 2)).to(torch.bfloat16)
    assert model[1].weight.dtype == torch.bfloat16
    assert torch.equal(embedding.to_dense(), before)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(embedding(torch.arange(VOCAB)), before)
    embedding.double()
    assert embedding.weight.dtype == torch.float64


def test_state_dict_and_settings_make_it_again() -> None:
    embedding = embedding_of(table_of(exact=(3,)), lowrank=2, padding_idx=0)
    made = SEEEmbedding(**embedding.settings)
    made.load_state_dict(embedding.state_dict())
    assert torch.equal(made.to_dense(), embedding.to_dense())


def test_a_table_that_is_not_stored_is_given_again() -> None:
    table = table_of(exact=(3,))
    embedding = SEEEmbedding.from_table(table, DIM, store_table=False)
    assert not {"index", "active", "exact_ids"} & set(embedding.state_dict())
    with torch.device("meta"):
        made = SEEEmbedding(**embedding.settings)
    made.load_state_dict(embedding.state_dict(), assign=True)
    made.set_table(table)
    assert torch.equal(made.to_dense(), embedding.to_dense())
    with pytest.raises(ModelError, match="the table has 22 tokens, but the embedding 23"):
        made.set_table(table_of(22, exact=(3,)))


def test_growing_keeps_what_was_learnt() -> None:
    embedding = embedding_of(table_of(exact=(3,)), lowrank=2, token_scale=True, layernorm=True, padding_idx=2)
    embedding.mean.requires_grad_(False)  # type: ignore[union-attr]
    larger = table_of(VOCAB + 4, units=UNITS + 2, exact=(3, VOCAB + 1))
    grown = embedding.eval().resize(larger)
    assert grown.num_embeddings == VOCAB + 4
    torch.testing.assert_close(grown.to_dense()[:VOCAB], embedding.to_dense())
    assert grown.to_dense()[VOCAB:].isfinite().all()
    assert (grown.training, grown.mean.requires_grad) == (False, False)  # type: ignore[union-attr]
    shrunk = grown.resize(table_of(10, exact=(3,)))
    torch.testing.assert_close(shrunk.to_dense(), embedding.to_dense()[:10])


def test_a_new_token_of_old_units_has_the_row_they_make() -> None:
    table = table_of()
    embedding = embedding_of(table)
    parts = [torch.cat([part, part[5:6]]) for part in (table.units, table.copies, table.mask)]
    grown = embedding.resize(TermTable(*parts, table.copies_of_unit, table.exact))
    torch.testing.assert_close(grown(torch.tensor(VOCAB)), embedding(torch.tensor(5)))


def test_growing_refuses_other_terms() -> None:
    table = table_of(VOCAB + 1)
    copies = table.copies.clone()
    copies[11, 0, 0] = 1 - copies[11, 0, 0]
    changed = TermTable(table.units, copies, table.mask, table.copies_of_unit, table.exact)
    with pytest.raises(InputError, match=r"token 11 has other terms than before[^§]*behind the old ones"):
        embedding_of().resize(changed)


def test_copies_are_independent() -> None:
    embedding = embedding_of()
    other = copy.deepcopy(embedding)
    with torch.no_grad():
        other.weight.zero_()
    assert embedding.to_dense().std() > other.to_dense().std()


@pytest.mark.parametrize("ids", [[VOCAB], [-1, 0]])
def test_ids_out_of_range_are_named(ids: list[int]) -> None:
    with pytest.raises(InputError, match=f"token id ({VOCAB}|-1) is out of range[^§]*{VOCAB} tokens"):
        embedding_of()(torch.tensor(ids))


def test_no_ids_are_no_rows() -> None:
    assert embedding_of()(torch.zeros(2, 0, dtype=torch.long)).shape == (2, 0, DIM)


@pytest.mark.parametrize(
    ("dim", "order", "expected"),
    [
        (576, 3, (8, 8, 9)),
        (384, 3, (6, 8, 8)),
        (768, 3, (8, 8, 12)),
        (4096, 3, (16, 16, 16)),
        (576, 1, (576,)),
        (7, 3, (2, 2, 2)),
        (769, 3, (8, 10, 10)),
        (1, 2, (1, 1)),
    ],
)
def test_factorisations(dim: int, order: int, expected: tuple[int, ...]) -> None:
    assert factorise(dim, order) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slot_sizes": (2, 3, 3)}, r"slot_sizes is \[2, 3, 3\].*24 or more"),
        ({"slot_sizes": (4, 6)}, r"slot_sizes is \[4, 6\].*3 numbers"),
        ({"slot_sizes": (4, 6, 0)}, r"slot_sizes is \[4, 6, 0\].*1 or more"),
        ({"lowrank": -1}, "lowrank is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        embedding_of(**settings)


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(ConfigError, match="embedding_dim is 0"):
        SEEEmbedding.from_table(table_of(), 0)
    with pytest.raises(ConfigError, match="order is 0"):
        factorise(8, 0)
    with pytest.raises(ConfigError, match="padding_idx is 23"):
        embedding_of(padding_idx=23)
    with pytest.raises(UnknownNameError, match=r"unknown setting of SEE 'lowrnk'.*\n.*lowrank"):
        SEEConfig.from_dict({"lowrnk": 1})


def test_wrong_matrices_are_named() -> None:
    matrix = torch.zeros(VOCAB, DIM)
    with pytest.raises(ModelError, match=r"the matrix has 22 rows.*23 tokens"):
        SEEEmbedding.from_matrix(matrix[1:], table_of())
    matrix[3, 4] = float("nan")
    with pytest.raises(ModelError, match="1 of 552 weights of the embedding matrix are NaN"):
        SEEEmbedding.from_matrix(matrix, table_of())
