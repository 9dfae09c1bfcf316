"""The grid, made finer around its best value."""

import torch

from intarsia.fusion.config import SolverConfig
from intarsia.fusion.solvers.grid import grid
from intarsia.fusion.solvers.solution import Goal, Solution, evaluate
from intarsia.fusion.targets import Shifts
from intarsia.fusion.tilting import tilt


def refine(shifts: Shifts, goal: Goal, config: SolverConfig) -> Solution:
    """Bisects on the sign of the loss's derivative between the neighbours of the best grid value.

    Never worse than the grid, whose best value is kept unless a better one is found.
    """
    best = grid(shifts, goal, config)
    low = (best.alpha - config.step).clamp(config.low, config.high)
    high = (best.alpha + config.step).clamp(config.low, config.high)
    return best.or_better(bisect_slope(shifts, goal, low, high, config.tolerance))


def bisect_slope(
    shifts: Shifts, goal: Goal, low: torch.Tensor, high: torch.Tensor, tolerance: float, limit: int = 60
) -> Solution:
    """Halves `[low, high]` towards the point where the loss stops falling, until it is narrower than `tolerance`."""
    low, high = low.clone(), high.clone()
    for _ in range(limit):
        if bool((high - low).max() <= tolerance):
            break
        middle = (low + high) / 2
        falling = goal.slope(middle, tilt(shifts.family, middle)) < 0
        low, high = torch.where(falling, middle, low), torch.where(falling, high, middle)
    middle = (low + high) / 2
    return evaluate(goal, middle, tilt(shifts.family, middle))
