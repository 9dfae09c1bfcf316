"""How many times smaller an embedding is to be: what can be asked for."""

import math

from intarsia.errors import ConfigError, InputError


class UnreachableRatioError(InputError):
    """A method cannot make an embedding so small.

    Args:
        ratio: How many times fewer numbers there were to be.
        left: What this leaves too little of, in words.
        largest: The largest ratio the method reaches.
        where: The budget or model concerned.
        instead: What else helps.
    """

    def __init__(
        self, ratio: float, left: str, largest: float, *, where: str | None = None, instead: str | None = None
    ) -> None:
        self._given = (ratio, left, where, instead)
        # Rounded down, so that the ratio in the message is one that works.
        possible = f"a ratio of at most {math.floor(100 * largest) / 100:g}" if largest > 1 else None
        helps = ", or ".join(text for text in (possible, instead) if text)
        super().__init__(
            f"a ratio of {ratio:g} leaves {left}",
            where=where,
            fix=f"ask for {helps}" if helps else "choose another method",
        )

    def with_largest(self, largest: float) -> "UnreachableRatioError":
        """Returns the same of a method that reaches another ratio."""
        ratio, left, where, instead = self._given
        return UnreachableRatioError(ratio, left, largest, where=where, instead=instead)


def check_ratio(ratio: float) -> None:
    """Checks that a ratio asks for compression.

    Raises:
        ConfigError: If it is not a number above 1.
    """
    if not 1 < ratio < math.inf:
        raise ConfigError("ratio", ratio, "above 1: how many times smaller the embedding is to be")
