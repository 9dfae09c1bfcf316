"""Term tables of the methods that the sum of tensor products contains: word2ket, word2ketXS, MorphTE, and hashing."""

import math
from collections.abc import Sequence

import torch

from intarsia.compress.see.term_table import TermTable
from intarsia.compress.units.copies import assign_copies, hash_slots
from intarsia.compress.units.pieces import limit_pieces
from intarsia.errors import ConfigError, DataError, InputError

_NONE = torch.zeros(0, dtype=torch.int32)


def private_units(vocab: int, *, order: int, terms: int) -> TermTable:
    """Returns the terms of word2ket (arXiv 1911.04975, Eq. 2): units of its own for every token and slot.

    With order 1 and one term this is an ordinary embedding.

    Raises:
        ConfigError: If a size is below 1.
    """
    _at_least_one(vocab=vocab, order=order, terms=terms)
    units = torch.arange(vocab * order, dtype=torch.int32).view(vocab, 1, order).expand(-1, terms, -1)
    copies = torch.arange(terms, dtype=torch.int32)[None, :, None].expand_as(units)
    mask = torch.ones(vocab, terms, dtype=torch.bool)
    of_unit = torch.full((vocab * order,), terms)
    return TermTable(units.contiguous(), copies.contiguous(), mask, of_unit, _NONE)


def digit_units(vocab: int, radices: Sequence[int], *, terms: int) -> TermTable:
    """Returns the terms of word2ketXS (arXiv 1911.04975, Section 3.2): a token's units are the digits of its id.

    The matrix is then the first rows of a sum of `terms` Kronecker products.

    Args:
        vocab: Number of tokens.
        radices: How many values each digit has, the most significant first; their product is at least `vocab`.
        terms: Rank: number of Kronecker products.

    Raises:
        ConfigError: If a size is below 1, or the radices cannot count so many tokens.
    """
    _at_least_one(vocab=vocab, terms=terms, order=len(radices), radices=min(radices, default=0))
    if math.prod(radices) < vocab:
        raise ConfigError("radices", tuple(radices), f"numbers whose product is {vocab} or more, the number of tokens")
    digits, rest = [], torch.arange(vocab, dtype=torch.int32)
    for radix in reversed(radices):
        digits.append(rest % radix)
        rest = rest // radix
    first = torch.tensor([sum(radices[:slot]) for slot in range(len(radices))], dtype=torch.int32)
    units = (torch.stack(digits[::-1], 1) + first)[:, None].expand(-1, terms, -1)
    copies = torch.arange(terms, dtype=torch.int32)[None, :, None].expand_as(units)
    mask = torch.ones(vocab, terms, dtype=torch.bool)
    return TermTable(units.contiguous(), copies.contiguous(), mask, torch.full((sum(radices),), terms), _NONE)


def piece_units(pieces: Sequence[Sequence[str]], *, order: int = 3, terms: int) -> TermTable:
    """Returns the terms of MorphTE (arXiv 2210.15379, Eq. 6): a token's pieces, `terms` times with other copies.

    Pieces beyond the order are joined with the last; places without a piece hold learned units of their own, for a
    zero would make the whole product zero.

    Raises:
        DataError: If a token has no piece; the message names it.
        ConfigError: If a size is below 1.
    """
    _at_least_one(order=order, terms=terms, vocab=len(pieces))
    names: dict[str, int] = {}
    rows = []
    for token, of_token in enumerate(pieces):
        if not of_token or not all(of_token):
            raise DataError(f"token {token} has no pieces, or an empty one", field="pieces")
        kept = [f"piece:{piece}" for piece in limit_pieces(of_token, order)]
        kept += [f"pad:{place + 1}" for place in range(len(kept), order)]
        rows.append([names.setdefault(name, len(names)) for name in kept])
    units = torch.tensor(rows, dtype=torch.int32)[:, None]
    mask = torch.ones(len(rows), 1, dtype=torch.bool)
    return assign_copies(units, mask, terms * len(names), how="all")


def hashed_units(vocab: int, num_units: int, *, order: int, terms: int, seed: int = 0) -> TermTable:
    """Returns terms that say nothing about the tokens: a hash picks the unit of every slot.

    What structured units win over these is what the structure is worth.

    Raises:
        ConfigError: If a size is below 1.
        InputError: If there are more units than slots to fill.
    """
    _at_least_one(vocab=vocab, num_units=num_units, order=order, terms=terms)
    if num_units > vocab * terms * order:
        raise InputError(
            f"{num_units} units for {vocab * terms * order} slots", where="num_units", fix="ask for fewer units"
        )
    units = torch.from_numpy((hash_slots((vocab, terms, order), seed) % num_units).astype("int32"))
    copies, mask = torch.zeros_like(units), torch.ones(vocab, terms, dtype=torch.bool)
    return TermTable(units, copies, mask, torch.ones(num_units, dtype=torch.long), _NONE)


def _at_least_one(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(name, size, "1 or more")
