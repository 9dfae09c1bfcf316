"""The paper's solver: try evenly spaced values."""

import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.fusion.config import SolverConfig
from intarsia.fusion.solvers.solution import Goal, Solution, evaluate
from intarsia.fusion.targets import Shifts
from intarsia.fusion.tilting import tilt


def grid(shifts: Shifts, goal: Goal, config: SolverConfig) -> Solution:
    """Tries `low`, `low + step`, ... up to `high` and keeps the best; of equals, the smaller.

    One value is evaluated at a time: all at once would need memory for values x rows x vocabulary.
    """
    best: Solution | None = None
    for value in grid_values(config):
        alpha = torch.full_like(shifts.forward, value)
        found = _at_zero(goal, alpha) if value == 0 else evaluate(goal, alpha, tilt(shifts.family, alpha, orders=1))
        best = found if best is None else best.or_better(found)
    assert best is not None
    return best


def grid_values(config: SolverConfig) -> list[float]:
    """Returns the values that are tried."""
    count = int((config.high - config.low) / config.step + 1e-9) + 1
    return [config.low + index * config.step for index in range(count)]


def _at_zero(goal: Goal, alpha: Float[Tensor, "rows experts"]) -> Solution:
    # Known without looking at the vocabulary.
    return Solution(alpha, alpha, alpha, goal.miss(alpha, alpha))
