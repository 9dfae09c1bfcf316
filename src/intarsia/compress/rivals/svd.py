"""Low rank: every row is a combination of the same few vectors."""

from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.compressed_embedding import CHUNK, CompressedEmbedding
from intarsia.compress.rivals.factorisation import check_matrix, largest_rank, truncated_svd
from intarsia.errors import ConfigError


class SVDEmbedding(CompressedEmbedding):
    """`E = left @ right`, of rank k: k (V + d) parameters, and logits for the price of the factors.

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
    def from_matrix(cls, matrix: Float[Tensor, "vocab dim"], *, ratio: float, padding_idx: int | None = None) -> Self:
        """Returns the best approximation of a matrix at a ratio of parameters.

        Raises:
            ConfigError: If the ratio is not above 1, or not even rank 1 reaches it.
            ModelError: If the matrix holds NaN or infinity.
        """
        check_matrix(matrix)
        vocab, dim = matrix.shape
        rank = largest_rank(ratio, vocab * dim, min(vocab, dim), lambda rank: rank * (vocab + dim), method="low rank")
        made = cls(vocab, dim, rank, padding_idx)
        factors = truncated_svd(matrix, rank)
        with torch.no_grad():
            made.left.copy_(factors.left)
            made.right.copy_(factors.right)
        return made

    @property
    def settings(self) -> dict[str, Any]:
        """What makes an empty one of the same shape."""
        return {
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "rank": self.rank,
            "padding_idx": self.padding_idx,
        }

    def rows(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns `left[ids] @ right`."""
        return nn.functional.embedding(ids, self.left) @ self.right

    def logits(
        self, hidden: Float[Tensor, "*batch dim"], *, chunk: int = CHUNK
    ) -> Float[Tensor, "*batch num_embeddings"]:
        """Returns the products with all rows, through the factors: d / k times cheaper than with a dense matrix."""
        products = nn.functional.linear(nn.functional.linear(hidden, self.right), self.left)
        if self.padding_idx is None:
            return products
        padding = torch.arange(self.num_embeddings, device=hidden.device) == self.padding_idx
        return products.masked_fill(padding, 0)
