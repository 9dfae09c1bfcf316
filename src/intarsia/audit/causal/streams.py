"""Random numbers that are the same on every machine and in every version of Python: SplitMix64 on whole numbers.

A stream is named by what it decides (`Stream(seed, "graph", "00-n2-p3", 17)`). So every graph, name and question has
numbers of its own: asking for more graphs, other names or fewer tasks does not change the rest of a data set.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import TypeVar

Item = TypeVar("Item")

_WORD = (1 << 64) - 1
_PRECISION = 53
"""Bits of a probability; a float has as many, so `p * 2**53` is exact."""


class Stream:
    """A sequence of random whole numbers (Steele, Lea and Flood 2014, SplitMix64).

    Args:
        name: What the numbers are for; the first 64 bits of its SHA-256 are where the sequence begins.
    """

    __slots__ = ("_state",)

    def __init__(self, *name: int | str) -> None:
        digest = sha256("/".join(map(str, name)).encode()).digest()
        self._state = int.from_bytes(digest[:8], "big")

    def bits(self) -> int:
        """Returns the next 64 random bits."""
        self._state = state = (self._state + 0x9E3779B97F4A7C15) & _WORD
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _WORD
        return state ^ (state >> 31)

    def fraction(self) -> int:
        """Returns a uniform number below 2^53, to be compared with `threshold(p)`."""
        return self.bits() >> (64 - _PRECISION)

    def chance(self, probability: float) -> bool:
        """Returns True with the given probability."""
        return self.fraction() < threshold(probability)

    def below(self, bound: int) -> int:
        """Returns a uniform number in 0 ... bound - 1, without the bias of a plain remainder."""
        limit = (1 << 64) - (1 << 64) % bound
        while (draw := self.bits()) >= limit:
            pass
        return draw % bound

    def choose(self, items: Sequence[Item]) -> Item:
        """Returns one of the items."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[Item], count: int) -> list[Item]:
        """Returns `count` different items in random order (the first steps of Fisher and Yates)."""
        pool = list(items)
        for place in range(count):
            other = place + self.below(len(pool) - place)
            pool[place], pool[other] = pool[other], pool[place]
        return pool[:count]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """Returns all items in random order."""
        return self.sample(items, len(items))


def threshold(probability: float) -> int:
    """Returns the number below which `Stream.fraction` lies with the given probability."""
    return int(probability * (1 << _PRECISION))
