"""Compiled sums of products against tensor operations in float64."""

import pytest
import torch
from torch import Tensor

from intarsia import compiled
from intarsia.compress.see import kernels
from intarsia.compress.see.contraction import sum_of_products
from intarsia.errors import ModelError

SIZES = [(5,), (3, 4), (2, 3, 4), (8, 8, 9), (2, 2, 3, 2), (2, 2, 2, 2, 3)]
TOKENS, TERMS, ROWS = 13, 6, 9
COUNTS = [[TERMS] * TOKENS, [6, 0, 1, 3, 2, 4, 0, 1, 1, 2, 6, 5, 1], [0] * TOKENS]


def case(sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(ROWS, (TOKENS, len(sizes), TERMS), generator=generator, dtype=torch.int32)
    # One number more than any slot uses.
    return torch.randn(ROWS, max(sizes) + 1, generator=generator), index


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("threads", [1, 3])
def test_sums_and_gradients(
    sizes: tuple[int, ...], counts: list[int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    weight, index = case(sizes)
    active = torch.tensor(counts)
    exact = weight.double().requires_grad_()
    expected = sum_of_products(exact, index, active, sizes)
    torch.testing.assert_close(kernels.sums(weight, index, active, sizes).double(), expected, rtol=1e-5, atol=1e-5)
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(expected, exact, upstream.double())
    ours = kernels.gradients(weight, index, active, sizes, upstream)
    torch.testing.assert_close(ours.double(), gradient, rtol=1e-4, atol=1e-4)
    assert not ours[:, max(sizes) :].any()


def test_they_are_what_the_processor_uses_for_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, index = case((2, 3))
    called: list[str] = []
    for name in ("sums", "gradients"):
        kernel = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *args, name=name, kernel=kernel: called.append(name) or kernel(*args))
    for dtype in (torch.float64, torch.float32):
        made = sum_of_products(weight.to(dtype).requires_grad_(), index, torch.full((TOKENS,), TERMS), (2, 3))
        made.sum().backward()
        assert called == ([] if dtype == torch.float64 else ["sums", "gradients"])


def test_gradients_need_not_lie_in_order() -> None:
    weight, index = case((2, 3))
    active = torch.full((TOKENS,), TERMS)
    upstream = torch.randn(6, TOKENS, generator=torch.Generator().manual_seed(1)).T
    ours = kernels.gradients(weight, index, active, (2, 3), upstream)
    torch.testing.assert_close(ours, kernels.gradients(weight, index, active, (2, 3), upstream.contiguous()))


def test_nan_is_passed_on() -> None:
    weight, index = case((8, 8, 9))
    weight[4, 2] = float("nan")
    found = kernels.sums(weight, index, torch.full((TOKENS,), TERMS), (8, 8, 9))
    assert torch.equal(found.isnan().any(1), (index == 4).flatten(1).any(1))


def test_nan_is_passed_on_to_gradients() -> None:
    weight, index = case((8, 8, 9))
    weight[4, 2] = float("nan")
    active, upstream = torch.full((TOKENS,), TERMS), torch.ones(TOKENS, 576)
    found = kernels.gradients(weight, index, active, (8, 8, 9), upstream).isnan()
    # The other vectors of every term that has it, and no others.
    beside = {
        int(row)
        for term in index.transpose(1, 2).flatten(0, 1)
        for slot, row in enumerate(term)
        if 4 in [*term[:slot], *term[slot + 1 :]]
    }
    assert set(found.any(1).nonzero().flatten().tolist()) == beside
    assert not kernels.gradients(case((8, 8, 9))[0], index, active, (8, 8, 9), upstream).isnan().any()


def test_no_tokens() -> None:
    weight, index = case((2, 3))
    none = torch.zeros(0, dtype=torch.int32)
    assert kernels.sums(weight, index[:0], none, (2, 3)).shape == (0, 6)
    assert not kernels.gradients(weight, index[:0], none, (2, 3), torch.zeros(0, 6)).any()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((3, 1, 2), ROWS, f"has vector {ROWS}, but the last there can be is {ROWS - 1}"),
        ((3, 1, 2), -1, "has vector -1"),
    ],
)
def test_places_that_do_not_exist_are_named(place: tuple[int, ...], value: int, message: str) -> None:
    weight, index = case((2, 3))
    index[place] = value
    with pytest.raises(ModelError, match=rf"{message}[^§]*set_table"):
        kernels.sums(weight, index, torch.full((TOKENS,), TERMS), (2, 3))


def test_more_terms_than_there_are_is_named() -> None:
    weight, index = case((2, 3))
    with pytest.raises(ModelError, match=f"has number of terms {TERMS + 1}, but the last there can be is {TERMS}"):
        kernels.sums(weight, index, torch.full((TOKENS,), TERMS + 1), (2, 3))
