"""Steps on a fourth-order expansion of the divergences: one or two looks at the vocabulary instead of twenty."""

import numpy as np
import torch

from intarsia.fusion.config import SolverConfig
from intarsia.fusion.solvers.grid import grid_values
from intarsia.fusion.solvers.newton_search import CELL, DONE, MAX_STEPS, SEARCH, advance
from intarsia.fusion.solvers.solution import Goal, Solution
from intarsia.fusion.targets import Shifts
from intarsia.fusion.tilting import look


def newton(shifts: Shifts, goal: Goal, config: SolverConfig) -> Solution:
    """Minimises an expansion of the loss around each alpha that is evaluated, until it is exact enough.

    The start is exact for small shifts: the ratio of the shift's spread under the small and under the large model.
    Rows that are done are not looked at again. Where the goal is missed by far, values of the grid are tried as well.
    """
    like = shifts.forward
    small, large = shifts.small_variance.double(), shifts.large_variance.double()
    start = (small / torch.where(large == 0, 1.0, large)).sqrt().clamp(config.low, config.high)
    values = np.array(grid_values(config))
    cells = np.zeros(tuple(like.shape), CELL)
    cells["alpha"] = torch.where(large == 0, config.low, start).cpu().numpy()
    cells["low"], cells["high"], cells["best_miss"], cells["stage"] = config.low, config.high, np.inf, SEARCH
    cells["moves"] = (large != 0).cpu().numpy()
    seen = np.empty((*cells.shape, MAX_STEPS + len(values), 3))
    goals = torch.cat([goal.forward, goal.backward], -1).double().cpu().numpy()
    rows = np.arange(len(cells))
    while len(rows):
        told = look(shifts.family, cells["alpha"][rows], rows)
        advance(cells, seen, rows, told, goals, values, config.tolerance)
        rows = rows[(cells["stage"][rows] != DONE).any(-1)]
    names = ("best_alpha", "best_forward", "best_backward", "best_miss")
    return Solution(*(torch.as_tensor(cells[name], dtype=like.dtype, device=like.device) for name in names))
