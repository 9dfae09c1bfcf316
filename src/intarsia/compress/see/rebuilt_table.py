"""Sums of tensor products as a saved model holds them: the table of terms is made again of what is smaller.

A table names one vector for every slot of 36 terms of every token and would be larger than the vectors. It follows
from the units of each token (a tenth of its size) and a seed, or from the seed alone.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from intarsia.compress.compressed_embedding import CompressedEmbedding, StoredBytes, state_of
from intarsia.compress.see.embedding import SEEEmbedding
from intarsia.compress.see.term_table import TermTable
from intarsia.compress.units import UnitConfig, UnitMap
from intarsia.compress.units.copies import Copying, cycle_terms, hashed_copies, repeat_terms
from intarsia.compress.units.special_cases import hashed_units
from intarsia.compress.units.token_strings import TokenStyle
from intarsia.errors import ConfigError, ModelError

_WORD, _FOUND = 1, 2


class RebuiltTableEmbedding(CompressedEmbedding):
    """A SEE embedding whose table is made when it is first needed, and again when what it follows from has changed.

    Args:
        see: The sums of products, without a stored table.
        table_digest: Hash of the table the vectors were fitted with; empty if that is not known.
    """

    def __init__(self, see: SEEEmbedding, table_digest: str = "") -> None:
        super().__init__(see.num_embeddings, see.embedding_dim, see.padding_idx)
        self.see = see
        self.table_digest = table_digest
        self._made_of: tuple[Any, ...] | None = None

    @abstractmethod
    def table(self) -> TermTable:
        """Makes the table of terms."""

    def rows(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns the rows of tokens."""
        self.prepare()
        return self.see.rows(ids)

    def prepare(self) -> None:
        """Makes the table, unless it is there.

        Raises:
            ModelError: If it is another than the one the vectors were fitted with.
        """
        # Whatever fills the buffers in (loading, copying, moving) changes their addresses or versions.
        made_of = (*state_of(self.buffers(recurse=False)), self.see.weight.device)
        if made_of != self._made_of:
            # What is made in inference mode could not be used where gradients are wanted.
            with torch.inference_mode(False):
                table = self.table()
                if self.table_digest and table.digest() != self.table_digest:
                    raise ModelError(
                        "the table of terms that follows from the stored units is not the one the vectors were fitted "
                        "with",
                        fix="load the files as they were saved; if they are unchanged, use the version that wrote them",
                    )
                self.see.set_table(table)
            self._made_of = made_of

    def stored_bytes(self) -> StoredBytes:
        """Returns the bytes of the trained numbers and of what the table is made of; and with the table itself."""
        own = sum(buffer.numel() * buffer.element_size() for buffer in self.buffers(recurse=False))
        see = self.see.stored_bytes()
        return StoredBytes(see.weights + own, see.with_table)


class UnitEmbedding(RebuiltTableEmbedding):
    """A SEE embedding and the units of its tokens.

    Args:
        see: Settings of an empty `SEEEmbedding`.
        names: Names of the units.
        own_terms: Terms a token has at most before they are repeated with other copies.
        record: Settings and hashes of the unit map.
        copies: How copies were shared out.
        seed: By which they were.
        table_digest: See `RebuiltTableEmbedding`.
    """

    unit_ids: Int[Tensor, "vocab terms order"]
    own_counts: Int[Tensor, "vocab"]
    copies_of_unit: Int[Tensor, "units"]
    exact_ids: Int[Tensor, "exact"]
    word_flags: Int[Tensor, "vocab"]

    def __init__(
        self,
        see: SEEEmbedding | Mapping[str, Any],
        names: tuple[str, ...],
        own_terms: int,
        record: Mapping[str, Any],
        copies: Copying = "assigned",
        seed: int = 0,
        table_digest: str = "",
    ) -> None:
        super().__init__(see if isinstance(see, SEEEmbedding) else SEEEmbedding(**see), table_digest)
        self.names, self.record = tuple(names), dict(record)
        self.copies, self.seed = copies, seed
        vocab, order = self.num_embeddings, self.see.order
        narrow = torch.int16 if len(self.names) < 2**15 else torch.int32
        self.register_buffer("unit_ids", torch.zeros(vocab, own_terms, order, dtype=narrow))
        self.register_buffer("own_counts", torch.zeros(vocab, dtype=torch.uint8))
        self.register_buffer("copies_of_unit", torch.ones(len(self.names), dtype=torch.int32))
        self.register_buffer("exact_ids", torch.zeros(len(self.see.exact_ids), dtype=torch.int32))
        self.register_buffer("word_flags", torch.zeros(vocab, dtype=torch.uint8))

    @classmethod
    def from_units(cls, see: SEEEmbedding, units: UnitMap, table: TermTable, copies: Copying, seed: int) -> Self:
        """Joins an embedding and the units its table was made of.

        Args:
            see: The embedding, made with `store_table=False`.
            units: The units of each token.
            table: The table made of them.
            copies: How its copies were shared out.
            seed: By which they were.

        Raises:
            ConfigError: If the embedding stores its table.
        """
        if see.store_table:
            raise ConfigError("store_table", True, "False: the table is made again")
        made = cls(see, units.names, units.units.shape[1], units.record(), copies, seed, table.digest())
        made.unit_ids.copy_(units.units)
        # A token's own terms stand in front.
        made.own_counts.copy_(units.mask.sum(1))
        made.copies_of_unit.copy_(table.copies_of_unit)
        made.exact_ids.copy_(table.exact)
        made.word_flags.copy_(_WORD * units.words + _FOUND * units.found)
        return made.to(see.weight.device)

    @property
    def settings(self) -> dict[str, Any]:
        """What makes an empty one of the same shape, as JSON values."""
        return {
            "see": self.see.settings,
            "names": list(self.names),
            "own_terms": self.unit_ids.shape[1],
            "record": self.record,
            "copies": self.copies,
            "seed": self.seed,
            "table_digest": self.table_digest,
        }

    @property
    def units(self) -> UnitMap:
        """The units of each token, as they were when the embedding was made."""
        unit_ids = self.unit_ids.cpu().int()
        flags = self.word_flags.cpu()
        return UnitMap(
            names=self.names,
            units=unit_ids,
            mask=torch.arange(unit_ids.shape[1])[None] < self.own_counts.cpu()[:, None],
            exact=self.exact_ids.cpu(),
            config=UnitConfig(**self.record["config"]),
            style=TokenStyle(self.record["style"]),
            words=flags & _WORD > 0,
            found=flags & _FOUND > 0,
            tokenizer_hash=self.record["tokenizer_hash"],
            lexicon_hash=self.record["lexicon_hash"],
        )

    def table(self) -> TermTable:
        """Makes the table of terms of the units, the copies they have and the seed."""
        units = self.units
        of_unit = self.copies_of_unit.cpu().long()
        if self.copies == "all":
            return TermTable(*repeat_terms(units.units, units.mask, int(of_unit[0])), of_unit, units.exact)
        numbers, mask = cycle_terms(units.units, units.mask, self.see.terms)
        return TermTable(numbers, hashed_copies(numbers, of_unit, self.seed), mask, of_unit, units.exact)


class HashedEmbedding(RebuiltTableEmbedding):
    """Sums of products of vectors that a hash picks: what a structure of units has to be measured against.

    Args:
        see: Settings of an empty `SEEEmbedding`.
        seed: Of the hash.
        table_digest: See `RebuiltTableEmbedding`.
    """

    def __init__(self, see: SEEEmbedding | Mapping[str, Any], seed: int = 0, table_digest: str = "") -> None:
        super().__init__(see if isinstance(see, SEEEmbedding) else SEEEmbedding(**see), table_digest)
        self.seed = seed

    @property
    def settings(self) -> dict[str, Any]:
        """What makes an empty one of the same shape, as JSON values."""
        return {"see": self.see.settings, "seed": self.seed, "table_digest": self.table_digest}

    def table(self) -> TermTable:
        """Makes the table of terms of the seed."""
        see = self.see
        return hashed_units(see.num_embeddings, len(see.weight), order=see.order, terms=see.terms, seed=self.seed)
