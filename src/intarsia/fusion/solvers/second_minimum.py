"""Which further values of alpha could be better than the best that was found.

Both divergences grow with alpha, so what was seen to either side of a value bounds them there, and with them the loss.
"""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple


class Point(NamedTuple):
    """The divergences at an alpha."""

    alpha: float
    forward: float
    backward: float

    def miss(self, goal: "Point") -> float:
        """Squared distance of the divergences from a goal's."""
        return (self.forward - goal.forward) ** 2 + (self.backward - goal.backward) ** 2


NO_SHIFT = Point(0.0, 0.0, 0.0)
_BEYOND = Point(inf, inf, inf)


def most_promising(values: Sequence[float], seen: Sequence[Point], goal: Point, miss: float) -> float | None:
    """Returns the value whose loss may be lowest, or None if none can be below `miss`.

    Args:
        values: To choose from.
        seen: What is known, in any order.
        goal: The divergences to reach.
        miss: The best loss so far.
    """
    choice, least = None, miss
    for value in values:
        below = max((point for point in seen if point.alpha <= value), default=NO_SHIFT)
        above = min((point for point in seen if point.alpha >= value), default=_BEYOND)
        if value in (below.alpha, above.alpha):
            continue
        bound = (
            _distance(goal.forward, below.forward, above.forward) ** 2
            + _distance(goal.backward, below.backward, above.backward) ** 2
        )
        if bound < least:
            choice, least = value, bound
    return choice


def _distance(goal: float, low: float, high: float) -> float:
    """Of a number from an interval."""
    return max(low - goal, goal - high, 0.0)
