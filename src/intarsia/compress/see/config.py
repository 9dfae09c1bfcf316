"""What a layer of sememe entanglement encoding adds to its products, and how long their vectors are."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self

from intarsia.errors import ConfigError, UnknownNameError


@dataclass(frozen=True)
class SEEConfig:
    """Settings of `SEEEmbedding`; which units make up a token says a `TermTable`.

    Attributes:
        slot_sizes: Length of the vector in each slot of a product; they multiply to the length of a row or more. None:
            a factorisation into like sizes, as 576 = 8 * 8 * 9; see `factorise`.
        mean: Whether a vector is added to all rows. A pretrained matrix has much of its energy in its mean row.
        token_scale: Whether the products of each token have a factor of their own.
        lowrank: Rank of a matrix that is added to the products (hybrid of SEE and a truncated SVD); 0 for none.
        layernorm: Whether rows are normalised at the end (MorphTE, which has no mean). For training from scratch.
        seed: Of the first values.
    """

    slot_sizes: tuple[int, ...] | None = None
    mean: bool = True
    token_scale: bool = False
    lowrank: int = 0
    layernorm: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lowrank", "seed"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigError(name, value, "a whole number, 0 or more")
        if self.slot_sizes is not None:
            # JSON and YAML have lists.
            sizes = tuple(self.slot_sizes)
            object.__setattr__(self, "slot_sizes", sizes)
            if not sizes or not all(isinstance(size, int) and size >= 1 for size in sizes):
                raise ConfigError("slot_sizes", list(sizes), "whole numbers, 1 or more, one for each slot")

    def sizes(self, embedding_dim: int, order: int) -> tuple[int, ...]:
        """Returns the length of the vector in each slot.

        Args:
            embedding_dim: Length of a row.
            order: Slots of a product.

        Raises:
            ConfigError: If the sizes given are not as many, or multiply to less than the length of a row.
        """
        if self.slot_sizes is None:
            return factorise(embedding_dim, order)
        if len(self.slot_sizes) != order:
            raise ConfigError("slot_sizes", list(self.slot_sizes), f"{order} numbers, as many as a term has slots")
        if math.prod(self.slot_sizes) < embedding_dim:
            raise ConfigError(
                "slot_sizes", list(self.slot_sizes), f"sizes whose product is {embedding_dim} or more, a row's length"
            )
        return self.slot_sizes

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Makes settings of what `to_dict` gave.

        Raises:
            UnknownNameError: If there is no such setting.
        """
        for name in values:
            if name not in cls.__dataclass_fields__:
                raise UnknownNameError("setting of SEE", name, cls.__dataclass_fields__)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON values."""
        values = asdict(self)
        if self.slot_sizes is not None:
            values["slot_sizes"] = list(self.slot_sizes)
        return values


def factorise(dim: int, order: int) -> tuple[int, ...]:
    """Returns `order` sizes, in rising order, whose product is `dim` or slightly more.

    The unit table is as wide as the largest size, so like sizes waste least. An exact factorisation is taken when its
    largest factor is at most 1.5 times `ceil(dim ** (1 / order))`, the size that truncation needs; primes and such
    are rounded up and truncated, as word2ket and MorphTE do for all.

    Raises:
        ConfigError: If `dim` or `order` is below 1.
    """
    for name, value in (("embedding_dim", dim), ("order", order)):
        if value < 1:
            raise ConfigError(name, value, "1 or more")
    # A float root of 4096 may be 15.999 or 16.001.
    root = next(size for size in range(max(1, round(dim ** (1 / order)) - 1), dim + 1) if size**order >= dim)
    exact = min(factorisations(dim, order), key=lambda sizes: (sizes[-1], -sizes[0]))
    if exact[-1] <= 1.5 * root:
        return exact
    sizes = [root] * order
    for slot in range(order):
        while math.prod(sizes) // sizes[slot] * (sizes[slot] - 1) >= dim:
            sizes[slot] -= 1
    return tuple(sorted(sizes))


def factorisations(number: int, parts: int, least: int = 1) -> Iterator[tuple[int, ...]]:
    """Yields all ways to write a number as a product of `parts` factors in rising order, none below `least`."""
    if parts == 1:
        if number >= least:
            yield (number,)
        return
    first = least
    while first**parts <= number:
        if number % first == 0:
            for rest in factorisations(number // first, parts - 1, first):
                yield (first, *rest)
        first += 1
