"""What Kronecker products and tensor trains share: rows and columns are numbered by digits, one of each in a factor."""

from abc import abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar, Self

from intarsia.compress.rivals.centred import CentredEmbedding
from intarsia.compress.rivals.factorisation import largest_rank, near_equal_factors
from intarsia.errors import ConfigError


class DigitsEmbedding(CentredEmbedding):
    """A mean row and the first V rows and d columns of a matrix that is made of a few factors.

    Args:
        num_embeddings: Number of tokens V.
        embedding_dim: Length of a row d.
        rank: Number of products, or largest rank between factors.
        row_factors: How many values each digit of a row has, the most significant first; their product is V or more.
        column_factors: Likewise of a column and d.
        padding_idx: Token whose row is zero, if any.

    Raises:
        ConfigError: If the digits do not cover the matrix, or the rank is below 1.
    """

    digits: ClassVar[int]
    method: ClassVar[str]

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
        for name, factors, needed in (
            ("row_factors", row_factors, num_embeddings),
            ("column_factors", column_factors, embedding_dim),
        ):
            if len(factors) != self.digits or prod(factors) < needed:
                raise ConfigError(name, tuple(factors), f"{self.digits} numbers whose product is {needed} or more")
        self.rank = rank
        self.row_factors, self.column_factors = tuple(row_factors), tuple(column_factors)

    @classmethod
    def of_ratio(cls, num_embeddings: int, embedding_dim: int, ratio: float, padding_idx: int | None = None) -> Self:
        """Returns one of random entries, of the largest rank with which it is so many times smaller.

        Sizes that have no factors of similar size are rounded up, so that part of the matrix is not used.
        """
        rows, columns = near_equal_factors(num_embeddings, cls.digits), near_equal_factors(embedding_dim, cls.digits)
        rank = largest_rank(
            ratio,
            num_embeddings * embedding_dim,
            cls.full_rank(rows, columns),
            lambda rank: cls.count(rank, rows, columns) + embedding_dim,
            method=cls.method,
        )
        return cls(num_embeddings, embedding_dim, rank, rows, columns, padding_idx)

    @staticmethod
    @abstractmethod
    def full_rank(rows: Sequence[int], columns: Sequence[int]) -> int:
        """Returns the rank beyond which nothing is gained, given the factors of rows and columns."""

    @staticmethod
    @abstractmethod
    def count(rank: int, rows: Sequence[int], columns: Sequence[int]) -> int:
        """Returns how many numbers the factors of such a rank have."""

    @property
    def settings(self) -> dict[str, Any]:
        """What makes an empty one of the same shape, as JSON values."""
        return {
            **super().settings,
            "rank": self.rank,
            "row_factors": list(self.row_factors),
            "column_factors": list(self.column_factors),
        }
