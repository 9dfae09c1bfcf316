"""Four options in an order that gives no letter an advantage."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LETTERS = "ABCD"


class Options(NamedTuple):
    """Options of a question.

    Attributes:
        texts: In order.
        gold: Place of the right one.
    """

    texts: tuple[str, ...]
    gold: int

    def rotated(self) -> "Options":
        """Returns the options half a turn on, so that no one keeps its letter."""
        half = len(self.texts) // 2
        turned = self.texts[half:] + self.texts[:half]
        return Options(turned, (self.gold - half) % len(self.texts))


def balanced_places(ids: Iterable[str], seed: int, kind: str) -> dict[str, int]:
    """Returns a place for the right option of each item, each place equally often, whatever the order of the items.

    Args:
        ids: The items.
        seed: Other seeds give other places.
        kind: Sets one question about an item apart from another.
    """
    order = sorted(set(ids), key=lambda id: _digest(f"{seed}/{kind}/{id}"))
    return {id: place % len(LETTERS) for place, id in enumerate(order)}


def arrange(right: str, others: Sequence[str], place: int, key: str) -> Options:
    """Puts the right option at a place among the others, which come in an order that the key decides."""
    order = sorted(range(len(others)), key=lambda other: _digest(f"{key}/{other}"))
    texts = [others[other] for other in order]
    return Options((*texts[:place], right, *texts[place:]), place)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
