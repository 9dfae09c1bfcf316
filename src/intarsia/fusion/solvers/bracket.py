"""Bisection between the two values of alpha at which one of the two conditions holds exactly."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.fusion.config import SolverConfig
from intarsia.fusion.solvers.refine import bisect_slope
from intarsia.fusion.solvers.solution import Goal, Solution, evaluate
from intarsia.fusion.targets import Shifts
from intarsia.fusion.tilting import tilt


def bracket(shifts: Shifts, goal: Goal, config: SolverConfig) -> Solution:
    """Finds where each divergence meets its goal, then the minimum, which lies between.

    Both divergences grow with alpha, so below both points the loss falls and above both it rises. Exact where the
    loss has one minimum between them, which is almost always so.
    """
    start = torch.full_like(shifts.forward, config.low), torch.full_like(shifts.forward, config.high)
    first = crossing(shifts, goal, "forward", *start, config.tolerance)
    second = crossing(shifts, goal, "backward", *start, config.tolerance)
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    # A crossing is known to within the tolerance only.
    low, high = (low - config.tolerance).clamp(min=config.low), (high + config.tolerance).clamp(max=config.high)
    found = bisect_slope(shifts, goal, low, high, config.tolerance)
    # Bisection comes close to a bound but never to it.
    for bound in start:
        found = found.or_better(evaluate(goal, bound, tilt(shifts.family, bound)))
    # No shift: every alpha is as good, and the smallest is meant.
    return found.replaced(evaluate(goal, start[0], tilt(shifts.family, start[0])), shifts.large_variance == 0)


def crossing(
    shifts: Shifts,
    goal: Goal,
    which: Literal["forward", "backward"],
    low: Float[Tensor, "rows experts"],
    high: Float[Tensor, "rows experts"],
    tolerance: float,
    limit: int = 60,
) -> Float[Tensor, "rows experts"]:
    """Bisects for the alpha where one divergence meets its goal; a bound of the range if it does so nowhere."""
    wanted = getattr(goal, which)
    low, high = low.clone(), high.clone()
    for _ in range(limit):
        if bool((high - low).max() <= tolerance):
            break
        middle = (low + high) / 2
        below = getattr(tilt(shifts.family, middle), which) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
