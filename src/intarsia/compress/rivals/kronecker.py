"""Kronecker products of order 2: word2ketXS at its best.

word2ketXS (arXiv 1911.04975) writes the matrix as `sum_j A_j (x) B_j` and trains the factors. For two factors the best
ones are known: rearranged so that each product becomes an outer product of two vectors, the matrix is approximated by
its leading singular vectors (Van Loan and Pitsianis 1993). No training reaches a smaller error.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.rivals.centred import CentredEmbedding
from intarsia.compress.rivals.factorisation import check_matrix, largest_rank, near_equal_factors, truncated_svd
from intarsia.errors import ConfigError


class KroneckerEmbedding(CentredEmbedding):
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

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        rank: int,
        row_factors: Sequence[int],
        column_factors: Sequence[int],
        padding_idx: int | None = None,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx)
        if rank < 1:
            raise ConfigError("rank", rank, "1 or more")
        (t1, t2), (q1, q2) = row_factors, column_factors
        if t1 * t2 < num_embeddings:
            raise ConfigError("row_factors", (t1, t2), f"two numbers whose product is {num_embeddings} or more")
        if q1 * q2 < embedding_dim:
            raise ConfigError("column_factors", (q1, q2), f"two numbers whose product is {embedding_dim} or more")
        self.rank = rank
        self.row_factors, self.column_factors = (t1, t2), (q1, q2)
        # Sums of r products with entries of variance 1 / d, as rows of a model trained from scratch.
        deviation = (rank * embedding_dim) ** -0.25
        self.first = nn.Parameter(torch.randn(t1, q1, rank) * deviation)
        self.second = nn.Parameter(torch.randn(t2, rank, q2) * deviation)

    @classmethod
    def from_matrix(cls, matrix: Float[Tensor, "vocab dim"], *, ratio: float, padding_idx: int | None = None) -> Self:
        """Returns the best approximation of a matrix at a ratio of parameters.

        Sizes that have no two factors of similar size are filled up with zeros, and are then not quite the best.

        Raises:
            ConfigError: If the ratio is not above 1, or not even one product reaches it.
            ModelError: If the matrix holds NaN or infinity.
        """
        check_matrix(matrix)
        vocab, dim = matrix.shape
        mean = matrix.mean(0)
        t1, t2 = near_equal_factors(vocab, 2)
        q1, q2 = near_equal_factors(dim, 2)
        each = t1 * q1 + t2 * q2
        limit = min(t1 * q1, t2 * q2)
        rank = largest_rank(ratio, vocab * dim, limit, lambda rank: rank * each + dim, method="a Kronecker product")
        whole = nn.functional.pad(matrix - mean, (0, q1 * q2 - dim, 0, t1 * t2 - vocab))
        rearranged = whole.reshape(t1, t2, q1, q2).transpose(1, 2).reshape(t1 * q1, t2 * q2)
        factors = truncated_svd(rearranged, rank)
        made = cls(vocab, dim, rank, (t1, t2), (q1, q2), padding_idx)
        with torch.no_grad():
            made.mean.copy_(mean)
            made.first.copy_(factors.left.reshape(t1, q1, rank))
            made.second.copy_(factors.right.reshape(rank, t2, q2).transpose(0, 1))
        return made

    @property
    def settings(self) -> dict[str, Any]:
        """What makes an empty one of the same shape."""
        return {
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "rank": self.rank,
            "row_factors": list(self.row_factors),
            "column_factors": list(self.column_factors),
            "padding_idx": self.padding_idx,
        }

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
