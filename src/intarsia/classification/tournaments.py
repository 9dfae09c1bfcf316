"""Who wins among the candidates, given a way to compare two of them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from intarsia.classification.results import Duel

Compare = Callable[[str, str], Awaitable[Duel]]
"""Compares two labels, the higher-ranked one first."""


class Decision(NamedTuple):
    """The end of a tournament.

    Attributes:
        winner: The label that won.
        duels: All duels, in order.
    """

    winner: str
    duels: tuple[Duel, ...]


async def king(candidates: Sequence[str], compare: Compare) -> Decision:
    """King of the hill: the first candidate is challenged by each next one, and the winner stays (k - 1 duels)."""
    winner, duels = candidates[0], list[Duel]()
    for challenger in candidates[1:]:
        duels.append(await compare(winner, challenger))
        winner = duels[-1].winner
    return Decision(winner, tuple(duels))


async def round_robin(candidates: Sequence[str], compare: Compare) -> Decision:
    """Everyone against everyone (k (k - 1) / 2 duels): most wins (Copeland), then sum of chances (Borda), then rank."""
    duels = [
        await compare(first, second) for place, first in enumerate(candidates) for second in candidates[place + 1 :]
    ]
    wins = {label: sum(duel.winner == label for duel in duels) for label in candidates}
    chances = {
        label: sum(duel.chance_of(label) for duel in duels if label in (duel.first, duel.second))
        for label in candidates
    }
    # Sums of the same chances in another order differ in their last digits.
    best = max(candidates, key=lambda label: (wins[label], round(chances[label], 9), -candidates.index(label)))
    return Decision(best, tuple(duels))


async def single_elimination(candidates: Sequence[str], compare: Compare) -> Decision:
    """Rounds in which best meets worst and losers leave; the best rests if their number is odd (k - 1 duels)."""
    left, duels = list(candidates), list[Duel]()
    while len(left) > 1:
        resting = len(left) % 2
        stay = left[:resting]
        playing = left[resting:]
        for place in range(len(playing) // 2):
            duels.append(await compare(playing[place], playing[-1 - place]))
            stay.append(duels[-1].winner)
        left = sorted(stay, key=candidates.index)
    return Decision(left[0], tuple(duels))


TOURNAMENTS: Mapping[str, Callable[[Sequence[str], Compare], Awaitable[Decision]]] = {
    "king": king,
    "round_robin": round_robin,
    "single_elimination": single_elimination,
}
"""Tournaments by name."""
