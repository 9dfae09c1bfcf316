"""Which units make up each token: the table of terms that a sum of tensor products is built from."""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from intarsia.errors import InputError


class PackedTerms(NamedTuple):
    """A term table as the layer reads it.

    Attributes:
        rows: Row of the trained table that stands in each slot of each term.
        active: How many terms a token has: the first so many.
    """

    rows: Int[Tensor, "vocab order terms"]
    active: Int[Tensor, "vocab"]


@dataclass(frozen=True, eq=False)
class TermTable:
    """For every token its terms, each a unit and one of the unit's copies (its vectors) for every slot of the product.

    Attributes:
        units: Unit of each slot. Where `mask` is off the number is ignored, but it must be a unit's.
        copies: Which of the unit's copies stands in that slot, counted from 0.
        mask: Which terms a token has. A token with a dense row of its own has none.
        copies_of_unit: How many copies each unit has, 1 or more.
        exact: Ids of the tokens that have dense rows of their own, in the order of those rows; may be empty.

    Raises:
        InputError: If shapes differ or a number is out of range. The message names the token.
    """

    units: Int[Tensor, "vocab terms order"]
    copies: Int[Tensor, "vocab terms order"]
    mask: Bool[Tensor, "vocab terms"]
    copies_of_unit: Int[Tensor, "units"]
    exact: Int[Tensor, "exact"]

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_range("unit", self.units, len(self.copies_of_unit))
        if len(self.copies_of_unit) and int(self.copies_of_unit.min()) < 1:
            unit = int(self.copies_of_unit.argmin())
            raise InputError(f"unit {unit} has no copies", where="copies_of_unit", fix="give every unit 1 or more")
        _check_range("copy", self.copies, _of_units(self.copies_of_unit.int(), self.units))
        _check_exact(self)

    @property
    def num_embeddings(self) -> int:
        """Number of tokens."""
        return self.units.shape[0]

    @property
    def terms(self) -> int:
        """Largest number of terms a token can have."""
        return self.units.shape[1]

    @property
    def order(self) -> int:
        """Number of slots of a term."""
        return self.units.shape[2]

    @property
    def num_units(self) -> int:
        """Number of units."""
        return len(self.copies_of_unit)

    @property
    def num_rows(self) -> int:
        """Number of vectors of all units: the rows of the table that is trained."""
        return int(self.copies_of_unit.sum())

    @property
    def rows(self) -> Int[Tensor, "vocab terms order"]:
        """Row of the trained table that stands in each slot: the unit's first row plus the copy."""
        first = self.copies_of_unit.cumsum(0) - self.copies_of_unit
        return _of_units(first.int(), self.units).add_(self.copies)

    def packed(self) -> PackedTerms:
        """Returns the rows slot by slot, with the terms that a token has in front of those it has not."""
        rows = self.rows
        if not bool((self.mask[:, :-1] >= self.mask[:, 1:]).all()):
            order = torch.argsort(~self.mask, dim=1, stable=True)
            rows = rows.gather(1, order[..., None].expand_as(rows))
        return PackedTerms(rows.transpose(1, 2).contiguous(), self.mask.sum(1).int())

    def take(self, ids: Int[Tensor, "tokens"]) -> Self:
        """Returns the table of some tokens only, renumbered in the order given; units and copies stay as they are."""
        ids = ids.long()
        place = torch.full((self.num_embeddings,), -1, dtype=torch.long)
        place[ids] = torch.arange(len(ids))
        kept = place[self.exact.long()]
        return type(self)(self.units[ids], self.copies[ids], self.mask[ids], self.copies_of_unit, kept[kept >= 0])

    def digest(self) -> str:
        """Returns the SHA-256 of the table, by which a saved model knows that the table it makes again is the same."""
        total = hashlib.sha256()
        for tensor in (self.units, self.copies, self.mask, self.copies_of_unit, self.exact):
            total.update(repr(tuple(tensor.shape)).encode())
            total.update(tensor.to("cpu", torch.int32).contiguous().numpy().tobytes())
        return total.hexdigest()


def _of_units(
    values: Int[Tensor, "units"], units: Int[Tensor, "vocab terms order"]
) -> Int[Tensor, "vocab terms order"]:
    """The value of each unit. Large tables have millions of entries, so they stay as narrow as they are."""
    places = units if units.dtype in (torch.int32, torch.int64) else units.int()
    return values.index_select(0, places.flatten()).view(units.shape)


def _check_shapes(table: TermTable) -> None:
    shapes = {name: tuple(getattr(table, name).shape) for name in ("units", "copies", "mask", "copies_of_unit")}
    if len(shapes["units"]) != 3 or min(shapes["units"][1:]) < 1:
        raise InputError(
            f"units has shape {shapes['units']}", where="units", fix="give (vocab, terms, order), 1 or more terms"
        )
    for name, expected in (("copies", shapes["units"]), ("mask", shapes["units"][:2])):
        if shapes[name] != expected:
            raise InputError(f"{name} has shape {shapes[name]}, but units asks for {expected}", where=name)
    if table.mask.dtype != torch.bool:
        raise InputError(f"mask has type {table.mask.dtype}", where="mask", fix="give booleans")
    for name in ("copies_of_unit", "exact"):
        if getattr(table, name).dim() != 1:
            raise InputError(f"{name} has shape {tuple(getattr(table, name).shape)}", where=name, fix="give one axis")
    for name in ("units", "copies", "copies_of_unit", "exact"):
        dtype = getattr(table, name).dtype
        if dtype.is_floating_point or dtype.is_complex or dtype == torch.bool:
            raise InputError(f"{name} has type {dtype}", where=name, fix="give whole numbers")


def _check_range(what: str, values: Int[Tensor, "vocab terms order"], limit: Tensor | int) -> None:
    wrong = (values < 0) | (values >= limit)
    if not bool(wrong.any()):
        return
    token, term, slot = (int(index) for index in wrong.nonzero()[0])
    most = int(limit[token, term, slot]) if isinstance(limit, Tensor) else limit
    raise InputError(
        f"{what} {int(values[token, term, slot])} is out of range: there are {most}",
        where=f"token {token}, term {term}, slot {slot}",
        fix=f"use {what} numbers from 0 to {most - 1}" if most else f"give at least one {what}",
    )


def _check_exact(table: TermTable) -> None:
    exact, vocab = table.exact, table.num_embeddings
    outside = exact[(exact < 0) | (exact >= vocab)]
    if len(outside):
        raise InputError(
            f"token id {int(outside[0])} is out of range", where="exact", fix=f"use ids from 0 to {vocab - 1}"
        )
    values, counts = torch.unique(exact, return_counts=True)
    if len(values) < len(exact):
        raise InputError(f"token id {int(values[counts.argmax()])} is listed twice", where="exact", fix="list it once")
    dense = torch.zeros(vocab, dtype=torch.bool)
    dense[exact.long()] = True
    has_terms = table.mask.any(1)
    for wrong, what, fix in (
        (dense & has_terms, "has a dense row and terms", "turn off the mask of its terms, or take it out of exact"),
        (~dense & ~has_terms, "has neither a term nor a dense row", "give it a term, or list it in exact"),
    ):
        if bool(wrong.any()):
            raise InputError(f"token {int(wrong.nonzero()[0])} {what}", where="mask", fix=fix)
