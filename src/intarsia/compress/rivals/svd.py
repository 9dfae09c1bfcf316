"""Low rank: every row is the mean row and a combination of the same few vectors."""

from math import prod
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.rivals.centred import CentredEmbedding
from intarsia.compress.rivals.factorisation import largest_rank, truncated_svd
from intarsia.errors import ConfigError


class SVDEmbedding(CentredEmbedding):
    """`E = mean + left @ right` of rank k: k (V + d) + d parameters, and logits for the price of the factors.

    Args:
        num_embeddings: Number of tokens V.
        embedding_dim: Length of a row d.
        rank: k.
        padding_idx: Token whose row is zero, if any.

    Raises:
        ConfigError: If the rank is not between 1 and min(V, d).
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, rank: int, padding_idx: int | None = None) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx)
        if not 1 <= rank <= min(num_embeddings, embedding_dim):
            raise ConfigError("rank", rank, f"between 1 and {min(num_embeddings, embedding_dim)}")
        self.rank = rank
        # Rows start with entries of variance 1 / d, as those of a model trained from scratch.
        deviation = (rank * embedding_dim) ** -0.25
        self.left = nn.Parameter(torch.randn(num_embeddings, rank) * deviation)
        self.right = nn.Parameter(torch.randn(rank, embedding_dim) * deviation)

    @classmethod
    def of_ratio(cls, num_embeddings: int, embedding_dim: int, ratio: float, padding_idx: int | None = None) -> Self:
        """Returns one of random entries, of the largest rank with which it is so many times smaller."""
        sizes = (num_embeddings, embedding_dim)
        rank = largest_rank(
            ratio, prod(sizes), min(sizes), lambda rank: rank * sum(sizes) + embedding_dim, method="low rank"
        )
        return cls(num_embeddings, embedding_dim, rank, padding_idx)

    def approximate(self, centred: Float[Tensor, "num_embeddings dim"]) -> None:
        """Fills in the best matrix of this rank (Eckart and Young 1936)."""
        factors = truncated_svd(centred, self.rank)
        self.left.copy_(factors.left)
        self.right.copy_(factors.right)

    @property
    def settings(self) -> dict[str, Any]:
        """What makes an empty one of the same shape, as JSON values."""
        return {**super().settings, "rank": self.rank}

    def products(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns `left[ids] @ right`."""
        return nn.functional.embedding(ids, self.left) @ self.right

    def product_matrix(self) -> Float[Tensor, "num_embeddings dim"]:
        """Returns `left @ right`."""
        return self.left @ self.right

    def product_logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch num_embeddings"]:
        """Returns the logits through the factors: d / k times cheaper than with the whole matrix."""
        return nn.functional.linear(nn.functional.linear(hidden, self.right), self.left)
