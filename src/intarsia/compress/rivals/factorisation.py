"""What the closed forms share: the best approximation of low rank, and sizes that multiply to a given one."""

from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.compress.ratio import UnreachableRatioError, check_ratio
from intarsia.compress.see.config import factorisations
from intarsia.errors import ConfigError

# Up to this size of its smaller side a matrix is decomposed in double precision, which costs seconds beyond it.
_DOUBLE_UP_TO = 1024


class LowRankFactors(NamedTuple):
    """The best approximation `left @ right` of a given rank, the singular values split evenly between the two.

    Attributes:
        left: Left factor.
        right: Right factor.
        discarded: Sum of the squares of the singular values that were cut, which is the squared error.
    """

    left: Float[Tensor, "rows rank"]
    right: Float[Tensor, "rank columns"]
    discarded: float


@torch.no_grad()
def truncated_svd(matrix: Float[Tensor, "rows columns"], rank: int) -> LowRankFactors:
    """Returns the best approximation of a matrix of at most this rank (Eckart and Young 1936).

    Goes through the smaller of the two Gram matrices, which for a vocabulary of tens of thousands costs a hundredth of
    a decomposition of the matrix itself.
    """
    if matrix.shape[0] < matrix.shape[1]:
        right, left, discarded = truncated_svd(matrix.T, rank)
        return LowRankFactors(left.T, right.T, discarded)
    dtype = torch.float64 if matrix.shape[1] <= _DOUBLE_UP_TO else torch.float32
    wide = matrix.to(dtype)
    gram = wide.T @ wide
    total = float(gram.trace())
    energies, kept = _leading_eigenvectors(gram, min(rank, matrix.shape[1]))
    # Rounding may leave a tiny negative energy where the rank is full.
    energies = energies.clamp(min=0)
    roots = energies.pow(0.25)
    # Any split gives the same product; one by a root that is only rounding would not survive single precision.
    roots = roots.clamp(min=float(roots[0]) * 1e-3 or 1.0)
    left, right = wide @ kept / roots, (kept * roots).T
    return LowRankFactors(
        left.to(matrix.dtype).contiguous(), right.to(matrix.dtype).contiguous(), max(0.0, total - float(energies.sum()))
    )


def _leading_eigenvectors(
    symmetric: Float[Tensor, "size size"], count: int
) -> tuple[Float[Tensor, "count"], Float[Tensor, "size count"]]:
    """The largest eigenvalues and their vectors, largest first."""
    size = len(symmetric)
    if symmetric.device.type == "cpu":
        # Torch knows only all of them at once: three times slower for a twentieth of those of 4,608.
        found = scipy.linalg.eigh(symmetric.numpy(), subset_by_index=(size - count, size - 1), check_finite=False)
        values, vectors = map(torch.from_numpy, found)
    else:
        values, vectors = (part[..., size - count :] for part in torch.linalg.eigh(symmetric))
    return values.flip(0), vectors.flip(1)


def near_equal_factors(number: int, parts: int) -> tuple[int, ...]:
    """Returns ascending factors, none more than twice another, of the smallest product that is `number` or more.

    Of several such products of factors the one with the smallest sum is taken: 49,152 is 192 x 256 and 32 x 32 x 48,
    576 is 24 x 24 and 8 x 8 x 9.
    """
    for product in count(number):
        balanced = [found for found in factorisations(product, parts) if found[-1] <= 2 * found[0]]
        if balanced:
            return min(balanced, key=sum)
    raise AssertionError("some product is balanced")


def largest_rank(ratio: float, dense: int, limit: int, parameters: Callable[[int], int], *, method: str) -> int:
    """Returns the largest rank whose parameters are at most `dense / ratio`.

    Args:
        ratio: How many times fewer parameters than the dense matrix has.
        dense: Numbers of the dense matrix.
        limit: Rank beyond which nothing is gained.
        parameters: Numbers of a rank, growing with it.
        method: What messages call the method.

    Raises:
        ConfigError: If the ratio is not above 1.
        UnreachableRatioError: If even rank 1 has more parameters.
    """
    check_ratio(ratio)
    budget = dense / ratio
    if parameters(1) > budget:
        raise UnreachableRatioError(ratio, f"less than rank 1 of {method}", dense / parameters(1))
    low, high = 1, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if parameters(middle) <= budget else (low, middle - 1)
    return low


def check_matrix(matrix: Float[Tensor, "vocab dim"]) -> None:
    """Checks that a matrix can be compressed.

    Raises:
        ConfigError: If it has not two axes.
        ModelError: If it holds NaN or infinity.
    """
    from intarsia.models.folders import check_finite_tensor

    if matrix.dim() != 2:
        raise ConfigError("matrix", tuple(matrix.shape), "of shape (vocabulary, dimension)")
    check_finite_tensor(matrix, "the embedding matrix", "the model to compress")
