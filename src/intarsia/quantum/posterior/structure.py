"""Which strings can be nonzero at all: symmetries of what is known shrink every later problem, exactly.

Let R be a Pauli string that commutes with every known string of nonzero value. Conjugation by R maps legal completions
to legal completions and flips the strings that anticommute with R. The average over all such R therefore has nonzero
values only on the group that the known nonzero strings generate. A concave functional that conjugation leaves alone,
such as entropy, purity or the expectation of a string of the group, is best there. In the same way complex conjugation
removes the strings with an odd number of Y where every known one of them is zero.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int


class GeneratedGroup:
    """The group of strings, up to signs, that some strings generate, as a subspace of bit vectors `x 2^n + z`.

    Args:
        n: Number of qubits.
        where: Places of the generators.
    """

    def __init__(self, n: int, where: Iterable[int] = ()) -> None:
        self._n = n
        self._reduced: list[int] = []
        for place in where:
            self.add(place)

    @property
    def is_everything(self) -> bool:
        """Whether all strings are in it."""
        return len(self._reduced) == 2 * self._n

    def add(self, place: int) -> None:
        """Adds a generator."""
        rest = self._remainder(place)
        if rest:
            self._reduced.append(rest)
            self._reduced.sort(reverse=True)

    def __contains__(self, place: int) -> bool:
        return not self._remainder(place)

    def members(self) -> Bool[np.ndarray, "4**n"]:
        """For every place of a table, whether its string is in the group."""
        inside = np.zeros(4**self._n, dtype=bool)
        found = np.zeros(1, dtype=np.int64)
        for generator in self._reduced:
            found = np.concatenate([found, found ^ generator])
        inside[found] = True
        return inside

    def _remainder(self, place: int) -> int:
        for generator in self._reduced:
            place = min(place, place ^ generator)
        return place


def odd_in_y(n: int) -> Bool[np.ndarray, "4**n"]:
    """For every place of a table, whether its string has an odd number of Y, which makes its matrix imaginary."""
    index: Int[np.ndarray, " dim"] = np.arange(1 << n)
    return (np.bitwise_count(index[:, None] & index) % 2 == 1).reshape(-1)
