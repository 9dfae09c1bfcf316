"""Sums of tensor products and their gradient, compiled for the processor.

Tensor operations gather the vectors of all tokens, write their products to memory and read them again. Loops that keep
those of one token in the first-level cache take half the time for tokens of many terms and a tenth for those of few.
For float32 on processors; elsewhere `contraction` does the same with tensor operations.

With `S_o = v_o` and `S_i = v_i (x) S_(i+1)` for the vectors of one term, the term is `v_1 (x) S_2`. Its gradient `G`, a
matrix with a row for each number of `v_1`, gives `dv_1 = G S_2` and `dS_2 = G^T v_1`, which is a gradient of the same
kind for the slots that are left.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from intarsia.compiled import compiled, in_threads
from intarsia.errors import ModelError

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int32]
Sizes = npt.NDArray[np.int64]


def sums(
    weight: Float[Tensor, "rows width"],
    index: Int[Tensor, "tokens order terms"],
    active: Int[Tensor, "tokens"],
    sizes: Sequence[int],
) -> Float[Tensor, "tokens product"]:
    """Returns the sums of products; see `contraction.sum_of_products`.

    Tokens are shared out among as many threads as torch has, if they are many.

    Raises:
        ModelError: If the index names a row there is not.
    """
    vectors, places, counts = _arrays(weight, index, active)
    # NumPy gets zeros from the system where torch would write them itself, which for large arrays takes longer than
    # all the rest.
    found, lengths = np.zeros((len(index), sizes[0], math.prod(sizes[1:])), np.float32), np.array(sizes)

    def part(tokens: slice) -> None:
        add_sums(vectors, places[tokens], counts[tokens], lengths, found[tokens])

    in_threads(len(index), index.shape[2] * math.prod(sizes), part)
    return torch.from_numpy(found).flatten(1)


def gradients(
    weight: Float[Tensor, "rows width"],
    index: Int[Tensor, "tokens order terms"],
    active: Int[Tensor, "tokens"],
    sizes: Sequence[int],
    gradient: Float[Tensor, "tokens product"],
) -> Float[Tensor, "rows width"]:
    """Returns the gradient of the vectors, given that of the sums.

    One thread does it: tokens share vectors, and two threads may not add to one at once.

    Raises:
        ModelError: If the index names a row there is not.
    """
    into = np.zeros(weight.shape, np.float32)
    upstream = gradient.float().reshape(len(index), sizes[0], math.prod(sizes[1:])).contiguous()
    add_gradients(*_arrays(weight, index, active), np.array(sizes), upstream.numpy(), into)
    return torch.from_numpy(into)


def _arrays(weight: Tensor, index: Tensor, active: Tensor) -> tuple[Floats, Rows, Rows]:
    # Compiled loops do not look whether a place is in an array; a table that was never filled in would crash them.
    for what, values, limit in (("vector", index, len(weight) - 1), ("number of terms", active, index.shape[2])):
        if not values.numel():
            continue
        low, high = (int(value) for value in torch.aminmax(values))
        if low < 0 or high > limit:
            raise ModelError(
                f"the table of terms has {what} {low if low < 0 else high}, but the last there can be is {limit}",
                fix="give the embedding its table again by `set_table`",
            )
    return weight.detach().contiguous().numpy(), index.int().contiguous().numpy(), active.int().contiguous().numpy()


@compiled
def _gather(weight: Floats, index: Rows, active: int, vectors: Floats) -> None:
    """Copies a token's vectors. Reads that do not wait for each other hide how far away the memory is."""
    for slot in range(index.shape[0]):
        for term in range(active):
            place = index[slot, term]
            for x in range(weight.shape[1]):
                vectors[slot, term, x] = weight[place, x]


@compiled
def _join(vectors: Floats, active: int, inner: Floats, outer: Floats) -> None:
    """Writes the products of vectors and what follows them, for each term."""
    for term in range(active):
        for x in range(outer.shape[1]):
            factor = vectors[term, x]
            for y in range(outer.shape[2]):
                outer[term, x, y] = factor * inner[term, y]


@compiled
def _room(sizes: Sizes, terms: int) -> tuple[list[Floats], list[Floats]]:
    """Room for `S_1` to `S_order` of each term and for the number 1 behind them; the first is not used.

    Twice the same memory: flat, and with the vector's own axis.
    """
    order = len(sizes)
    lengths = np.ones(order + 1, np.int64)
    for slot in range(order - 1, 0, -1):
        lengths[slot] = lengths[slot + 1] * sizes[slot]
    flat = [np.ones((terms, length), np.float32) for length in lengths]
    return flat, [flat[slot].reshape(terms, -1, lengths[slot + 1] if slot else 1) for slot in range(order)]


@compiled
def _split(above: Floats, active: int, vectors: Floats, inner: Floats, parts: Floats, below: Floats) -> None:
    """Divides a gradient, each term's own or one that all share, among the term's vector and what follows it."""
    for term in range(active):
        gradient = above[term if len(above) > 1 else 0]
        for y in range(gradient.shape[1]):
            below[term, y] = 0
        for x in range(gradient.shape[0]):
            total = np.float32(0)
            factor = vectors[term, x]
            for y in range(gradient.shape[1]):
                total += gradient[x, y] * inner[term, y]
                below[term, y] += factor * gradient[x, y]
            parts[term, x] = total


@compiled
def _scatter(parts: Floats, places: Rows, active: int, size: int, into: Floats) -> None:
    """Adds one slot's gradients to the rows their vectors are from."""
    for term in range(active):
        place = places[term]
        for x in range(size):
            into[place, x] += parts[term, x]


@compiled
def add_sums(weight: Floats, index: Rows, active: Rows, sizes: Sizes, sums: Floats) -> None:
    """Adds each token's sum of products to `sums`.

    Args:
        weight: The vectors of all units, `[rows, width]`.
        index: Row of each slot and term, `[tokens, order, terms]`.
        active: How many terms of a token count, `[tokens]`.
        sizes: Length of the vector in each slot.
        sums: What to add to, `[tokens, first size, product of the others]`.
    """
    tokens, order, terms = index.shape
    flat, cubes = _room(sizes, terms)
    vectors = np.empty((order, terms, weight.shape[1]), np.float32)
    for token in range(tokens):
        _gather(weight, index[token], active[token], vectors)
        for slot in range(order - 1, 0, -1):
            _join(vectors[slot], active[token], flat[slot + 1], cubes[slot])
        row, first, inner = sums[token], vectors[0], flat[1]
        for term in range(active[token]):
            for x in range(row.shape[0]):
                factor = first[term, x]
                for y in range(row.shape[1]):
                    row[x, y] += factor * inner[term, y]


@compiled
def add_gradients(weight: Floats, index: Rows, active: Rows, sizes: Sizes, gradient: Floats, into: Floats) -> None:
    """Adds the gradient of the vectors to `into`, given that of the sums.

    Args:
        weight: The vectors of all units, `[rows, width]`.
        index: Row of each slot and term, `[tokens, order, terms]`.
        active: How many terms of a token count, `[tokens]`.
        sizes: Length of the vector in each slot.
        gradient: Of the sums, `[tokens, first size, product of the others]`.
        into: What to add to, `[rows, width]`.
    """
    tokens, order, terms = index.shape
    flat, cubes = _room(sizes, terms)
    flat_gradients, gradients = _room(sizes, terms)
    vectors = np.empty((order, terms, weight.shape[1]), np.float32)
    parts = np.empty((order, terms, weight.shape[1]), np.float32)
    last = order - 1
    for token in range(tokens):
        if not last:
            for term in range(active[token]):
                for x in range(sizes[0]):
                    into[index[token, 0, term], x] += gradient[token, x, 0]
            continue
        _gather(weight, index[token], active[token], vectors)
        for slot in range(last, 0, -1):
            _join(vectors[slot], active[token], flat[slot + 1], cubes[slot])
        _split(gradient[token : token + 1], active[token], vectors[0], flat[1], parts[0], flat_gradients[1])
        for slot in range(1, last):
            _split(gradients[slot], active[token], vectors[slot], flat[slot + 1], parts[slot], flat_gradients[slot + 1])
        for slot in range(last):
            _scatter(parts[slot], index[token, slot], active[token], sizes[slot], into)
        # Nothing follows the last vector, so what is left is its own gradient.
        _scatter(flat_gradients[last], index[token, last], active[token], sizes[last], into)
