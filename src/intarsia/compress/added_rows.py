"""Tokens added to a compressed embedding, with dense rows of their own."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.compressed_embedding import CHUNK, CompressedEmbedding, StoredBytes
from intarsia.compress.registry import embedding_settings, empty_embedding
from intarsia.errors import ConfigError


class AddedRowsEmbedding(CompressedEmbedding):
    """A compressed embedding and, behind its tokens, some with dense rows.

    Args:
        inner: The compressed embedding, or its settings.
        added: Number of tokens added.
    """

    def __init__(self, inner: CompressedEmbedding | Mapping[str, Any], added: int) -> None:
        inner = inner if isinstance(inner, CompressedEmbedding) else empty_embedding(inner)
        if added < 1:
            raise ConfigError("added", added, "1 or more")
        super().__init__(inner.num_embeddings + added, inner.embedding_dim, inner.padding_idx)
        self.inner = inner
        self.added = nn.Parameter(torch.zeros(added, inner.embedding_dim))

    @classmethod
    def resized(cls, embedding: CompressedEmbedding, tokens: int) -> CompressedEmbedding:
        """Returns an embedding of so many tokens; new rows start as the mean row, those that are kept are as they were.

        Args:
            embedding: The embedding to enlarge, or to take added rows from.
            tokens: How many tokens it is to have.

        Raises:
            ConfigError: If rows would have to be taken from the compressed embedding itself.
        """
        inner, rows = embedding, torch.zeros(0, embedding.embedding_dim)
        if isinstance(embedding, cls):
            inner, rows = embedding.inner, embedding.added.detach()
        wanted = tokens - inner.num_embeddings
        if wanted < 0:
            raise ConfigError(
                "the number of tokens", tokens, f"{inner.num_embeddings} or more, as many as were compressed"
            )
        if wanted == 0:
            return inner
        matrix = inner.to_dense()
        made = cls(inner, wanted)
        with torch.no_grad():
            made.added.copy_(matrix.mean(0).expand_as(made.added))
            kept = min(len(rows), wanted)
            made.added[:kept] = rows[:kept]
        return made.to(matrix.device)

    @property
    def settings(self) -> dict[str, Any]:
        """What makes an empty one of the same shape, as JSON values."""
        return {"inner": embedding_settings(self.inner), "added": len(self.added)}

    def rows(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns the rows of tokens."""
        first = self.inner.num_embeddings
        is_added = ids >= first
        rows = torch.zeros(len(ids), self.embedding_dim, dtype=self.added.dtype, device=ids.device)
        rows = rows.index_put((is_added.nonzero()[:, 0],), nn.functional.embedding(ids[is_added] - first, self.added))
        return rows.index_put((is_added.logical_not().nonzero()[:, 0],), self.inner.rows(ids[~is_added]))

    def logits(
        self, hidden: Float[Tensor, "*batch dim"], *, chunk: int = CHUNK
    ) -> Float[Tensor, "*batch num_embeddings"]:
        """Returns the products of hidden states with all rows."""
        return torch.cat([self.inner.logits(hidden, chunk=chunk), nn.functional.linear(hidden, self.added)], -1)

    def to_dense(self) -> Float[Tensor, "num_embeddings dim"]:
        """Returns the whole matrix, without a gradient."""
        return torch.cat([self.inner.to_dense(), self.added.detach()])

    def stored_bytes(self) -> StoredBytes:
        """Returns the bytes of the compressed embedding and of the added rows."""
        own = self.added.numel() * self.added.element_size()
        inner = self.inner.stored_bytes()
        return StoredBytes(inner.weights + own, inner.with_table + own)
