"""Sums of tensor products and their gradients, against term by term."""

import math

import pytest
import torch
from torch import Tensor

from intarsia.compress.see import contraction
from intarsia.compress.see.contraction import inner_products, sum_of_products

SIZES = [(5,), (3, 4), (2, 3, 4), (4, 3, 2), (2, 2, 3, 2)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def case(sizes: tuple[int, ...], *, tokens: int = 11, terms: int = 4, rows: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(rows, (tokens, len(sizes), terms), generator=generator, dtype=torch.int32)
    return random(rows, max(sizes)).requires_grad_(), index


def term_by_term(weight: Tensor, index: Tensor, active: Tensor, sizes: tuple[int, ...]) -> Tensor:
    rows = []
    for token, count in enumerate(active.tolist()):
        total = weight.new_zeros(math.prod(sizes))
        for term in range(count):
            product = weight.new_ones(1)
            for slot, size in enumerate(sizes):
                product = torch.outer(product, weight[int(index[token, slot, term]), :size]).flatten()
            total = total + product
        rows.append(total)
    return torch.stack(rows)


# Every token all terms; few, none and all; none at all.
COUNTS = [[4] * 11, [4, 0, 1, 3, 2, 4, 0, 1, 1, 2, 4], [0] * 11]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("counts", COUNTS)
def test_sums_and_gradients_are_those_of_the_terms(
    sizes: tuple[int, ...], counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contraction, "_BLOCK", 4)
    weight, index = case(sizes)
    active = torch.tensor(counts)
    ours, plain = sum_of_products(weight, index, active, sizes), term_by_term(weight, index, active, sizes)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    upstream = random(*ours.shape, seed=2)
    (gradient,) = torch.autograd.grad(ours, weight, upstream)
    expected = torch.zeros_like(weight)
    if plain.requires_grad:
        (expected,) = torch.autograd.grad(plain, weight, upstream)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("counts", COUNTS[:2])
def test_inner_products_are_those_with_the_sums(
    sizes: tuple[int, ...], counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contraction, "_BLOCK", 4)
    weight, index = case(sizes)
    active = torch.tensor(counts)
    hidden = random(3, math.prod(sizes), seed=3).requires_grad_()
    ours = inner_products(hidden, weight, index, active, sizes)
    plain = hidden @ sum_of_products(weight, index, active, sizes).T
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    upstream = random(*ours.shape, seed=4)
    for gradient, expected in zip(
        torch.autograd.grad(ours, (hidden, weight), upstream),
        torch.autograd.grad(plain, (hidden, weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


def test_no_tokens_are_no_rows() -> None:
    weight, index = case((2, 3))
    made = sum_of_products(weight, index[:0], torch.zeros(0, dtype=torch.int32), (2, 3))
    assert made.shape == (0, 6)
    made.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()
