"""Fits of a matrix: they lower the error, follow their weights and seed, and refuse what cannot be fitted."""

from typing import Any

import pytest
import torch
from torch import Tensor

from intarsia.compress import FitConfig, SEEConfig, SEEEmbedding, TermTable, fit_matrix
from intarsia.compress.rivals import SVDEmbedding
from intarsia.compress.units import hashed_units
from intarsia.errors import ConfigError, DataError, IntarsiaError, ModelError, UnknownNameError

VOCAB, DIM = 60, 24


def matrix_of(seed: int = 0) -> Tensor:
    return torch.randn(VOCAB, DIM, generator=torch.Generator().manual_seed(seed)) + 1


def embedding_of(matrix: Tensor, **settings: Any) -> SEEEmbedding:
    table = hashed_units(VOCAB, 90, order=3, terms=6)
    return SEEEmbedding.from_matrix(matrix, table, SEEConfig(**settings))


FIT = FitConfig(steps=60, batch_size=32)


def test_a_fit_comes_near_and_says_how_near() -> None:
    matrix = matrix_of()
    embedding = embedding_of(matrix)
    done: list[int] = []
    report = fit_matrix(embedding, matrix, FIT, progress=done.append)
    assert done == [1] * 60
    assert len(report.losses) == 60
    assert sum(report.losses[-5:]) < 0.7 * sum(report.losses[:5])
    difference = (embedding.to_dense() - matrix).norm()
    assert report.relative_error == pytest.approx(float(difference / matrix.norm()))
    assert report.centred_error == pytest.approx(float(difference / (matrix - matrix.mean(0)).norm()))
    assert report.relative_error < report.centred_error < 0.97


def test_rows_of_the_layers_own_kind_are_found_again() -> None:
    made = SEEEmbedding.from_table(hashed_units(VOCAB, 30, order=2, terms=1), 16, SEEConfig(mean=False, seed=3))
    matrix = made.to_dense()
    embedding = SEEEmbedding.from_matrix(matrix, hashed_units(VOCAB, 30, order=2, terms=1), SEEConfig(mean=False))
    assert fit_matrix(embedding, matrix, FitConfig(steps=400, batch_size=60)).relative_error < 0.15


def test_the_seed_alone_decides() -> None:
    matrix = matrix_of()
    fits = []
    for seed in (0, 0, 1):
        embedding = embedding_of(matrix)
        torch.rand(seed + 3)  # Whatever else was drawn plays no part.
        fit_matrix(embedding, matrix, FitConfig(steps=5, batch_size=16, seed=seed))
        fits.append(embedding.to_dense())
    assert torch.equal(fits[0], fits[1])
    assert not torch.equal(fits[0], fits[2])


def test_frequent_tokens_come_nearer_if_weighted() -> None:
    matrix = matrix_of()
    counts = torch.ones(VOCAB)
    counts[:10] = 10_000
    errors = {}
    for weighting in ("uniform", "sqrt"):
        embedding = embedding_of(matrix)
        fit_matrix(embedding, matrix, FitConfig(steps=60, batch_size=60, weighting=weighting), counts=counts)
        errors[weighting] = float((embedding.to_dense() - matrix)[:10].norm())
    assert errors["sqrt"] < 0.75 * errors["uniform"]


def test_a_hybrid_ends_below_the_svd_it_starts_from() -> None:
    matrix = matrix_of()
    embedding = embedding_of(matrix, lowrank=3)
    values = torch.linalg.svdvals(matrix - matrix.mean(0)).square()
    svd = float((values[3:].sum() / values.sum()).sqrt())
    assert fit_matrix(embedding, matrix, FIT).centred_error < svd


@pytest.mark.parametrize("steps", [1, 10, 11])
def test_any_number_of_steps(steps: int) -> None:
    matrix = matrix_of()
    before = embedding_of(matrix)
    after = embedding_of(matrix)
    fit_matrix(after, matrix, FitConfig(steps=steps, batch_size=16))
    assert not torch.equal(before.to_dense(), after.to_dense())


def test_what_is_frozen_stays() -> None:
    matrix = matrix_of()
    embedding = embedding_of(matrix)
    embedding.mean.requires_grad_(False)  # type: ignore[union-attr]
    before = embedding.mean.clone()  # type: ignore[union-attr]
    fit_matrix(embedding, matrix, FitConfig(steps=3))
    assert torch.equal(embedding.mean, before)  # type: ignore[arg-type]
    embedding.requires_grad_(False)
    with pytest.raises(ModelError, match="SEEEmbedding has no weights that are trained"):
        fit_matrix(embedding, matrix)


def test_vectors_that_no_token_uses_do_not_decay() -> None:
    # A decay of the vectors would be one of the products to the power of the order.
    matrix = matrix_of()
    table = hashed_units(VOCAB, 90, order=3, terms=6)
    idle = TermTable(
        table.units, table.copies, table.mask, torch.cat([table.copies_of_unit, torch.tensor([4])]), table.exact
    )
    embedding = SEEEmbedding.from_matrix(matrix, idle)
    before = embedding.weight.detach().clone()
    fit_matrix(embedding, matrix, FIT)
    assert torch.equal(embedding.weight[90:], before[90:])
    assert not torch.equal(embedding.weight[:90], before[:90])


def test_exact_rows_stay_exact_and_padding_counts_for_nothing() -> None:
    matrix = matrix_of()
    table = hashed_units(VOCAB, 90, order=3, terms=6)
    mask = table.mask.clone()
    mask[5] = False
    table = type(table)(table.units, table.copies, mask, table.copies_of_unit, torch.tensor([5]))
    embedding = SEEEmbedding.from_matrix(matrix, table, padding_idx=8)
    report = fit_matrix(embedding, matrix, FIT)
    dense = embedding.to_dense()
    assert torch.equal(dense[5], matrix[5])
    assert not dense[8].any()
    difference = dense - matrix
    difference[8] = 0
    assert report.relative_error == pytest.approx(float(difference.norm() / matrix.norm()))


def test_other_embeddings_can_be_fitted_too() -> None:
    matrix = matrix_of()
    rival = SVDEmbedding(VOCAB, DIM, 3)
    losses = fit_matrix(rival, matrix, FIT).losses
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_a_fit_that_diverges_is_stopped() -> None:
    matrix = matrix_of()
    with pytest.raises(IntarsiaError, match=r"not a number any more.*\n.*lower the learning rate"):
        fit_matrix(embedding_of(matrix), matrix, FitConfig(steps=30, batch_size=16, learning_rate=1e12))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"warmup": 1.0}, "warmup is 1"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FitConfig(**settings)


def test_wrong_input_is_named() -> None:
    matrix = matrix_of()
    embedding = embedding_of(matrix)
    with pytest.raises(ModelError, match=r"the matrix is 59 x 24, but the embedding 60 x 24"):
        fit_matrix(embedding, matrix[1:])
    with pytest.raises(UnknownNameError, match=r"unknown weighting 'root'"):
        FitConfig(weighting="root")  # type: ignore[arg-type]
    weighted = FitConfig(weighting="sqrt")
    for counts, message in (
        (None, "the counts of tokens are missing"),
        (torch.ones(59), "of 59 tokens"),
        (-torch.ones(60), "negative"),
        (torch.zeros(60), "all zero"),
    ):
        with pytest.raises(DataError, match=message):
            fit_matrix(embedding, matrix, weighted, counts=counts)
    matrix[0, 0] = float("inf")
    with pytest.raises(ModelError, match="1 of 1440 weights of the embedding matrix are NaN or infinite"):
        fit_matrix(embedding, matrix)
