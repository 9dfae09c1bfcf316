"""Random choices that depend on the item and the question, never on what else is under way."""

import random
from collections.abc import Sequence


def generator(seed: int, item: str, call: int) -> random.Random:
    """Returns the generator of one question: the same for the same seed, item and number of the question."""
    # Seeding by text is stable across processes and versions of Python.
    return random.Random(f"{seed}\x1f{item}\x1f{call}")


def shuffled(options: Sequence[str], seed: int, item: str, call: int) -> list[str]:
    """Returns the options in random order."""
    mixed = list(options)
    generator(seed, item, call).shuffle(mixed)
    return mixed
