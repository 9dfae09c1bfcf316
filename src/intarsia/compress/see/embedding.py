"""Sememe entanglement encoding: rows that are sums of tensor products of shared vectors."""

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.compressed_embedding import CompressedEmbedding, StoredBytes
from intarsia.compress.rivals.factorisation import check_matrix, truncated_svd
from intarsia.compress.see.config import SEEConfig
from intarsia.compress.see.contraction import inner_products, sum_of_products
from intarsia.compress.see.initialisation import draw, unit_deviation
from intarsia.compress.see.term_table import TermTable
from intarsia.errors import ConfigError, InputError, ModelError


class SEEEmbedding(CompressedEmbedding):
    """An embedding whose rows are sums of tensor products of the vectors of units that tokens share (SEE).

        e_w = mean + scale_w * sum_k W[i_wk1] (x) ... (x) W[i_wko] + Z_w P

    cut to the length of a row; all but the sum is optional. Tokens listed as exact have dense rows instead. With terms
    of their kind this is word2ket, word2ketXS or MorphTE (`intarsia.compress.units` has the tables).

    Everything is kept and computed in float32, also in a model of half precision: products of several small numbers
    would lose most of their digits.

    Most are made by `from_table` or `from_matrix`; the arguments here are the shapes of one that is filled in later.

    Args:
        num_embeddings: Number of tokens.
        embedding_dim: Length of a row.
        slot_sizes: Length of the vector in each slot.
        terms: Largest number of terms a token has.
        num_rows: Number of vectors of all units.
        num_exact: Number of tokens with dense rows.
        config: What is added to the products.
        padding_idx: Token whose row is zero, if any.
        store_table: Whether `state_dict` holds the table of terms. Where not, it is to be given again by `set_table`.

    Attributes:
        weight: The vectors of all units, as long as the largest slot.
        mean: Added to all rows; None if there is none, as for the following.
        scale: Factor of each token's products.
        token_factors: `Z` of the added matrix of low rank.
        shared_factors: `P` of it.
        exact: Dense rows, by rising token id.
        norm: Final normalisation.
    """

    index: Int[Tensor, "vocab order terms"]
    active: Int[Tensor, "vocab"]
    exact_ids: Int[Tensor, "exact"]

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        slot_sizes: Sequence[int],
        terms: int,
        num_rows: int,
        num_exact: int = 0,
        *,
        config: SEEConfig | dict[str, Any] | None = None,
        padding_idx: int | None = None,
        store_table: bool = True,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx)
        config = SEEConfig.from_dict(config) if isinstance(config, dict) else config or SEEConfig()
        self.config = config
        self.slot_sizes = tuple(slot_sizes)
        if math.prod(self.slot_sizes) < embedding_dim:
            raise ConfigError("slot_sizes", list(slot_sizes), f"sizes whose product is {embedding_dim} or more")
        self.store_table = store_table

        def empty(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape, dtype=torch.float32))

        self.weight = empty(num_rows, max(self.slot_sizes))
        self.mean = empty(embedding_dim) if config.mean else None
        self.scale = empty(num_embeddings) if config.token_scale else None
        self.token_factors = empty(num_embeddings, config.lowrank) if config.lowrank else None
        self.shared_factors = empty(config.lowrank, embedding_dim) if config.lowrank else None
        self.exact = empty(num_exact, embedding_dim) if num_exact else None
        self.norm = nn.LayerNorm(embedding_dim, dtype=torch.float32) if config.layernorm else None
        index = torch.zeros(num_embeddings, len(self.slot_sizes), terms, dtype=torch.int32)
        self.register_buffer("index", index, persistent=store_table)
        self.register_buffer("active", torch.zeros(num_embeddings, dtype=torch.int32), persistent=store_table)
        self.register_buffer("exact_ids", torch.zeros(num_exact, dtype=torch.int32), persistent=store_table)

    @classmethod
    def from_table(
        cls,
        table: TermTable,
        embedding_dim: int,
        config: SEEConfig | None = None,
        *,
        deviation: float | None = None,
        padding_idx: int | None = None,
        store_table: bool = True,
    ) -> Self:
        """Makes an embedding to be trained from scratch.

        Args:
            table: Terms of every token.
            embedding_dim: Length of a row.
            config: What is added to the products.
            deviation: Standard deviation of the entries of rows at first; `embedding_dim ** -0.5` by default.
            padding_idx: Token whose row is zero, if any.
            store_table: Whether `state_dict` holds the table.

        Raises:
            ConfigError: If a setting does not go with the table.
        """
        config = config or SEEConfig()
        sizes = config.sizes(embedding_dim, table.order)
        made = cls(
            table.num_embeddings,
            embedding_dim,
            sizes,
            table.terms,
            table.num_rows,
            len(table.exact),
            config=config,
            padding_idx=padding_idx,
            store_table=store_table,
        )
        made.set_table(table)
        made.reset_parameters(embedding_dim**-0.5 if deviation is None else deviation)
        return made

    @classmethod
    def from_matrix(
        cls,
        matrix: Float[Tensor, "vocab dim"],
        table: TermTable,
        config: SEEConfig | None = None,
        *,
        padding_idx: int | None = None,
        store_table: bool = True,
    ) -> Self:
        """Makes an embedding to be fitted to a matrix: its mean, its exact rows and the low rank part are set.

        The low rank part is the truncated SVD of what the mean leaves; the products are drawn so that their entries
        vary as what is left then.

        Args:
            matrix: The trained matrix.
            table: Terms of every token.
            config: What is added to the products.
            padding_idx: Token whose row is zero, if any.
            store_table: Whether `state_dict` holds the table.

        Raises:
            ModelError: If the matrix has another number of rows than the table, or holds NaN or infinity.
        """
        if len(matrix) != table.num_embeddings:
            raise ModelError(
                f"the matrix has {len(matrix)} rows, but the table has the terms of {table.num_embeddings} tokens",
                fix="build the table for the vocabulary of the matrix, rows beyond the last token included",
            )
        check_matrix(matrix)
        made = cls.from_table(table, matrix.shape[1], config, padding_idx=padding_idx, store_table=store_table).to(
            matrix.device
        )
        ordinary = torch.ones(len(matrix), dtype=torch.bool, device=matrix.device)
        ordinary[table.exact.long()] = False
        if made.padding_idx is not None:
            ordinary[made.padding_idx] = False
        with torch.no_grad():
            target = matrix.float()
            if made.exact is not None:
                made.exact.copy_(target[made.exact_ids.long()])
            if made.mean is not None:
                made.mean.copy_(target[ordinary].mean(0))
                target = target - made.mean
            if made.token_factors is not None and made.shared_factors is not None:
                factors = truncated_svd(target * ordinary[:, None], made.config.lowrank)
                made.token_factors.copy_(factors.left)
                made.shared_factors.copy_(factors.right)
                target = target - factors.left @ factors.right
            made.reset_products(float(target[ordinary].std()))
        return made

    @property
    def order(self) -> int:
        """Vectors in a product."""
        return len(self.slot_sizes)

    @property
    def terms(self) -> int:
        """Largest number of terms a token has."""
        return self.index.shape[2]

    @property
    def settings(self) -> dict[str, Any]:
        """What makes an empty one of the same shape, as JSON values."""
        return {
            **super().settings,
            "slot_sizes": list(self.slot_sizes),
            "terms": self.terms,
            "num_rows": len(self.weight),
            "num_exact": len(self.exact_ids),
            "config": self.config.to_dict(),
            "store_table": self.store_table,
        }

    def set_table(self, table: TermTable) -> None:
        """Says what the tokens are made of; for an embedding whose table is not stored, after loading it.

        Raises:
            ModelError: If the table has other sizes than this embedding was made for.
        """
        for name, has, needs in (
            ("tokens", table.num_embeddings, self.num_embeddings),
            ("slots in a term", table.order, self.order),
            ("terms", table.terms, self.terms),
            ("vectors", table.num_rows, len(self.weight)),
            ("exact tokens", len(table.exact), len(self.exact_ids)),
        ):
            if has != needs:
                raise ModelError(
                    f"the table has {has} {name}, but the embedding {needs}",
                    where="set_table",
                    fix="build the table with the same tokenizer, lexicon, settings and seed as the embedding's",
                )
        index, active = table.packed()
        device = self.weight.device
        # Assigned rather than copied: a model that is being loaded may hold them on no device yet.
        self.index, self.active = index.to(device), active.to(device)
        self.exact_ids = table.exact.sort().values.int().to(device)

    def reset_parameters(self, deviation: float) -> None:
        """Draws everything anew; entries of rows then have this standard deviation."""
        with torch.no_grad():
            self.reset_products(deviation)
            if self.scale is not None:
                self.scale.fill_(1.0)
            if self.mean is not None:
                self.mean.zero_()
            if self.token_factors is not None and self.shared_factors is not None:
                # Starts from nothing, but with a gradient, as an adapter's second factor does.
                self.token_factors.zero_()
                draw(self.shared_factors, self.config.lowrank**-0.5, self.config.seed + 1)
            if self.exact is not None:
                draw(self.exact, deviation, self.config.seed + 2)

    def reset_products(self, deviation: float) -> None:
        """Draws the unit vectors anew, so that entries of the sums of products have this standard deviation."""
        counts = self.active[self.active > 0].float()
        terms = float(counts.mean()) if len(counts) else 1.0
        draw(self.weight, unit_deviation(deviation, terms, self.order), self.config.seed)

    # Rows and logits

    def products(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns the sums of products alone, cut to the length of a row."""
        made = sum_of_products(self.weight, self.index.index_select(0, ids), self.active[ids], self.slot_sizes)
        return made[:, : self.embedding_dim]

    def rows(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns the rows of tokens."""
        # Under autocast products would be taken in half precision.
        with torch.autocast(self.weight.device.type, enabled=False):
            made = self.products(ids)
            if self.scale is not None:
                made = made * self.scale[ids, None]
            if self.token_factors is not None and self.shared_factors is not None:
                made = made + nn.functional.embedding(ids, self.token_factors) @ self.shared_factors
            if self.mean is not None:
                made = made + self.mean
            if self.norm is not None:
                made = self.norm(made)
            if self.exact is not None:
                place, is_exact = self._exact_places(ids)
                made = torch.where(is_exact[:, None], nn.functional.embedding(place, self.exact), made)
        return made

    def contracted_logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch num_embeddings"]:
        """Returns the same as `logits` without building rows: each vector is contracted with the hidden states.

        Costs as many times a dense head's arithmetic as a token has terms, for each hidden state; `logits` builds rows
        once for all of them. So this is for few terms and few states.

        Raises:
            ModelError: If rows are normalised, which is no sum over terms.
        """
        if self.norm is not None:
            raise ModelError("logits cannot be contracted term by term where rows are normalised", fix="use `logits`")
        with torch.autocast(self.weight.device.type, enabled=False):
            states = hidden.reshape(-1, self.embedding_dim).float()
            whole = nn.functional.pad(states, (0, math.prod(self.slot_sizes) - self.embedding_dim))
            made = inner_products(whole, self.weight, self.index, self.active, self.slot_sizes)
            if self.scale is not None:
                made = made * self.scale
            if self.token_factors is not None and self.shared_factors is not None:
                made = made + (states @ self.shared_factors.T) @ self.token_factors.T
            if self.mean is not None:
                made = made + (states @ self.mean)[:, None]
            if self.exact is not None:
                made = made.index_copy(1, self.exact_ids.long(), states @ self.exact.T)
            if self.padding_idx is not None:
                ids = torch.arange(self.num_embeddings, device=made.device)
                made = made.masked_fill(ids == self.padding_idx, 0)
        return made.view(*hidden.shape[:-1], -1)

    # Sizes

    def stored_bytes(self) -> StoredBytes:
        """Returns the bytes of the trained numbers, and with the table of terms."""
        weights = sum(parameter.numel() * parameter.element_size() for parameter in self.parameters())
        table = sum(buffer.numel() * buffer.element_size() for buffer in (self.index, self.active, self.exact_ids))
        return StoredBytes(weights, weights + table)

    def resize(self, table: TermTable) -> Self:
        """Returns an embedding of more or fewer tokens that keeps what this one has learnt.

        Units that are new are expected behind the old ones, so that the old keep their vectors.

        Args:
            table: Terms of all tokens of the new vocabulary. Those that both have must have the same terms.

        Raises:
            InputError: If a token that both have has other terms, or became exact or ceased to be.
        """
        kept = min(table.num_embeddings, self.num_embeddings)
        self._check_same(table, kept)
        made = (
            type(self)
            .from_table(
                table,
                self.embedding_dim,
                SEEConfig.from_dict({**self.config.to_dict(), "slot_sizes": self.slot_sizes}),
                padding_idx=self.padding_idx if self.padding_idx is not None and self.padding_idx < kept else None,
                store_table=self.store_table,
            )
            .to(self.weight.device)
        )
        with torch.no_grad():
            dense = self.to_dense()
            made.reset_parameters(float(dense.std()) or self.embedding_dim**-0.5)
            rows = min(len(self.weight), len(made.weight))
            made.weight[:rows] = self.weight[:rows]
            for name in ("scale", "token_factors"):
                if getattr(self, name) is not None:
                    getattr(made, name)[:kept] = getattr(self, name)[:kept]
            for name in ("mean", "shared_factors"):
                if getattr(self, name) is not None:
                    getattr(made, name).copy_(getattr(self, name))
            if made.norm is not None and self.norm is not None:
                made.norm.load_state_dict(self.norm.state_dict())
            if made.exact is not None:
                # A new token that is exact starts at the mean, as transformers lets new rows start.
                made.exact.copy_(dense.mean(0).expand_as(made.exact))
                old = made.exact_ids < kept
                made.exact[old] = dense[made.exact_ids[old].long()]
            for name, parameter in self.named_parameters():
                made.get_parameter(name).requires_grad_(parameter.requires_grad)
        return made.train(self.training)

    def _check_same(self, table: TermTable, kept: int) -> None:
        index, active = (part[:kept].to(self.index.device) for part in table.packed())
        terms = min(index.shape[2], self.terms)
        own = torch.arange(terms, device=active.device) < active[:, None]
        same = active == self.active[:kept]
        if index.shape[1] == self.order:
            same &= ((index[:, :, :terms] == self.index[:kept, :, :terms]) | ~own[:, None]).all(2).all(1)
        else:
            same[:] = False
        if not bool(same.all()):
            raise InputError(
                f"token {int((~same).nonzero()[0])} has other terms than before",
                where="resize",
                fix="append new tokens, units and copies behind the old ones, and leave those as they are",
            )

    def _exact_places(self, ids: Int[Tensor, "tokens"]) -> tuple[Int[Tensor, "tokens"], Tensor]:
        """For each token its row in `exact`, which is only right where the second result says that it has one."""
        place = torch.searchsorted(self.exact_ids, ids.int()).clamp(max=len(self.exact_ids) - 1)
        return place, self.exact_ids[place] == ids

    def extra_repr(self) -> str:
        """Returns sizes for `print(model)`."""
        sizes = " x ".join(map(str, self.slot_sizes))
        return f"{super().extra_repr()}, slots {sizes}, {self.terms} terms, {len(self.weight)} vectors"
