"""From duels to probabilities of the candidates."""

from collections.abc import Sequence

from intarsia.classification.results import Duel
from intarsia.classification.tournaments import Decision

_LEAST_LEAD = 1e-3
"""By how much the winner leads a candidate that no answer put below it."""


def candidate_scores(candidates: Sequence[str], decision: Decision) -> dict[str, float]:
    """Returns probabilities of the candidates, the winner's the largest; they sum to 1.

    After an elimination, the odds of a candidate against the winner are those of the chain of duels it lost by: its own
    loss, the loss of the one it lost to, and so on. Where everyone met everyone, they are (w + 1) / (l + 1) of its
    expected wins and losses.
    """
    weights = _round_robin(candidates, decision.duels) or _chains(candidates, decision)
    # Nothing but the tournament says who won: ties and contradictions in the weights are settled in its favour.
    weights[decision.winner] = max(weights.values()) * (1 + _LEAST_LEAD)
    total = sum(weights.values())
    return {label: weights[label] / total for label in candidates}


def _chains(candidates: Sequence[str], decision: Decision) -> dict[str, float]:
    losses = {duel.loser: duel for duel in decision.duels}
    weights = {decision.winner: 1.0}

    def weight(label: str) -> float:
        if label not in weights:
            duel = losses[label]
            odds = duel.chance_of(label) / max(duel.chance_of(duel.winner), 1e-9)
            weights[label] = min(odds, 1.0) * weight(duel.winner)
        return weights[label]

    return {label: weight(label) for label in candidates}


def _round_robin(candidates: Sequence[str], duels: Sequence[Duel]) -> dict[str, float]:
    """Returns nothing unless everyone met everyone, and more than two did."""
    if len(candidates) < 3 or len(duels) != len(candidates) * (len(candidates) - 1) // 2:
        return {}
    weights = {}
    for label in candidates:
        chances = [duel.chance_of(label) for duel in duels if label in (duel.first, duel.second)]
        weights[label] = (sum(chances) + 1) / (len(chances) - sum(chances) + 1)
    return weights
