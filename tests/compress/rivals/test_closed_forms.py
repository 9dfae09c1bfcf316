"""Low rank, Kronecker products and tensor trains: their errors are what theory says, their logits those of the rows."""

import pytest
import torch

from intarsia.compress.ratio import UnreachableRatioError
from intarsia.compress.registry import embedding_settings, empty_embedding
from intarsia.compress.rivals import KroneckerEmbedding, SVDEmbedding, TTEmbedding
from intarsia.compress.rivals.tensor_train import tt_svd
from intarsia.errors import ConfigError, ModelError

FORMS = [SVDEmbedding, KroneckerEmbedding, TTEmbedding]


def random_matrix(vocab=60, dim=24, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(vocab, dim, generator=generator) + 2 * torch.randn(dim, generator=generator)).to(dtype)


@pytest.mark.parametrize("ratio", [2.0, 4.0])
def test_low_rank_error_is_the_sum_of_discarded_squares(ratio):
    matrix = random_matrix()
    made = SVDEmbedding.from_matrix(matrix, ratio=ratio)
    assert made.rank == int((60 * 24 / ratio - 24) / 84)
    values = torch.linalg.svdvals((matrix - matrix.mean(0)).double())
    error = (made.to_dense() - matrix).double().square().sum()
    assert float(error) == pytest.approx(float(values[made.rank :].square().sum()), rel=1e-4)


def test_kronecker_error_is_that_of_the_rearranged_matrix():
    matrix = random_matrix()
    made = KroneckerEmbedding.from_matrix(matrix, ratio=3.0)
    assert made.row_factors == (6, 10)
    assert made.column_factors == (4, 6)
    rearranged = (matrix - matrix.mean(0)).reshape(6, 10, 4, 6).transpose(1, 2).reshape(24, 60)
    values = torch.linalg.svdvals(rearranged.double())
    error = (made.to_dense() - matrix).double().square().sum()
    assert float(error) == pytest.approx(float(values[made.rank :].square().sum()), rel=1e-4)


def test_kronecker_rows_are_those_of_kronecker_products():
    made = KroneckerEmbedding(14, 6, 3, (4, 4), (2, 3))
    products = sum(torch.kron(made.first[:, :, j], made.second[:, j, :]) for j in range(3))
    with torch.no_grad():
        made.mean.copy_(torch.arange(6.0))
    assert torch.allclose(made.to_dense(), products[:14, :6] + torch.arange(6.0), atol=1e-6)
    assert torch.allclose(made.rows(torch.tensor([13, 5])), made.to_dense()[[13, 5]], atol=1e-6)


def test_no_fit_of_kronecker_products_beats_the_closed_form():
    matrix = random_matrix(36, 16, seed=3)
    best = KroneckerEmbedding.from_matrix(matrix, ratio=4.0)
    optimum = float((best.to_dense() - matrix).norm())
    torch.manual_seed(0)
    found = KroneckerEmbedding(36, 16, best.rank, best.row_factors, best.column_factors)
    found.mean = best.mean.requires_grad_(False)
    factors = [found.first, found.second]
    optimizer = torch.optim.LBFGS(factors, max_iter=400, line_search_fn="strong_wolfe")

    def squared_error():
        optimizer.zero_grad()
        loss = (found(torch.arange(36)) - matrix).square().sum()
        loss.backward()
        return loss

    optimizer.step(squared_error)
    reached = float((found.to_dense() - matrix).norm())
    assert optimum - 1e-4 <= reached <= 1.001 * optimum


def test_tensor_train_error_is_at_most_what_was_discarded():
    matrix = random_matrix(64, 27, seed=4, dtype=torch.float64)
    for rank in (1, 3, 6, 100):
        cores = tt_svd(matrix, rank, (4, 4, 4), (3, 3, 3))
        joined = torch.einsum("aip,pbjq,qck->abcijk", cores.first, cores.second, cores.third)
        error = float((joined.reshape(64, 27) - matrix).square().sum())
        assert error <= cores.discarded + 1e-9
        assert error >= cores.discarded / 2 - 1e-9
    assert error == pytest.approx(0, abs=1e-12)


def test_tensor_train_of_a_matrix_of_low_rank_is_finite():
    rank_one = torch.outer(torch.arange(64.0), torch.arange(27.0))
    cores = tt_svd(rank_one, 8, (4, 4, 4), (3, 3, 3))
    assert all(torch.isfinite(core).all() for core in cores[:3])


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_those_of_the_whole_matrix(form):
    # Neither 61 nor 23 has factors, so both are filled up.
    matrix = random_matrix(61, 23)
    made = form.from_matrix(matrix, ratio=2.0)
    ids = torch.tensor([[60, 0, 7], [7, 33, 0]])
    assert torch.allclose(made(ids), made.to_dense()[ids], atol=1e-5)
    assert made(ids).shape == (2, 3, 23)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("padding", [None, 5])
def test_logits_are_products_with_the_rows(form, padding):
    made = form.from_matrix(random_matrix(), ratio=2.0, padding_idx=padding)
    hidden = torch.randn(2, 3, 24, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(made.logits(hidden), hidden @ made.to_dense().T, atol=1e-4)
    if padding is not None:
        assert not made.to_dense()[padding].any()
        assert not made(torch.tensor([padding])).any()
    hidden.requires_grad_()
    made.logits(hidden).sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ratio", [1.7, 3.0, 5.5])
def test_parameters_are_those_reported_and_within_the_budget(form, ratio):
    made = form.from_matrix(random_matrix(120, 30), ratio=ratio)
    count = sum(parameter.numel() for parameter in made.parameters())
    assert made.parameter_count() == count <= 120 * 30 / ratio
    assert made.stored_bytes().weights == 4 * count


@pytest.mark.parametrize("form", FORMS)
def test_settings_make_an_empty_one_of_the_same_shape(form):
    made = form.from_matrix(random_matrix(), ratio=2.0, padding_idx=3)
    empty = empty_embedding(embedding_settings(made))
    empty.load_state_dict(made.state_dict())
    assert torch.equal(empty.to_dense(), made.to_dense())


@pytest.mark.parametrize("form", FORMS)
def test_untrained_rows_have_entries_of_the_usual_size(form):
    torch.manual_seed(0)
    shape = {"rank": 20} if form is SVDEmbedding else {"rank": 8}
    if form is KroneckerEmbedding:
        shape |= {"row_factors": (16, 25), "column_factors": (8, 8)}
    elif form is TTEmbedding:
        shape |= {"row_factors": (8, 8, 8), "column_factors": (4, 4, 4)}
    made = form(400, 64, **shape)
    assert float(made.to_dense().detach().std()) == pytest.approx(64**-0.5, rel=0.5)


@pytest.mark.parametrize("form", FORMS)
def test_bad_matrices_and_ratios(form):
    with pytest.raises(UnreachableRatioError, match=r"leaves less than rank 1[^§]*at most \d"):
        form.from_matrix(random_matrix(), ratio=1e6)
    with pytest.raises(ConfigError, match="above 1"):
        form.from_matrix(random_matrix(), ratio=1.0)
    matrix = random_matrix()
    matrix[0, 0] = float("inf")
    with pytest.raises(ModelError, match="NaN or infinite"):
        form.from_matrix(matrix, ratio=2.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SVDEmbedding(10, 4, 5), "rank is 5, but it must be between 1 and 4"),
        (lambda: KroneckerEmbedding(10, 4, 0, (4, 3), (2, 2)), "rank is 0"),
        (lambda: KroneckerEmbedding(10, 4, 1, (3, 3), (2, 2)), "row_factors is .* 10 or more"),
        (lambda: KroneckerEmbedding(10, 5, 1, (4, 3), (2, 2)), "column_factors is .* 5 or more"),
        (lambda: TTEmbedding(10, 4, 0, (2, 2, 3), (2, 2, 1)), "rank is 0"),
        (lambda: TTEmbedding(13, 4, 1, (2, 2, 3), (2, 2, 1)), "row_factors is .* 13 or more"),
        (lambda: TTEmbedding(10, 5, 1, (2, 2, 3), (2, 2, 1)), "column_factors is .* 5 or more"),
    ],
)
def test_shapes_that_do_not_cover_the_matrix(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
