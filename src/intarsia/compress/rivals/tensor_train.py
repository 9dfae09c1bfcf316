"""The matrix as a tensor train of three cores, found by TT-SVD (Oseledets 2011).

Rows are numbered by three digits and columns too; each core holds one digit of both (a TT-matrix, as in "Tensorized
Embedding Layers", arXiv 1901.10787). TensorGPT (arXiv 2307.00526) compresses rows one by one in this form.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.rivals.digits import DigitsEmbedding
from intarsia.compress.rivals.factorisation import truncated_svd


class TTCores(NamedTuple):
    """A tensor train.

    Attributes:
        first: First core.
        second: Second core.
        third: Third core.
        discarded: Sum of the squares of all singular values that were cut: the squared error is at most that.
    """

    first: Float[Tensor, "v1 d1 r1"]
    second: Float[Tensor, "r1 v2 d2 r2"]
    third: Float[Tensor, "r2 v3 d3"]
    discarded: float


class TTEmbedding(DigitsEmbedding):
    """A mean row and the first V rows and d columns of a TT-matrix of three cores.

    Args:
        num_embeddings: Number of tokens V.
        embedding_dim: Length of a row d.
        rank: Largest rank between cores.
        row_factors: Three numbers whose product is V or more.
        column_factors: Three numbers whose product is d or more.
        padding_idx: Token whose row is zero, if any.

    Raises:
        ConfigError: If the factors do not cover the matrix, or the rank is below 1.
    """

    digits = 3
    method = "a tensor train"

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        rank: int,
        row_factors: Sequence[int],
        column_factors: Sequence[int],
        padding_idx: int | None = None,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, rank, row_factors, column_factors, padding_idx)
        (v1, v2, v3), (d1, d2, d3) = self.row_factors, self.column_factors
        r1, r2 = _bonds(rank, row_factors, column_factors)
        # Sums of r1 r2 products of three, with entries of variance 1 / d.
        deviation = (r1 * r2 * embedding_dim) ** (-1 / 6)
        self.first = nn.Parameter(torch.randn(v1, d1, r1) * deviation)
        self.second = nn.Parameter(torch.randn(r1, v2, d2, r2) * deviation)
        self.third = nn.Parameter(torch.randn(r2, v3, d3) * deviation)

    @staticmethod
    def full_rank(rows: Sequence[int], columns: Sequence[int]) -> int:
        """Returns the larger of the two bonds' limits."""
        return max(rows[0] * columns[0], rows[2] * columns[2])

    @staticmethod
    def count(rank: int, rows: Sequence[int], columns: Sequence[int]) -> int:
        """Returns how many numbers the cores have."""
        r1, r2 = _bonds(rank, rows, columns)
        return rows[0] * columns[0] * r1 + r1 * rows[1] * columns[1] * r2 + r2 * rows[2] * columns[2]

    def approximate(self, centred: Float[Tensor, "num_embeddings dim"]) -> None:
        """Fills in the cores that TT-SVD finds."""
        cores = tt_svd(centred, self.rank, self.row_factors, self.column_factors)
        self.first.copy_(cores.first)
        self.second.copy_(cores.second)
        self.third.copy_(cores.third)

    def products(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns rows without the mean: a token id is three digits, which say what slices of cores it is made of."""
        _, v2, v3 = self.row_factors
        # The first two cores are joined for all their digits: a product of matrices costs less than gathering the
        # middle core, far the largest, for every token.
        products = self._joined()[ids // v3 // v2, ids // v3 % v2] @ self.third[:, ids % v3].transpose(0, 1)
        return products.flatten(1)[:, : self.embedding_dim]

    def _joined(self) -> Float[Tensor, "v1 v2 columns r2"]:
        """The product of the first two cores, `columns` being the first two digits of a column."""
        joined = torch.tensordot(self.first, self.second, dims=1)
        return joined.transpose(1, 2).flatten(2, 3)

    def product_matrix(self) -> Float[Tensor, "num_embeddings dim"]:
        """Returns all rows without the mean, by products of matrices."""
        whole = torch.tensordot(self._joined(), self.third, dims=1)
        matrix = whole.permute(0, 1, 3, 2, 4).reshape(prod(self.row_factors), prod(self.column_factors))
        return matrix[: self.num_embeddings, : self.embedding_dim]


def tt_svd(
    matrix: Float[Tensor, "vocab dim"], rank: int, row_factors: Sequence[int], column_factors: Sequence[int]
) -> TTCores:
    """Returns the tensor train of a matrix, its ranks cut to `rank`.

    Args:
        matrix: Filled up with zeros to the products of the factors.
        rank: Largest rank.
        row_factors: Three numbers whose product is the number of rows or more.
        column_factors: Likewise of columns.
    """
    (v1, v2, v3), (d1, d2, d3) = row_factors, column_factors
    vocab, dim = matrix.shape
    whole = nn.functional.pad(matrix, (0, d1 * d2 * d3 - dim, 0, v1 * v2 * v3 - vocab))
    digits = whole.reshape(v1, v2, v3, d1, d2, d3).permute(0, 3, 1, 4, 2, 5)
    r1, r2 = _bonds(rank, row_factors, column_factors)
    # Unlike a plain TT-SVD the factors share the singular values, so that no core dwarfs the others in training. The
    # second cut must still see the whole weight of the first, or it would not be the best one.
    one = truncated_svd(digits.reshape(v1 * d1, -1), r1)
    scales = one.left.norm(dim=0)
    scales = scales.clamp(min=float(scales[0]) * 1e-3 or 1.0)
    rest = (one.right * scales[:, None]).reshape(r1 * v2 * d2, v3 * d3)
    two = truncated_svd(rest, r2)
    second = two.left.reshape(r1, v2, d2, r2) / scales[:, None, None, None]
    return TTCores(one.left.reshape(v1, d1, r1), second, two.right.reshape(r2, v3, d3), one.discarded + two.discarded)


def _bonds(rank: int, row_factors: Sequence[int], column_factors: Sequence[int]) -> tuple[int, int]:
    """The two ranks between cores: no larger than the unfolded matrix's smaller side can be."""
    (v1, v2, v3), (d1, d2, d3) = row_factors, column_factors
    r2 = min(rank, v3 * d3)
    r1 = min(rank, v1 * d1, v2 * d2 * v3 * d3)
    return r1, min(r2, r1 * v2 * d2)
