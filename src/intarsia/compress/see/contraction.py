"""Sums of tensor products, and their gradient, without ever holding the products.

    e_w = sum_k W[i_k1] (x) W[i_k2] (x) ... (x) W[i_ko]

The slots are split into a left and a right group. Within a group the product is formed term by term; the sum over
terms is then one matrix product a token, of `[left sizes, terms]` and `[terms, right sizes]`. Adding up tensors of the
row's length instead would move each of them through memory. The gradient of one slot is that of the sum, contracted
with the product of all other slots: again one matrix product a token.

Vectors lie feature by feature, `[size, tokens, terms]`: products of them are then long loops over terms rather than
short ones over the 8 or 9 numbers of a vector. In float32 on a processor compiled loops (`kernels`) do the same.
"""

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from intarsia.compiled import compilable
from intarsia.compress.see import kernels

# Tokens whose products are formed at once: some 40 MB of them at 36 terms.
_BLOCK = 4096


def sum_of_products(
    weight: Float[Tensor, "rows width"],
    index: Int[Tensor, "tokens order terms"],
    active: Int[Tensor, "tokens"],
    sizes: Sequence[int],
) -> Float[Tensor, "tokens product"]:
    """Returns for each token the sum of its terms' tensor products.

    Args:
        weight: The vectors of all units. A slot uses the first numbers of a row, as many as its size.
        index: Row of `weight` for each token, slot and term.
        active: How many of a token's terms count: the first so many.
        sizes: Length of the vector in each slot.
    """
    result: Tensor = _SumOfProducts.apply(weight, index, active, tuple(sizes))  # type: ignore[no-untyped-call]
    return result


def inner_products(
    hidden: Float[Tensor, "batch product"],
    weight: Float[Tensor, "rows width"],
    index: Int[Tensor, "tokens order terms"],
    active: Int[Tensor, "tokens"],
    sizes: Sequence[int],
) -> Float[Tensor, "batch tokens"]:
    """Returns `hidden @ sum_of_products(...).T` by contracting the hidden states with one vector after the other.

    Args:
        hidden: Hidden states.
        weight: The vectors of all units.
        index: Row of `weight` for each token, slot and term.
        active: How many of a token's terms count: the first so many.
        sizes: Length of the vector in each slot.
    """
    result: Tensor = _InnerProducts.apply(hidden, weight, index, active, tuple(sizes))  # type: ignore[no-untyped-call]
    return result


class _SumOfProducts(torch.autograd.Function):
    """Keeps nothing but its arguments; the gradient computes the vectors again, block by block."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, index: Tensor, active: Tensor, sizes: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(weight, index, active)
        ctx.sizes = sizes
        if compilable(weight):
            return kernels.sums(weight, index, active, sizes)
        out = weight.new_zeros(len(index), math.prod(sizes))
        for block in _blocks(index, active):
            out[block.tokens] = _sums(_vectors(weight, block, sizes))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        weight, index, active = ctx.saved_tensors
        if compilable(weight):
            return kernels.gradients(weight, index, active, ctx.sizes, gradient), None, None, None
        into = torch.zeros_like(weight)
        for block in _blocks(index, active):
            _add_gradient(into, _vectors(weight, block, ctx.sizes), block, gradient[block.tokens], ctx.sizes)
        return into, None, None, None


class _InnerProducts(torch.autograd.Function):
    """As above; the rows are there for the gradient only, block by block."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, index: Tensor, active: Tensor, sizes: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, index, active)
        ctx.sizes = sizes
        out = hidden.new_zeros(len(hidden), len(index))
        half = len(sizes) // 2
        left_size = math.prod(sizes[:half])
        states = hidden.reshape(len(hidden), left_size, -1)
        for block in _blocks(index, active):
            vectors = _vectors(weight, block, sizes)
            left, right = _product(vectors[:half], vectors[0]), _product(vectors[half:], vectors[0])
            for place, state in enumerate(states):
                partial = (state @ right.flatten(1)).view(left.shape)
                out[place, block.tokens] = (partial * left).sum((0, 2))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        hidden, weight, index, active = ctx.saved_tensors
        into, states = torch.zeros_like(weight), torch.zeros_like(hidden)
        for block in _blocks(index, active):
            vectors = _vectors(weight, block, ctx.sizes)
            part = gradient[:, block.tokens]
            states += part @ _sums(vectors)
            _add_gradient(into, vectors, block, part.T @ hidden, ctx.sizes)
        return states, into, None, None, None


class _Block(NamedTuple):
    """Some tokens and the terms they have.

    Attributes:
        tokens: Which of the tokens asked for.
        rows: Rows of their vectors, by slot.
        mask: Which terms count; None if all do.
    """

    tokens: slice | Int[Tensor, "block"]
    rows: Int[Tensor, "order block terms"]
    mask: Bool[Tensor, "block terms"] | None


def _blocks(index: Int[Tensor, "tokens order terms"], active: Int[Tensor, "tokens"]) -> Iterator[_Block]:
    """Yields blocks of tokens with like numbers of terms, so that terms nobody has cost next to nothing."""
    if not len(index):
        return
    fewest, most = (int(count) for count in torch.aminmax(active))
    if fewest == most:
        for start in range(0, len(index) if most else 0, _BLOCK):
            tokens = slice(start, start + _BLOCK)
            yield _Block(tokens, index[tokens, :, :most].transpose(0, 1).contiguous(), None)
        return
    counts, order = active.sort(descending=True)
    for chosen, count in zip(torch.split(order, _BLOCK), torch.split(counts, _BLOCK), strict=True):
        most, fewest = int(count[0]), int(count[-1])
        if not most:
            return
        mask = None
        if fewest < most:
            mask = torch.arange(most, device=count.device) < count[:, None]
        yield _Block(chosen, index[chosen, :, :most].transpose(0, 1).contiguous(), mask)


def _vectors(
    weight: Float[Tensor, "rows width"], block: _Block, sizes: Sequence[int]
) -> list[Float[Tensor, "size block terms"]]:
    """The vectors of each slot; those of terms that do not count are zero in the first."""
    # Whole rows first: reading them number by number would look each of them up once a number.
    whole = weight.index_select(0, block.rows.flatten()).t().contiguous().view(-1, *block.rows.shape)
    found = [whole[:size, slot] for slot, size in enumerate(sizes)]
    if block.mask is not None:
        found[0] = found[0] * block.mask
    return found


def _sums(vectors: Sequence[Float[Tensor, "size block terms"]]) -> Float[Tensor, "block product"]:
    """The sum of the terms' products."""
    half = len(vectors) // 2
    left, right = _product(vectors[:half], vectors[0]), _product(vectors[half:], vectors[0])
    return (left.permute(1, 0, 2) @ right.permute(1, 2, 0)).flatten(1)


def _add_gradient(
    into: Float[Tensor, "rows width"],
    vectors: list[Float[Tensor, "size block terms"]],
    block: _Block,
    gradient: Float[Tensor, "block product"],
    sizes: Sequence[int],
) -> None:
    """Adds the gradient of the vectors, given that of their sums of products."""
    tensor = gradient.reshape(-1, *sizes)
    parts = into.new_zeros(into.shape[1], *block.rows.shape)
    for slot, size in enumerate(sizes):
        others = _product(vectors[:slot] + vectors[slot + 1 :], vectors[0])
        matrix = tensor.movedim(slot + 1, 1).reshape(len(tensor), size, -1)
        parts[:size, slot] = (matrix @ others.permute(1, 0, 2)).transpose(0, 1)
    if block.mask is not None:
        parts[:, 0] *= block.mask
    into.index_add_(0, block.rows.flatten(), parts.flatten(1).t())


def _product(
    vectors: Sequence[Float[Tensor, "size block terms"]], like: Float[Tensor, "other block terms"]
) -> Float[Tensor, "product block terms"]:
    """The tensor product of vectors, term by term; that of none is the number 1 for each term of `like`."""
    if not vectors:
        return torch.ones_like(like[:1])
    return reduce(lambda left, right: (left[:, None] * right).flatten(0, 1), vectors)
