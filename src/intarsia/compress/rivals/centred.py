"""What low rank, Kronecker products and tensor trains share: they approximate the matrix without its mean row.

The mean row costs d numbers and is worth them: it holds near half the squared norm of a trained embedding, and what a
model says breaks down much earlier if it is only approximated.
"""

from abc import abstractmethod
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.compressed_embedding import CHUNK, CompressedEmbedding
from intarsia.compress.rivals.factorisation import check_matrix


class CentredEmbedding(CompressedEmbedding):
    """A mean row, trained, plus products that subclasses define.

    Args:
        num_embeddings: Number of tokens.
        embedding_dim: Length of a row.
        padding_idx: Token whose row is zero, if any.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx)
        self.mean = nn.Parameter(torch.zeros(embedding_dim))

    @classmethod
    def from_matrix(cls, matrix: Float[Tensor, "vocab dim"], *, ratio: float, padding_idx: int | None = None) -> Self:
        """Returns the best approximation of a matrix, or nearly that, at a ratio of parameters.

        Raises:
            ConfigError: If the ratio is not above 1.
            UnreachableRatioError: If not even rank 1 reaches it.
            ModelError: If the matrix holds NaN or infinity.
        """
        check_matrix(matrix)
        vocab, dim = matrix.shape
        made = cls.of_ratio(vocab, dim, ratio, padding_idx).to(matrix.device)
        mean = matrix.mean(0)
        with torch.no_grad():
            made.mean.copy_(mean)
            made.approximate(matrix - mean)
        return made

    @classmethod
    @abstractmethod
    def of_ratio(cls, num_embeddings: int, embedding_dim: int, ratio: float, padding_idx: int | None = None) -> Self:
        """Returns one of random entries, of the largest rank with which it is so many times smaller.

        Raises:
            ConfigError: If the ratio is not above 1.
            UnreachableRatioError: If not even rank 1 reaches it.
        """

    @abstractmethod
    def approximate(self, centred: Float[Tensor, "num_embeddings dim"]) -> None:
        """Fills in the products nearest to a matrix whose mean row is zero."""

    @abstractmethod
    def products(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns the rows of tokens without the mean."""

    @abstractmethod
    def product_matrix(self) -> Float[Tensor, "num_embeddings dim"]:
        """Returns all rows without the mean."""

    def product_logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch num_embeddings"]:
        """Returns the products of hidden states with all rows without the mean."""
        return nn.functional.linear(hidden, self.product_matrix())

    def rows(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns the rows of tokens."""
        return self.products(ids) + self.mean

    def logits(
        self, hidden: Float[Tensor, "*batch dim"], *, chunk: int = CHUNK
    ) -> Float[Tensor, "*batch num_embeddings"]:
        """Returns the products of hidden states with all rows, at once: they are cheap to rebuild together."""
        logits = self.product_logits(hidden) + (hidden @ self.mean)[..., None]
        return logits if self.padding_idx is None else logits.masked_fill(self._is_padding(), 0)

    def to_dense(self) -> Float[Tensor, "num_embeddings dim"]:
        """Returns the whole matrix, without a gradient."""
        with torch.no_grad():
            matrix = self.product_matrix() + self.mean
            return matrix if self.padding_idx is None else matrix.masked_fill(self._is_padding()[:, None], 0)

    def _is_padding(self) -> Tensor:
        ids = torch.arange(self.num_embeddings, device=self.mean.device)
        return ids.eq(-1 if self.padding_idx is None else self.padding_idx)
