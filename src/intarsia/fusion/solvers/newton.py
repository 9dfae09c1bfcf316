"""Steps on a fourth-order expansion of the divergences: two or three looks at the vocabulary instead of twenty."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from intarsia.fusion.config import SolverConfig
from intarsia.fusion.solvers.grid import grid
from intarsia.fusion.solvers.solution import Goal, Solution, evaluate
from intarsia.fusion.targets import Shifts
from intarsia.fusion.tilting import ShiftFamily, Tilt, cumulants, tilt

# Looks at the vocabulary before a row is left with the best found; nearly all are done after two.
_MAX_EVALUATIONS = 12
_SCAN = 48

# Relative distance from the goal beyond which the grid is asked as well.
_DOUBT = 0.3

# Share of the tolerance that the expansion's own error may take.
_EXPANSION_SHARE = 0.01


class _Expansion(NamedTuple):
    """`A(alpha + h)` to fourth order in h, `[rows, experts, 1]` each."""

    alpha: Tensor
    value: Tensor
    mean: Tensor
    variance: Tensor
    third: Tensor
    fourth: Tensor

    def divergences(self, step: Float[Tensor, "rows experts n"]) -> tuple[Tensor, Tensor]:
        """Forward and backward divergence at `alpha + step`."""
        mean = self.mean + step * (self.variance + step * (self.third / 2 + step * (self.fourth / 6)))
        backward = self.value + step * (
            self.mean + step * (self.variance / 2 + step * (self.third / 6 + step * (self.fourth / 24)))
        )
        return (self.alpha + step) * mean - backward, backward

    def slopes(self, step: Float[Tensor, "rows experts n"]) -> tuple[Tensor, Tensor]:
        """Their derivatives there."""
        mean = self.mean + step * (self.variance + step * (self.third / 2 + step * (self.fourth / 6)))
        variance = self.variance + step * (self.third + step * (self.fourth / 2))
        return (self.alpha + step) * variance, mean

    def radius(self) -> Tensor:
        """How far the expansion is good: the higher terms stay a fraction of the second."""
        tiny = torch.finfo(self.variance.dtype).tiny
        by_third = 1.5 * self.variance / self.third.abs().clamp(min=tiny)
        by_fourth = (0.6 * self.variance / self.fourth.abs().clamp(min=tiny)).sqrt()
        return torch.minimum(by_third, by_fourth)


def newton(shifts: Shifts, goal: Goal, config: SolverConfig) -> Solution:
    """Minimises an expansion of the loss around each alpha that is evaluated, until it is exact enough.

    The start is exact for small shifts: the ratio of the shift's spread under the small and under the large model.
    The derivative's sign narrows the range as in bisection, so a bad expansion cannot lead astray.
    """
    low = torch.full_like(shifts.forward, config.low)
    high = torch.full_like(shifts.forward, config.high)
    start = (shifts.small_variance / shifts.large_variance).sqrt().nan_to_num(config.low, posinf=config.high)
    alpha = start.clamp(config.low, config.high)
    done = shifts.large_variance == 0
    alpha = torch.where(done, low, alpha)
    best: Solution | None = None
    for _ in range(_MAX_EVALUATIONS):
        here = tilt(shifts.family, alpha)
        found = evaluate(goal, alpha, here)
        best = found if best is None else best.replaced(found, (found.miss < best.miss) & ~done)
        falling = goal.slope(alpha, here) < 0
        low, high = torch.where(falling, alpha, low), torch.where(falling, high, alpha)
        predicted, settled = _step(_expand(alpha, here), goal, low, high, config.tolerance)
        better = settled & ~done & (predicted.miss <= best.miss)
        best = best.replaced(predicted, better)
        done = done | settled
        if bool(done.all()):
            break
        alpha = torch.where(done, alpha, predicted.alpha)
    assert best is not None
    return _escape_local_minima(best, shifts, goal, config)


def _escape_local_minima(best: Solution, shifts: Shifts, goal: Goal, config: SolverConfig) -> Solution:
    """Tries the grid too where the goal is missed by far: only there can the loss have a second minimum that is lower.

    Where both divergences meet their goals, nothing can be better.
    """
    doubtful = (best.miss > _DOUBT**2 * (goal.forward**2 + goal.backward**2)).any(-1)
    if not bool(doubtful.any()):
        return best
    rows = doubtful.nonzero()[:, 0]
    some = Shifts(ShiftFamily(*(part[rows] for part in shifts.family)), *(part[rows] for part in shifts[1:]))
    coarse = grid(some, Goal(*(part[rows] for part in goal)), config)
    found = Solution(*(part[rows] for part in best)).or_better(coarse)
    return Solution(*(old.index_copy(0, rows, new) for old, new in zip(best, found, strict=True)))


def _expand(alpha: Tensor, here: Tilt) -> _Expansion:
    return _Expansion(*(term[..., None] for term in (alpha, here.backward, *cumulants(here.moments))))


def _step(
    expansion: _Expansion, goal: Goal, low: Tensor, high: Tensor, tolerance: float
) -> tuple[Solution, Bool[Tensor, "rows experts"]]:
    """Returns the expansion's minimum within its radius and the bracket, and whether that needs no further look."""
    alpha, radius = expansion.alpha, expansion.radius()
    goal = Goal(goal.forward[..., None], goal.backward[..., None])
    low, high = torch.maximum(low[..., None], alpha - radius), torch.minimum(high[..., None], alpha + radius)
    near, far = low, high
    fractions = torch.linspace(0, 1, _SCAN, dtype=alpha.dtype, device=alpha.device)
    # Two scans and a Gauss-Newton step: cheap beside one look at the vocabulary, and no local minimum stops them.
    for _ in range(2):
        steps = near + (far - near) * fractions - alpha
        index = goal.miss(*expansion.divergences(steps)).argmin(-1, keepdim=True)
        step, width = steps.gather(-1, index), (far - near) / (_SCAN - 1)
        near, far = torch.maximum(near, alpha + step - width), torch.minimum(far, alpha + step + width)
    forward, backward = expansion.divergences(step)
    d_forward, d_backward = expansion.slopes(step)
    stiffness = (d_forward**2 + d_backward**2).clamp(min=torch.finfo(alpha.dtype).tiny)
    correction = -((forward - goal.forward) * d_forward + (backward - goal.backward) * d_backward) / stiffness
    step = torch.minimum(torch.maximum(step + correction, near - alpha), far - alpha)
    forward, backward = expansion.divergences(step)
    # The first term left out of the mean, if orders go on shrinking as the radius assumes.
    left_out = (expansion.fourth / 24 * step**4 / radius).abs()
    exact = (alpha + step) * left_out <= _EXPANSION_SHARE * tolerance * stiffness.sqrt()
    settled = exact & (step.abs() < 0.99 * radius)
    new = Solution(alpha + step, forward, backward, goal.miss(forward, backward))
    return Solution(*(value[..., 0] for value in new)), settled[..., 0]
