"""What every compressed embedding can do, whichever way it stores its rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from intarsia.errors import ConfigError, InputError

# Rows of the vocabulary that are rebuilt at once.
CHUNK = 4096


class StoredBytes(NamedTuple):
    """Bytes on disk.

    Attributes:
        weights: Of what is trained or quantised, when tables that can be computed again are not stored.
        with_table: The same with those tables.
    """

    weights: int
    with_table: int


class CompressedEmbedding(nn.Module, ABC):
    """An embedding of `num_embeddings` tokens whose rows are computed from fewer numbers than they have.

    Subclasses define `rows`. The output head is the same rows again: see `logits`.

    Args:
        num_embeddings: Number of tokens.
        embedding_dim: Length of a row.
        padding_idx: Token whose row is zero and has no gradient, if any.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None) -> None:
        super().__init__()
        if num_embeddings < 1:
            raise ConfigError("num_embeddings", num_embeddings, "1 or more")
        if embedding_dim < 1:
            raise ConfigError("embedding_dim", embedding_dim, "1 or more")
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ConfigError("padding_idx", padding_idx, f"a token id below {num_embeddings}")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings

    @property
    def settings(self) -> dict[str, Any]:
        """What makes an empty one of the same shape, as JSON values; see `registry.empty_embedding`."""
        return {
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "padding_idx": self.padding_idx,
        }

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.parameters(), next(self.buffers(), torch.empty(0))).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of its rows."""
        return next((parameter.dtype for parameter in self.parameters()), torch.float32)

    @abstractmethod
    def rows(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns the rows of tokens, none of which is asked for twice; padding is the caller's affair."""

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """Returns the rows of tokens. Each distinct token is computed once.

        Raises:
            InputError: If an id is out of range.
        """
        distinct, place = torch.unique(ids, return_inverse=True)
        self.check_ids(distinct)
        if distinct.numel() == ids.numel():
            return self._padded_rows(ids.flatten()).view(*ids.shape, self.embedding_dim)
        return nn.functional.embedding(place, self._padded_rows(distinct))

    def check_ids(self, ids: Int[Tensor, "*batch"]) -> None:
        """Checks that there are such tokens.

        Raises:
            InputError: If an id is out of range.
        """
        if not ids.numel():
            return
        low, high = (int(value) for value in torch.aminmax(ids))
        if low < 0 or high >= self.num_embeddings:
            raise InputError(
                f"token id {low if low < 0 else high} is out of range",
                where=f"{type(self).__name__} of {self.num_embeddings} tokens",
                fix="use the tokenizer the embedding was made for, or resize the embedding",
            )

    def logits(
        self, hidden: Float[Tensor, "*batch dim"], *, chunk: int = CHUNK
    ) -> Float[Tensor, "*batch num_embeddings"]:
        """Returns the products of hidden states with all rows, as a tied output head does.

        The rows are rebuilt a chunk at a time and, while training, rebuilt once more for the gradient, so the whole
        matrix is never there.

        Args:
            hidden: Hidden states.
            chunk: Rows that are rebuilt at once.
        """

        def part(hidden: Tensor, ids: Tensor) -> Tensor:
            return nn.functional.linear(hidden, self._padded_rows(ids))

        parts = []
        for ids in torch.split(torch.arange(self.num_embeddings, device=hidden.device), chunk):
            if torch.is_grad_enabled():
                parts.append(checkpoint(part, hidden, ids, use_reentrant=False))
            else:
                parts.append(part(hidden, ids))
        return torch.cat(parts, -1)

    def to_dense(self) -> Float[Tensor, "num_embeddings dim"]:
        """Returns the whole matrix, without a gradient."""
        with torch.no_grad():
            every = torch.arange(self.num_embeddings, device=self.device)
            return torch.cat([self._padded_rows(ids) for ids in torch.split(every, CHUNK)])

    def parameter_count(self) -> int:
        """Returns how many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters())

    def stored_bytes(self) -> StoredBytes:
        """Returns what the embedding takes on disk: its parameters and the buffers that are saved with them."""
        total = sum(tensor.numel() * tensor.element_size() for tensor in self.state_dict().values())
        return StoredBytes(total, total)

    def _padded_rows(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        rows = self.rows(ids)
        if self.padding_idx is None:
            return rows
        return rows.masked_fill((ids == self.padding_idx)[:, None], 0)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Products of several small numbers lose most of their digits in half precision.
        def keep_precision(tensor: Tensor) -> Tensor:
            made = fn(tensor)
            if tensor.dtype == torch.float32 and made.dtype in (torch.float16, torch.bfloat16):
                return tensor.to(made.device)
            return made

        return super()._apply(keep_precision, recurse)  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """Returns sizes for `print(model)`."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


def state_of(tensors: Iterable[Tensor]) -> tuple[Any, ...]:
    """Returns what is another once a tensor has changed: in-place changes count up its version, others its address.

    Tensors made in inference mode count no versions: in-place changes of these are not seen.
    """
    return tuple(
        (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version, tensor.device) for tensor in tensors
    )
