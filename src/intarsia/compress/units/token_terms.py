"""The terms of one token: which units stand together in each."""

from collections.abc import Sequence

from intarsia.compress.units.config import UnitConfig
from intarsia.compress.units.lexicon import Sense
from intarsia.compress.units.pieces import limit_pieces
from intarsia.compress.units.token_strings import TokenString

RESERVED = "reserved"

Term = tuple[str, ...]
"""Names of the units of a term; a name is its kind, a colon, and what it is, such as `sememe:animal`."""


def kind_of(unit: str) -> str:
    """Returns the kind of a unit: `shape`, `piece`, `pad`, `sememe`, `class` or `reserved`."""
    return unit.partition(":")[0]


def shape_unit(token: TokenString) -> str:
    """Returns the unit of how a token is written and whether it begins a word."""
    return f"shape:{'start' if token.starts_word else 'inside'} {token.shape}"


def piece_names(pieces: Sequence[str], order: int) -> list[str]:
    """Returns the units of a token's pieces, filled up to `order` by pads, one for each place."""
    # A token of nothing but a word's start has one piece, which is empty.
    names = [f"piece:{piece}" for piece in limit_pieces(pieces or [""], order)]
    return [*names, *(f"pad:{place + 1}" for place in range(len(names), order))]


def sense_units(sense: Sense, count: int) -> list[str]:
    """Returns the first sememes of a sense; what is missing is filled by its class, then by pads of its own."""
    names = [f"sememe:{sememe}" for sememe in sense.sememes[:count]]
    if sense.lexname and len(names) < count:
        names.append(f"class:{sense.lexname}")
    return [*names, *(f"pad:sememe {place + 1}" for place in range(len(names), count))]


def token_terms(token: TokenString, pieces: Sequence[str], senses: Sequence[Sense], config: UnitConfig) -> list[Term]:
    """Returns a token's terms: shape and first pieces, pieces alone, first piece and sememes of each sense."""
    names = piece_names(pieces, config.order)
    found: list[Term] = []
    if "shape" in config.parts:
        found.append((shape_unit(token), *names[: config.order - 1]))
    if "pieces" in config.parts:
        found.append(tuple(names))
    if "senses" in config.parts:
        found += [(names[0], *sense_units(sense, config.order - 1)) for sense in senses[: config.senses]]
    # Two senses with the same first sememes are one term: it would count twice otherwise.
    return list(dict.fromkeys(found))


def reserved_term(config: UnitConfig) -> Term:
    """Returns the term of rows that no token has."""
    return (RESERVED, *(f"pad:{place + 1}" for place in range(1, config.order)))
