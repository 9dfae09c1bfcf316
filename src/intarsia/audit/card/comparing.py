"""Two cards beside one another."""

from math import hypot
from typing import NamedTuple

from intarsia.audit.card.card import Card, Score


class Compared(NamedTuple):
    """One score of two models.

    Attributes:
        suite: The audit.
        name: What it is.
        first: Of the first model; None if it has none.
        second: Of the second.
        difference: Second less first; None if one is missing.
        low: Lower end of the difference's 95 % interval, from both intervals.
        high: Upper end.
        verdict: Which is better, if the interval says so; `"asked differently"` where it cannot be said.
    """

    suite: str
    name: str
    first: Score | None
    second: Score | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: str


def compare_cards(first: Card, second: Card) -> list[Compared]:
    """Returns all scores of two cards, in the order of the first.

    Audits that asked the two models different questions are not compared: their rows say so.
    """
    same = {
        suite: first.settings.get(suite) == second.settings.get(suite)
        and (suite != "roleplay" or first.judge == second.judge)
        for suite in {*first.settings, *second.settings}
    }
    ours = {(score.suite, score.name): score for score in first.scores}
    theirs = {(score.suite, score.name): score for score in second.scores}
    return [
        _compare(key, ours.get(key), theirs.get(key), is_same=same.get(key[0], False))
        for key in dict.fromkeys([*ours, *theirs])
    ]


def _compare(key: tuple[str, str], first: Score | None, second: Score | None, *, is_same: bool) -> Compared:
    suite, name = key
    values = [score.value if score is not None else None for score in (first, second)]
    if first is None or second is None or values[0] is None or values[1] is None:
        return Compared(suite, name, first, second, None, None, None, "not measured for both")
    if not is_same:
        return Compared(suite, name, first, second, None, None, None, "asked differently")
    difference = values[1] - values[0]
    # Two independent estimates: their half intervals add as sides of a right angle.
    below = hypot((second.value or 0) - (second.low or 0), (first.high or 0) - (first.value or 0))
    above = hypot((second.high or 0) - (second.value or 0), (first.value or 0) - (first.low or 0))
    low, high = difference - below, difference + above
    verdict = "no clear difference"
    if low > 0 or high < 0:
        is_higher = low > 0
        verdict = (
            "differs" if first.better == "none" else "better" if is_higher == (first.better == "higher") else "worse"
        )
    if suite == "bias" and any(score.note.startswith("no verdict") for score in (first, second)):
        verdict = "no verdict: a control failed"
    return Compared(suite, name, first, second, difference, low, high, verdict)
