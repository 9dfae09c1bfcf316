"""Where to look next, given what the last look at the vocabulary told; a few numbers for each row and expert, compiled.

`advance` moves the search of each cell (a row and an expert) through its stages. It first follows an expansion of the
divergences to the loss's minimum. The sign of the loss's derivative narrows the range as in bisection, so a bad
expansion cannot lead astray. A second, lower minimum is then looked for where there can be one.
"""

from math import inf
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from intarsia.compiled import compiled
from intarsia.fusion.kernels import Doubles
from intarsia.fusion.tilting import cumulants as _cumulants

cumulants = compiled(_cumulants)

SEARCH, ESCAPE, DONE = 0, 1, 2
_NOTHING = -1.0

# Looks at the vocabulary before a cell is left with the best found; nearly all are done after two.
MAX_STEPS = 12

# Values of alpha that one scan of an expansion tries.
_SCAN = 48

# Relative distance from the goal beyond which the grid is asked as well.
_DOUBT = 0.3

# Longest step, relative to alpha, whose outcome is believed without a look: from where the fused model puts all on one
# token, the expansion sees nothing of the others.
_TRUST = 0.25

# Share of the tolerance that the expansion's own error may take.
_EXPANSION_SHARE = 0.01

_TINY = 1e-150

CELL = np.dtype(
    [
        ("alpha", np.float64),
        ("low", np.float64),
        ("high", np.float64),
        ("best_alpha", np.float64),
        ("best_forward", np.float64),
        ("best_backward", np.float64),
        ("best_miss", np.float64),
        ("looks", np.int64),
        ("stage", np.int8),
        ("moves", np.bool_),
    ],
    align=True,
)
"""The state of a cell: where to look, the range left, the best found, looks so far, stage, whether it has a shift."""


class Divergences(NamedTuple):
    """A pair of divergences in nats, or their derivatives."""

    forward: float
    backward: float


class Expansion(NamedTuple):
    """`A(alpha + h)` to fourth order in h."""

    alpha: float
    value: float
    mean: float
    variance: float
    third: float
    fourth: float


@compiled
def divergences(here: Expansion, step: float) -> Divergences:
    """Both divergences at `alpha + step`."""
    mean = here.mean + step * (here.variance + step * (here.third / 2 + step * (here.fourth / 6)))
    backward = here.value + step * (
        here.mean + step * (here.variance / 2 + step * (here.third / 6 + step * (here.fourth / 24)))
    )
    return Divergences((here.alpha + step) * mean - backward, backward)


@compiled
def slopes(here: Expansion, step: float) -> Divergences:
    """Their derivatives there."""
    mean = here.mean + step * (here.variance + step * (here.third / 2 + step * (here.fourth / 6)))
    variance = here.variance + step * (here.third + step * (here.fourth / 2))
    return Divergences((here.alpha + step) * variance, mean)


@compiled
def miss(found: Divergences, goal: Divergences) -> float:
    """Squared distance from the goal."""
    return (found.forward - goal.forward) ** 2 + (found.backward - goal.backward) ** 2


@compiled
def _gauss_newton(here: Expansion, step: float, goal: Divergences) -> tuple[float, float]:
    """Step from `alpha + step` to the loss's minimum, and the squared length of the divergences' derivatives."""
    found, slope = divergences(here, step), slopes(here, step)
    half = (found.forward - goal.forward) * slope.forward + (found.backward - goal.backward) * slope.backward
    stiffness = max(slope.forward**2 + slope.backward**2, _TINY)
    return -half / stiffness, stiffness


@compiled
def _best_step(here: Expansion, goal: Divergences, low: float, high: float, radius: float) -> float:
    """The expansion's minimum within its radius and the range."""
    near, far = max(low, here.alpha - radius) - here.alpha, min(high, here.alpha + radius) - here.alpha
    # Two scans and a Gauss-Newton step: cheap beside one look at the vocabulary, and no local minimum stops them.
    for _ in range(2):
        width = (far - near) / (_SCAN - 1)
        best, least = near, inf
        for index in range(_SCAN):
            step = near + index * width
            loss = miss(divergences(here, step), goal)
            if loss < least:
                best, least = step, loss
        near, far = max(near, best - width), min(far, best + width)
    return min(max(best + _gauss_newton(here, best, goal)[0], near), far)


@compiled
def advance(
    cells: Any,
    seen: Doubles,
    rows: npt.NDArray[np.int64],
    told: Doubles,
    goals: Doubles,
    values: Doubles,
    tolerance: float,
) -> None:
    """Takes in what a look told, and sets where to look next.

    Args:
        cells: State of every row and expert, changed in place, `[all rows, experts]` of `CELL`.
        seen: Room for every alpha that was looked at, and both divergences there, `[all rows, experts, looks, 3]`.
        rows: The rows that were looked at.
        told: `KL(P || P_alpha)` and four moments of the shift, `[rows, experts, 5]`.
        goals: Both divergences to reach, `[all rows, 2]`.
        values: Of the grid.
        tolerance: Of alpha.
    """
    for place in range(len(rows)):
        row = rows[place]
        goal = Divergences(goals[row, 0], goals[row, 1])
        for expert in range(cells.shape[1]):
            cell = cells[row, expert]
            if cell.stage == DONE:
                continue
            look = told[place, expert]
            here = Expansion(cell.alpha, look[0], *cumulants(look[1], look[2], look[3], look[4]))
            found = divergences(here, 0.0)
            _keep_better(cell, cell.alpha, found, goal)
            seen[row, expert, cell.looks, 0] = cell.alpha
            seen[row, expert, cell.looks, 1] = found.forward
            seen[row, expert, cell.looks, 2] = found.backward
            cell.looks += 1
            if not cell.moves:
                cell.stage = DONE
            elif cell.stage == SEARCH and _settles(cell, here, goal, tolerance):
                # Only where it is missed by far can the loss have a second minimum that is lower: where both
                # divergences meet their goals, nothing can be better.
                cell.stage = ESCAPE if cell.best_miss > _DOUBT**2 * (goal.forward**2 + goal.backward**2) else DONE
            if cell.stage == ESCAPE:
                cell.alpha = most_promising(values, seen[row, expert, : cell.looks], goal, cell.best_miss)
                if cell.alpha == _NOTHING:
                    cell.stage = DONE


@compiled
def _keep_better(cell: Any, alpha: float, found: Divergences, goal: Divergences) -> None:
    loss = miss(found, goal)
    if loss <= cell.best_miss:
        cell.best_alpha, cell.best_forward, cell.best_backward = alpha, found.forward, found.backward
        cell.best_miss = loss


@compiled
def _settles(cell: Any, here: Expansion, goal: Divergences, tolerance: float) -> bool:
    """Follows the expansion; returns whether the search is over."""
    shortcut = _gauss_newton(here, 0.0, goal)[0]
    if shortcut > 0:
        cell.low = here.alpha
    else:
        cell.high = here.alpha
    # How far the expansion is good: the higher terms stay a fraction of the second.
    radius = min(
        1.5 * here.variance / max(abs(here.third), _TINY), (0.6 * here.variance / max(abs(here.fourth), _TINY)) ** 0.5
    )
    step = _best_step(here, goal, cell.low, cell.high, radius)
    # The first term left out of the mean, if orders go on shrinking as the radius assumes.
    left_out = abs(here.fourth / 24 * step**4 / max(radius, _TINY))
    exact = (here.alpha + step) * left_out <= _EXPANSION_SHARE * tolerance * _gauss_newton(here, step, goal)[1] ** 0.5
    limited = abs(step) >= 0.99 * radius
    if exact and not limited and abs(step) <= _TRUST * here.alpha:
        _keep_better(cell, here.alpha + step, divergences(here, step), goal)
        return True
    cell.alpha = here.alpha + step
    if limited:
        # Where the expansion is good for a short way only, creeping along it would take many looks.
        cell.alpha = here.alpha + shortcut
        if not cell.low < cell.alpha < cell.high:
            cell.alpha = (cell.low + cell.high) / 2
    return bool(cell.looks == MAX_STEPS)


@compiled
def most_promising(values: Doubles, seen: Doubles, goal: Divergences, least: float) -> float:
    """Returns the value whose loss may be lowest, or -1 if none can be below `least`.

    Both divergences grow with alpha, so what was seen to either side of a value bounds them there.

    Args:
        values: To choose from.
        seen: Alpha and both divergences, `[looks, 3]`.
        goal: The divergences to reach.
        least: The best loss so far.
    """
    choice = _NOTHING
    for value in values:
        below, above = (0.0, 0.0, 0.0), (inf, inf, inf)
        for index in range(len(seen)):
            point = (seen[index, 0], seen[index, 1], seen[index, 2])
            if below[0] <= point[0] <= value:
                below = point
            if value <= point[0] < above[0]:
                above = point
        if value == below[0] or value == above[0]:
            continue
        bound = _distance(goal.forward, below[1], above[1]) ** 2 + _distance(goal.backward, below[2], above[2]) ** 2
        if bound < least:
            choice, least = value, bound
    return choice


@compiled
def _distance(goal: float, low: float, high: float) -> float:
    """Of a number from an interval."""
    return max(low - goal, goal - high, 0.0)
