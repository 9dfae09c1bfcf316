"""Settings of units and of the terms made from them."""

from dataclasses import dataclass
from typing import Literal, get_args

from intarsia.errors import ConfigError

Part = Literal["shape", "pieces", "senses"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, kw_only=True)
class UnitConfig:
    """How a token becomes terms of units.

    The paper (SEE, arXiv 2412.12204) gives a token as many terms as its word has senses; what stands in a term, and the
    numbers, are our choice.

    Attributes:
        order: Units in a term: the order of the tensor product.
        senses: Senses of a word that get a term, the most frequent first.
        merges: How many merges of a byte-pair vocabulary (or most frequent pieces of another) words are split by.
            Fewer give fewer, shorter and more widely shared pieces.
        parts: Which terms a token has: `shape` with its first pieces, its `pieces` alone, one for each of its
            `senses`. Pieces alone are MorphTE's (arXiv 2210.15379).
        exact_tokens: So many of the first tokens of the vocabulary, which orders them by frequency, keep dense rows of
            their own. Special and added tokens always do.
        min_usage: A piece that fewer tokens use is cut to the longest beginning that is used as often, at least its
            first character. 1 cuts none: a unit that one token uses is a vector of that token's own.
    """

    order: int = 3
    senses: int = 4
    merges: int = 4000
    parts: tuple[Part, ...] = PARTS
    exact_tokens: int = 0
    min_usage: int = 2

    def __post_init__(self) -> None:
        lowest = {"order": 2, "senses": 0, "merges": 0, "exact_tokens": 0, "min_usage": 1}
        for name, least in lowest.items():
            if not isinstance(value := getattr(self, name), int) or value < least:
                raise ConfigError(name, value, f"a whole number, {least} or more")
        # JSON gives lists back.
        object.__setattr__(self, "parts", tuple(self.parts))
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise ConfigError("parts", self.parts, f"some of {', '.join(PARTS)}")
        if set(self.parts) == {"senses"}:
            raise ConfigError("parts", self.parts, "with 'shape' or 'pieces': not every token has senses")
