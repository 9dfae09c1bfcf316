"""Kronecker products of order 2: word2ketXS at its best.

word2ketXS (arXiv 1911.04975) writes the matrix as `sum_j A_j (x) B_j` and trains the factors. For two factors the best
ones are known: rearranged so that each product becomes an outer product of two vectors, the matrix is approximated by
its leading singular vectors (Van Loan and Pitsianis 1993). No training reaches a smaller error.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.rivals.digits import DigitsEmbedding
from intarsia.compress.rivals.factorisation import truncated_svd


class KroneckerEmbedding(DigitsEmbedding):
    """A mean row and the first V rows and d columns of `sum_j A_j (x) B_j`: r (t1 q1 + t2 q2) + d parameters.

    Args:
        num_embeddings: Number of tokens V.
        embedding_dim: Length of a row d.
        rank: Number r of products.
        row_factors: t1 and t2, whose product is V or more.
        column_factors: q1 and q2, whose product is d or more.
        padding_idx: Token whose row is zero, if any.

    Raises:
        ConfigError: If the factors do not cover the matrix, or the rank is below 1.
    """

    digits = 2
    method = "a Kronecker product"

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
        (t1, t2), (q1, q2) = self.row_factors, self.column_factors
        # Sums of r products with entries of variance 1 / d, as rows of a model trained from scratch.
        deviation = (rank * embedding_dim) ** -0.25
        self.first = nn.Parameter(torch.randn(t1, q1, rank) * deviation)
        self.second = nn.Parameter(torch.randn(t2, rank, q2) * deviation)

    @staticmethod
    def full_rank(rows: Sequence[int], columns: Sequence[int]) -> int:
        """Returns the smaller side of the rearranged matrix."""
        return min(rows[0] * columns[0], rows[1] * columns[1])

    @staticmethod
    def count(rank: int, rows: Sequence[int], columns: Sequence[int]) -> int:
        """Returns how many numbers the factors of such a rank have."""
        return rank * (rows[0] * columns[0] + rows[1] * columns[1])

    def approximate(self, centred: Float[Tensor, "num_embeddings dim"]) -> None:
        """Fills in the best factors; of a matrix that had to be filled up with zeros they are not quite the best."""
        (t1, t2), (q1, q2) = self.row_factors, self.column_factors
        vocab, dim = centred.shape
        whole = nn.functional.pad(centred, (0, q1 * q2 - dim, 0, t1 * t2 - vocab))
        rearranged = whole.reshape(t1, t2, q1, q2).transpose(1, 2).reshape(t1 * q1, t2 * q2)
        factors = truncated_svd(rearranged, self.rank)
        self.first.copy_(factors.left.reshape(t1, q1, self.rank))
        self.second.copy_(factors.right.reshape(self.rank, t2, q2).transpose(0, 1))

    def products(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns rows without the mean: a token id is two digits, which say what slices of factors it is made of."""
        t2 = self.row_factors[1]
        products = self.first[ids // t2] @ self.second[ids % t2]
        return products.flatten(1)[:, : self.embedding_dim]

    def product_matrix(self) -> Float[Tensor, "num_embeddings dim"]:
        """Returns all rows without the mean, by products of matrices."""
        (t1, t2), (q1, q2) = self.row_factors, self.column_factors
        rearranged = self.first.reshape(t1 * q1, self.rank) @ self.second.transpose(0, 1).reshape(self.rank, t2 * q2)
        whole = rearranged.reshape(t1, q1, t2, q2).transpose(1, 2).reshape(t1 * t2, q1 * q2)
        return whole[: self.num_embeddings, : self.embedding_dim]
