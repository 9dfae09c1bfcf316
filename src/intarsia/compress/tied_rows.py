"""A compressed embedding in its two places in a model: where tokens enter, and as the output head."""

import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.compressed_embedding import CompressedEmbedding, state_of
from intarsia.models.linear import linear


class MatrixCache:
    """The whole matrix of an embedding, rebuilt when a weight has changed since.

    Args:
        embedding: Whose matrix.
        enabled: Whether it is kept at all.
    """

    def __init__(self, embedding: CompressedEmbedding, *, enabled: bool = True) -> None:
        self.embedding = embedding
        self.enabled = enabled
        self._matrix: Tensor | None = None
        self._state: tuple[Any, ...] = ()

    def get(self, dtype: torch.dtype) -> Float[Tensor, "num_embeddings dim"]:
        """Returns the matrix, rebuilt only if a weight has changed or it is not kept."""
        matrix = self.peek(dtype)
        if matrix is None:
            # What is made in inference mode could not be used where gradients are wanted.
            with torch.inference_mode(False):
                matrix = self.embedding.to_dense().to(dtype)
            if self.enabled:
                self._matrix, self._state = matrix, self._current(dtype)
        return matrix

    def peek(self, dtype: torch.dtype) -> Float[Tensor, "num_embeddings dim"] | None:
        """Returns the matrix if it is there and still true."""
        return self._matrix if self._matrix is not None and self._state == self._current(dtype) else None

    def drop(self) -> None:
        """Gives the matrix's memory back."""
        self._matrix, self._state = None, ()

    def _current(self, dtype: torch.dtype) -> tuple[Any, ...]:
        return (dtype, state_of([*self.embedding.parameters(), *self.embedding.buffers()]))

    def __deepcopy__(self, memo: dict[int, Any]) -> "MatrixCache":
        return type(self)(copy.deepcopy(self.embedding, memo), enabled=self.enabled)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_empty_cache, (self.embedding, self.enabled))


def _empty_cache(embedding: CompressedEmbedding, enabled: bool) -> MatrixCache:
    return MatrixCache(embedding, enabled=enabled)


def learns(embedding: nn.Module) -> bool:
    """Whether a gradient is wanted for any of the embedding's weights."""
    return torch.is_grad_enabled() and any(parameter.requires_grad for parameter in embedding.parameters())


class CompressedInput(nn.Module):
    """Stands in a model's place for input embeddings.

    Rows are computed in the type of the embedding's weights, float32, and handed on in that of the layers.

    Args:
        embedding: The compressed embedding.
        layer: A module of the model whose weights say the type of the states.
        cache: Of the matrix, shared with the head.
        scale: What rows are multiplied by.
    """

    def __init__(
        self, embedding: CompressedEmbedding, layer: nn.Module, cache: MatrixCache, *, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.scale = scale
        self._layer = (layer,)  # In a tuple, since it is no part of this module.
        self.cache = cache

    @property
    def num_embeddings(self) -> int:
        """Number of tokens."""
        return self.embedding.num_embeddings

    @property
    def embedding_dim(self) -> int:
        """Length of a row."""
        return self.embedding.embedding_dim

    @property
    def padding_idx(self) -> int | None:
        """Token whose row is zero, if any."""
        return self.embedding.padding_idx

    @property
    def weight(self) -> Float[Tensor, "num_embeddings dim"]:
        """The whole matrix, without a gradient; for libraries that look at it."""
        return self.cache.get(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the states that are handed on."""
        return next(parameter.dtype for parameter in self._layer[0].parameters() if parameter.is_floating_point())

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """Returns the rows of tokens, from the cached matrix if there is one.

        Raises:
            InputError: If an id is out of range.
        """
        matrix = None if learns(self.embedding) else self.cache.peek(self.dtype)
        try:
            rows: Tensor = self.embedding(ids) if matrix is None else nn.functional.embedding(ids, matrix)
        except IndexError:
            self.embedding.check_ids(ids)
            raise
        rows = rows if self.scale == 1.0 else rows * self.scale
        return rows.to(self.dtype)


class CompressedHead(nn.Module):
    """Output head whose rows are those of the compressed embedding. It holds no weights but a bias.

    Args:
        cache: Of the embedding's matrix.
        bias: Added to the logits, if the original head had one.
    """

    def __init__(self, cache: MatrixCache, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.cache = cache
        self.bias = bias

    @property
    def in_features(self) -> int:
        """Length of a hidden state."""
        return self.cache.embedding.embedding_dim

    @property
    def out_features(self) -> int:
        """Number of tokens."""
        return self.cache.embedding.num_embeddings

    @property
    def weight(self) -> Float[Tensor, "num_embeddings dim"]:
        """The whole matrix, without a gradient; for libraries that look at it."""
        return self.cache.get(self.cache.embedding.dtype)

    def forward(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch num_embeddings"]:
        """Returns the logits, by the cached matrix unless the embedding learns or caching is off."""
        embedding = self.cache.embedding
        if self.cache.enabled and not learns(embedding):
            return linear(hidden, self.cache.get(hidden.dtype), self.bias)
        logits = embedding.logits(hidden.to(embedding.dtype)).to(hidden.dtype)
        return logits if self.bias is None else logits + self.bias
