"""Steps on a fourth-order expansion of the divergences: one or two looks at the vocabulary instead of twenty."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from intarsia.fusion.config import SolverConfig
from intarsia.fusion.solvers.grid import grid_values
from intarsia.fusion.solvers.second_minimum import Point, most_promising
from intarsia.fusion.solvers.solution import Goal, Solution
from intarsia.fusion.targets import Shifts
from intarsia.fusion.tilting import ShiftFamily, Tilt, cumulants, tilt

# Looks at the vocabulary before a row is left with the best found; nearly all are done after two.
_MAX_EVALUATIONS = 12
_SCAN = np.linspace(0, 1, 48)

# Relative distance from the goal beyond which the grid is asked as well.
_DOUBT = 0.3

# Longest step, relative to alpha, whose outcome is believed without a look: from where the fused model puts all on one
# token, the expansion sees nothing of the others.
_TRUST = 0.25

# Share of the tolerance that the expansion's own error may take.
_EXPANSION_SHARE = 0.01

_TINY = 1e-150

# What is computed of each row and expert are a few numbers, for which numpy is many times faster than torch: one number
# per row and expert, or these along a last axis.
Numbers: TypeAlias = npt.NDArray[np.float64]


class _Expansion(NamedTuple):
    """`A(alpha + h)` to fourth order in h."""

    alpha: Numbers
    value: Numbers
    mean: Numbers
    variance: Numbers
    third: Numbers
    fourth: Numbers

    def divergences(self, step: Numbers) -> tuple[Numbers, Numbers]:
        """Forward and backward divergence at `alpha + step`."""
        mean = self.mean + step * (self.variance + step * (self.third / 2 + step * (self.fourth / 6)))
        backward = self.value + step * (
            self.mean + step * (self.variance / 2 + step * (self.third / 6 + step * (self.fourth / 24)))
        )
        return (self.alpha + step) * mean - backward, backward

    def slopes(self, step: Numbers) -> tuple[Numbers, Numbers]:
        """Their derivatives there."""
        mean = self.mean + step * (self.variance + step * (self.third / 2 + step * (self.fourth / 6)))
        variance = self.variance + step * (self.third + step * (self.fourth / 2))
        return (self.alpha + step) * variance, mean

    def radius(self) -> Numbers:
        """How far the expansion is good: the higher terms stay a fraction of the second."""
        by_third = 1.5 * self.variance / np.maximum(np.abs(self.third), _TINY)
        by_fourth = np.sqrt(0.6 * self.variance / np.maximum(np.abs(self.fourth), _TINY))
        return np.minimum(by_third, by_fourth)


class _Goal(NamedTuple):
    """As `Goal`, of numbers."""

    forward: Numbers
    backward: Numbers

    def miss(self, forward: Numbers, backward: Numbers) -> Numbers:
        return (forward - self.forward) ** 2 + (backward - self.backward) ** 2

    def slope(self, here: _Expansion, step: Numbers) -> tuple[Numbers, Numbers]:
        """Half the derivative of `miss` at `here.alpha + step`, and the length of the divergences' derivatives."""
        forward, backward = here.divergences(step)
        d_forward, d_backward = here.slopes(step)
        half = (forward - self.forward) * d_forward + (backward - self.backward) * d_backward
        return half, np.maximum(np.hypot(d_forward, d_backward), _TINY)


class _Best(NamedTuple):
    """As `Solution`, of numbers."""

    alpha: Numbers
    forward: Numbers
    backward: Numbers
    miss: Numbers

    def replaced(self, other: "_Best", where: npt.NDArray[np.bool_]) -> "_Best":
        return _Best(*(np.where(where, new, old) for new, old in zip(other, self, strict=True)))


class _Seen(NamedTuple):
    """What a look told, of some rows."""

    rows: npt.NDArray[np.intp]
    alpha: Numbers
    forward: Numbers
    backward: Numbers


def newton(shifts: Shifts, goal: Goal, config: SolverConfig) -> Solution:
    """Minimises an expansion of the loss around each alpha that is evaluated, until it is exact enough.

    The start is exact for small shifts: the ratio of the shift's spread under the small and under the large model.
    The derivative's sign narrows the range as in bisection, so a bad expansion cannot lead astray.
    """
    like = shifts.forward
    small, large = _numbers(torch.stack([shifts.small_variance, shifts.large_variance]))
    whole_goal = _Goal(*(_numbers(part) for part in goal))
    answer = _Best(*(np.zeros(like.shape) for _ in _Best._fields))
    seen: list[_Seen] = []
    # From here on, everything is of the rows that are not done.
    rows, wanted, best = np.arange(len(like)), whole_goal, None
    low, high = np.full(like.shape, config.low), np.full(like.shape, config.high)
    done = large == 0
    start = np.clip(np.sqrt(small / np.where(done, 1, large)), config.low, config.high)
    alpha = np.where(done, low, start)
    for _ in range(_MAX_EVALUATIONS):
        here = _look(shifts.family, alpha, rows, like)
        forward, backward = here.divergences(np.zeros_like(alpha))
        seen.append(_Seen(rows, alpha, forward, backward))
        found = _Best(alpha, forward, backward, wanted.miss(forward, backward))
        best = found if best is None else best.replaced(found, (found.miss < best.miss) & ~done)
        slope, stiffness = wanted.slope(here, np.zeros_like(alpha))
        low, high = np.where(slope < 0, alpha, low), np.where(slope < 0, high, alpha)
        predicted, settled, limited = _step(here, wanted, low, high, config.tolerance)
        best = best.replaced(predicted, settled & ~done & (predicted.miss <= best.miss))
        done = done | settled
        # Where the expansion is good for a short way only, creeping along it would take many looks.
        leap = alpha - slope / stiffness**2
        leap = np.where((leap > low) & (leap < high), leap, (low + high) / 2)
        alpha = np.where(done, alpha, np.where(limited, leap, predicted.alpha))
        for part, value in zip(answer, best, strict=True):
            part[rows] = value
        left = ~done.all(-1)
        if not left.any():
            break
        rows, alpha, low, high, done = rows[left], alpha[left], low[left], high[left], done[left]
        wanted, best = _Goal(*(part[left] for part in wanted)), _Best(*(part[left] for part in best))
    _escape_local_minima(answer, shifts.family, whole_goal, seen, config, like)
    return Solution(*(torch.as_tensor(part, dtype=like.dtype, device=like.device) for part in answer))


def _numbers(values: Tensor) -> Numbers:
    numbers: Numbers = values.double().cpu().numpy()
    return numbers


def _look(family: ShiftFamily, alpha: Numbers, rows: npt.NDArray[np.intp], like: Tensor) -> _Expansion:
    """Expands around each alpha, at the price of one look at the vocabulary."""
    here = _tilt_rows(family, alpha, rows, like, orders=4)
    numbers = _numbers(torch.cat([here.backward[..., None], here.moments], -1))
    return _Expansion(alpha, numbers[..., 0], *cumulants(numbers[..., 1:]))


def _tilt_rows(family: ShiftFamily, alpha: Numbers, rows: npt.NDArray[np.intp], like: Tensor, *, orders: int) -> Tilt:
    """Tilts some rows, each by its own row of alpha."""
    where = torch.as_tensor(alpha, dtype=like.dtype, device=like.device)
    if len(rows) == len(family.base):
        return tilt(family, where, orders=orders)
    if like.device.type != "cpu":
        chosen = torch.as_tensor(rows, device=like.device)
        return tilt(ShiftFamily(*(part[chosen] for part in family)), where, orders=orders)
    # One by one and without a copy, which would cost as much as the look.
    looks = [
        tilt(ShiftFamily(*(part[row : row + 1] for part in family)), where[index : index + 1], orders=orders)
        for index, row in enumerate(rows.tolist())
    ]
    return looks[0] if len(looks) == 1 else Tilt(*(torch.cat(parts) for parts in zip(*looks, strict=True)))


def _step(
    here: _Expansion, goal: _Goal, low: Numbers, high: Numbers, tolerance: float
) -> tuple[_Best, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Returns the expansion's minimum within its radius and the range.

    Also returned: where that needs no further look, and where the radius kept it from going on.
    """
    here = _Expansion(*(term[..., None] for term in here))
    goal = _Goal(*(part[..., None] for part in goal))
    alpha, radius = here.alpha, here.radius()
    near, far = np.maximum(low[..., None], alpha - radius), np.minimum(high[..., None], alpha + radius)
    # Two scans and a Gauss-Newton step: cheap beside one look at the vocabulary, and no local minimum stops them.
    for _ in range(2):
        steps = near + (far - near) * _SCAN - alpha
        index = goal.miss(*here.divergences(steps)).argmin(-1)[..., None]
        step, width = np.take_along_axis(steps, index, -1), (far - near) / (len(_SCAN) - 1)
        near, far = np.maximum(near, alpha + step - width), np.minimum(far, alpha + step + width)
    slope, stiffness = goal.slope(here, step)
    step = np.clip(step - slope / stiffness**2, near - alpha, far - alpha)
    forward, backward = here.divergences(step)
    # The first term left out of the mean, if orders go on shrinking as the radius assumes.
    left_out = np.abs(here.fourth / 24 * step**4 / np.maximum(radius, _TINY))
    exact = (alpha + step) * left_out <= _EXPANSION_SHARE * tolerance * stiffness
    limited = np.abs(step) >= 0.99 * radius
    settled = exact & ~limited & (np.abs(step) <= _TRUST * alpha)
    new = (alpha + step, forward, backward, goal.miss(forward, backward))
    return _Best(*(part[..., 0] for part in new)), settled[..., 0], limited[..., 0]


def _escape_local_minima(
    best: _Best, family: ShiftFamily, goal: _Goal, seen: Sequence[_Seen], config: SolverConfig, like: Tensor
) -> None:
    """Tries values of the grid where the goal is missed by far, and puts what is better into `best`.

    Only there can the loss have a second minimum that is lower: where both divergences meet their goals, nothing can be
    better.
    """
    doubtful = best.miss > _DOUBT**2 * (goal.forward**2 + goal.backward**2)
    values = grid_values(config)
    for row in np.flatnonzero(doubtful.any(-1)).tolist():
        wanted = Point(0.0, float(goal.forward[row, 0]), float(goal.backward[row, 0]))
        points = [
            [
                Point(*(float(part[place, expert]) for part in look[1:]))
                for look in seen
                for place in np.flatnonzero(look.rows == row)
            ]
            for expert in range(doubtful.shape[1])
        ]
        while True:
            tried = [
                most_promising(values, points[expert], wanted, float(best.miss[row, expert])) if uncertain else None
                for expert, uncertain in enumerate(doubtful[row])
            ]
            if all(value is None for value in tried):
                break
            alpha = np.array([[value or 0.0 for value in tried]])
            here = _tilt_rows(family, alpha, np.array([row]), like, orders=1)
            for expert, value in enumerate(tried):
                if value is None:
                    continue
                point = Point(value, float(here.forward[0, expert]), float(here.backward[0, expert]))
                points[expert].append(point)
                if point.miss(wanted) < best.miss[row, expert]:
                    for part, number in zip(best, (*point, point.miss(wanted)), strict=True):
                        part[row, expert] = number
