"""How many vectors units may have, so that an embedding becomes as small as was asked for."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from intarsia.compress.ratio import UnreachableRatioError, check_ratio
from intarsia.compress.see.config import SEEConfig
from intarsia.errors import ConfigError

# Bytes of a number of the dense matrix and of the unit vectors (float32), and of an entry of the table of terms.
_NUMBER, _ENTRY = 4, 4


@dataclass(frozen=True)
class BudgetPlan:
    """What an embedding of a given ratio consists of.

    Attributes:
        num_embeddings: Number of tokens.
        embedding_dim: Length of a row.
        slot_sizes: Length of the vector in each slot.
        num_rows: Vectors of all units together: what to give `UnitMap.term_table`.
        terms: Terms of a token, at most.
        num_exact: Tokens with dense rows.
        parameters: Numbers that are trained.
    """

    num_embeddings: int
    embedding_dim: int
    slot_sizes: tuple[int, ...]
    num_rows: int
    terms: int
    num_exact: int
    parameters: int

    @property
    def parameter_ratio(self) -> float:
        """How many times fewer numbers than the dense matrix."""
        return self.num_embeddings * self.embedding_dim / self.parameters

    @property
    def table_bytes(self) -> int:
        """Bytes of the table of terms as the layer stores it: a row of every slot, a count, the ids of exact tokens."""
        entries = self.num_embeddings * (self.terms * len(self.slot_sizes) + 1) + self.num_exact
        return _ENTRY * entries

    @property
    def byte_ratio(self) -> float:
        """How many times fewer bytes when neither the table nor the units it is made of are stored.

        A saved model stores the units; `CompressionReport` counts them.
        """
        return self.parameter_ratio

    @property
    def byte_ratio_with_table(self) -> float:
        """How many times fewer bytes when the table is stored."""
        dense = _NUMBER * self.num_embeddings * self.embedding_dim
        return dense / (_NUMBER * self.parameters + self.table_bytes)

    def to_dict(self) -> dict[str, Any]:
        """Returns the plan and its three ratios as JSON values."""
        return {
            "num_rows": self.num_rows,
            "slot_sizes": list(self.slot_sizes),
            "terms": self.terms,
            "parameters": self.parameters,
            "parameter_ratio": self.parameter_ratio,
            "byte_ratio": self.byte_ratio,
            "byte_ratio_with_table": self.byte_ratio_with_table,
        }


def plan_budget(
    num_embeddings: int,
    embedding_dim: int,
    ratio: float,
    *,
    num_units: int,
    order: int,
    terms: int,
    num_exact: int = 0,
    copies: Literal["assigned", "all"] = "assigned",
    config: SEEConfig | None = None,
) -> BudgetPlan:
    """Divides the numbers a ratio allows among the parts of an embedding; what the others leave is the units'.

    Args:
        num_embeddings: Number of tokens.
        embedding_dim: Length of a row.
        ratio: How many times fewer numbers than the dense matrix there may be.
        num_units: Number of units, each of which needs a vector.
        order: Slots of a term.
        terms: Terms of a token; with `all`, of its own, before they are taken again with each copy.
        num_exact: Tokens with dense rows.
        copies: How copies are shared out; `all` gives each unit the same number.
        config: What is added to the products.

    Raises:
        ConfigError: If the ratio is not above 1, or a size is below 1.
        UnreachableRatioError: If units would be left without a vector. The message names the largest ratio there is.
    """
    config = config or SEEConfig()
    check_ratio(ratio)
    for name, value in (("num_embeddings", num_embeddings), ("num_units", num_units), ("terms", terms)):
        if value < 1:
            raise ConfigError(name, value, "1 or more")
    if not 0 <= num_exact <= num_embeddings:
        raise ConfigError("num_exact", num_exact, f"between 0 and {num_embeddings}, the number of tokens")
    sizes = config.sizes(embedding_dim, order)
    dense = num_embeddings * embedding_dim
    others = _other_parameters(num_embeddings, embedding_dim, num_exact, config)
    rows = math.floor((dense / ratio - others) / max(sizes))
    if rows < num_units:
        raise UnreachableRatioError(
            ratio,
            f"{max(rows, 0)} vectors for {num_units} units",
            largest_ratio(num_embeddings, embedding_dim, num_units, order, num_exact, config),
            where=f"budget of {num_embeddings} tokens of {embedding_dim} numbers",
            instead="fewer units (lower `merges`), exact tokens or ranks",
        )
    if copies == "all":
        each = rows // num_units
        rows, terms = each * num_units, each * terms
    parameters = rows * max(sizes) + others
    return BudgetPlan(num_embeddings, embedding_dim, sizes, rows, terms, num_exact, parameters)


def largest_ratio(
    num_embeddings: int, embedding_dim: int, num_units: int, order: int, num_exact: int, config: SEEConfig
) -> float:
    """Returns how many times smaller than the dense matrix it gets with one vector for each unit; see `plan_budget`."""
    others = _other_parameters(num_embeddings, embedding_dim, num_exact, config)
    return num_embeddings * embedding_dim / (others + num_units * max(config.sizes(embedding_dim, order)))


def _other_parameters(num_embeddings: int, embedding_dim: int, num_exact: int, config: SEEConfig) -> int:
    return (
        num_exact * embedding_dim
        + config.lowrank * (num_embeddings + embedding_dim)
        + config.mean * embedding_dim
        + config.token_scale * num_embeddings
        + config.layernorm * 2 * embedding_dim
    )
