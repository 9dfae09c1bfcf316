"""Tokens of a compressed embedding that have dense rows: added behind the others, or in the place of some."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.compressed_embedding import CHUNK, CompressedEmbedding, StoredBytes
from intarsia.compress.registry import embedding_settings, empty_embedding
from intarsia.errors import ConfigError


class AddedRowsEmbedding(CompressedEmbedding):
    """A compressed embedding, and dense rows of tokens that were added later.

    Args:
        inner: The compressed embedding, or its settings.
        added: Number of tokens behind its own.
        replaced: Tokens of its own whose rows are replaced, such as ids that stood for nothing before.
    """

    def __init__(
        self, inner: CompressedEmbedding | Mapping[str, Any], added: int, replaced: Sequence[int] = ()
    ) -> None:
        inner = inner if isinstance(inner, CompressedEmbedding) else empty_embedding(inner)
        if added + len(replaced) < 1 or added < 0:
            raise ConfigError("added", added, "1 or more")
        super().__init__(inner.num_embeddings + added, inner.embedding_dim, inner.padding_idx)
        self.inner = inner
        self.replaced = tuple(replaced)
        self.dense = nn.Parameter(torch.zeros(len(self.replaced) + added, inner.embedding_dim))

    @classmethod
    def resized(cls, embedding: CompressedEmbedding, tokens: int) -> CompressedEmbedding:
        """Returns an embedding of so many tokens; new rows start as the mean row, those that are kept are as they were.

        Args:
            embedding: The embedding to enlarge, or to take added rows from.
            tokens: How many tokens it is to have.

        Raises:
            ConfigError: If rows would have to be taken from the compressed embedding itself.
        """
        inner, replaced = embedding, tuple[int, ...]()
        old = torch.zeros(0, embedding.embedding_dim)
        if isinstance(embedding, cls):
            inner, replaced, old = embedding.inner, embedding.replaced, embedding.dense.detach()
        added = tokens - inner.num_embeddings
        if added < 0:
            raise ConfigError(
                "the number of tokens", tokens, f"{inner.num_embeddings} or more, as many as were compressed"
            )
        if added == 0 and not replaced:
            return inner
        matrix = inner.to_dense()
        made = cls(inner, added, replaced)
        with torch.no_grad():
            made.dense.copy_(matrix.mean(0).expand_as(made.dense))
            kept = min(len(old), len(made.dense))
            made.dense[:kept] = old[:kept]
        return made.to(matrix.device, matrix.dtype)

    @classmethod
    def with_rows(cls, embedding: CompressedEmbedding, rows: Mapping[int, Float[Tensor, "dim"]]) -> CompressedEmbedding:
        """Returns an embedding in which some tokens have the given rows.

        Args:
            embedding: The embedding.
            rows: By token; those that it has not must follow its own without a gap.
        """
        if not rows:
            return embedding
        grown = cls.resized(embedding, max(embedding.num_embeddings, max(rows) + 1))
        inner = grown.inner if isinstance(grown, cls) else grown
        before = dict(zip(grown.dense_ids, grown.dense.detach(), strict=True)) if isinstance(grown, cls) else {}
        own = before | {token: row.to(inner.device) for token, row in rows.items()}
        replaced = sorted(token for token in own if token < inner.num_embeddings)
        made = cls(inner, grown.num_embeddings - inner.num_embeddings, replaced)
        with torch.no_grad():
            for place, token in enumerate(made.dense_ids):
                made.dense[place] = own[token]
        return made.to(inner.device, inner.dtype)

    @property
    def dense_ids(self) -> tuple[int, ...]:
        """The tokens that have dense rows, in the order of these."""
        return (*self.replaced, *range(self.inner.num_embeddings, self.num_embeddings))

    @property
    def settings(self) -> dict[str, Any]:
        """What makes an empty one of the same shape, as JSON values."""
        return {
            "inner": embedding_settings(self.inner),
            "added": self.num_embeddings - self.inner.num_embeddings,
            "replaced": list(self.replaced),
        }

    def rows(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns the rows of tokens."""
        places = torch.full((self.num_embeddings,), -1, device=ids.device)
        places[torch.tensor(self.dense_ids, device=ids.device)] = torch.arange(len(self.dense), device=ids.device)
        place = places[ids]
        is_dense = place >= 0
        dense = nn.functional.embedding(place[is_dense], self.dense)
        others = self.inner.rows(ids[~is_dense])
        rows = torch.zeros(len(ids), self.embedding_dim, dtype=dense.dtype, device=ids.device)
        rows = rows.index_put((is_dense.nonzero()[:, 0],), dense)
        return rows.index_put((is_dense.logical_not().nonzero()[:, 0],), others.to(dense.dtype))

    def logits(
        self, hidden: Float[Tensor, "*batch dim"], *, chunk: int = CHUNK
    ) -> Float[Tensor, "*batch num_embeddings"]:
        """Returns the products of hidden states with all rows."""
        inner = self.inner.logits(hidden.to(self.inner.dtype), chunk=chunk).to(hidden.dtype)
        dense = nn.functional.linear(hidden, self.dense)
        count = len(self.replaced)
        if count:
            places = torch.tensor(self.replaced, device=hidden.device)
            inner = inner.index_copy(-1, places, dense[..., :count])
        return torch.cat([inner, dense[..., count:]], -1)

    def to_dense(self) -> Float[Tensor, "num_embeddings dim"]:
        """Returns the whole matrix, without a gradient."""
        with torch.no_grad():
            count = len(self.replaced)
            matrix = torch.cat([self.inner.to_dense().to(self.dtype), self.dense[count:]])
            matrix[list(self.replaced)] = self.dense[:count]
            return matrix

    def stored_bytes(self) -> StoredBytes:
        """Returns the bytes of the compressed embedding and of the dense rows."""
        own = self.dense.numel() * self.dense.element_size()
        inner = self.inner.stored_bytes()
        return StoredBytes(inner.weights + own, inner.with_table + own)
