"""All experts at once: an extension that the paper's one-expert rule leaves out."""

import torch

from intarsia.fusion.config import SolverConfig
from intarsia.fusion.solvers.newton import newton
from intarsia.fusion.solvers.solution import Goal, Solution
from intarsia.fusion.targets import Shifts
from intarsia.fusion.tilting import ShiftFamily, normalize

_ITERATIONS = 10
_HALVINGS = 6
_DAMPING = 1e-6


def joint(shifts: Shifts, goal: Goal, config: SolverConfig) -> Solution:
    """Minimises `miss + ridge * ||alpha||^2 / experts` over the box of all alphas by projected Gauss-Newton steps.

    Starts at the best single expert, so it never does worse than that. The divergences and the miss of the result
    belong to the combined shift; every column holds the same.
    """
    single = newton(shifts, goal, config)
    chosen = single.miss.argmin(-1, keepdim=True)
    alpha = torch.zeros_like(single.alpha).scatter(-1, chosen, single.alpha.gather(-1, chosen))
    alpha = alpha.clamp(config.low, config.high)
    ridge = config.ridge / alpha.shape[-1]
    identity = torch.eye(alpha.shape[-1], dtype=alpha.dtype, device=alpha.device)
    state = _look(shifts.family, alpha)
    loss = _loss(goal, state, alpha, ridge)
    for _ in range(_ITERATIONS):
        forward, backward, mean, covariance = state
        jacobian = torch.stack([torch.einsum("rij,rj->ri", covariance, alpha), mean], 1)
        residual = torch.cat([forward - goal.forward, backward - goal.backward], -1)
        gradient = torch.einsum("rki,rk->ri", jacobian, residual) + ridge * alpha
        # An expert at a bound that the step would leave stays there and takes no part.
        stuck = ((alpha <= config.low) & (gradient > 0)) | ((alpha >= config.high) & (gradient < 0))
        free = (~stuck).to(alpha.dtype)
        hessian = torch.einsum("rki,rkj->rij", jacobian, jacobian) * free[:, :, None] * free[:, None, :]
        # Two residuals cannot fix more than two alphas: without a ridge the matrix is singular.
        damping = _DAMPING * hessian.diagonal(dim1=-2, dim2=-1).sum(-1) + torch.finfo(alpha.dtype).tiny
        hessian = hessian + identity * (ridge + damping[:, None] + (1 - free))[:, :, None]
        direction = -torch.linalg.solve(hessian, gradient * free)
        size = torch.ones_like(loss)
        for _ in range(_HALVINGS):
            trial = (alpha + size * direction).clamp(config.low, config.high)
            trial_state = _look(shifts.family, trial)
            trial_loss = _loss(goal, trial_state, trial, ridge)
            better = trial_loss < loss
            alpha = torch.where(better, trial, alpha)
            state = [
                torch.where(better[..., None] if new.dim() == 3 else better, new, old)
                for new, old in zip(trial_state, state, strict=True)
            ]
            loss = torch.where(better, trial_loss, loss)
            size = torch.where(better, 0.0, size / 2)
            if bool((size * direction.abs().amax(-1, keepdim=True)).max() < config.tolerance / 10):
                break
        if bool((direction.abs().amax(-1)).max() < config.tolerance):
            break
    forward, backward = state[0].expand_as(alpha), state[1].expand_as(alpha)
    return Solution(alpha, forward, backward, goal.miss(forward, backward))


def _look(family: ShiftFamily, alpha: torch.Tensor) -> list[torch.Tensor]:
    """Both divergences `[rows, 1]`, mean `[rows, experts]` and covariance of the shifts under the fused model."""
    combined = (alpha[:, None, :] @ family.shift)[:, 0]
    log_norm, probabilities = normalize(family.base[:, 0] + combined)
    mean = (family.shift @ probabilities[..., None])[..., 0]
    second = (family.shift * probabilities[:, None]) @ family.shift.transpose(-1, -2)
    backward = (log_norm[:, None] - family.log_norm).clamp(min=0).to(alpha.dtype)
    forward = ((alpha * mean).sum(-1, keepdim=True) - backward).clamp(min=0)
    return [forward, backward, mean, second - mean[:, :, None] * mean[:, None, :]]


def _loss(goal: Goal, state: list[torch.Tensor], alpha: torch.Tensor, ridge: float) -> torch.Tensor:
    return goal.miss(state[0], state[1]) + ridge * (alpha**2).sum(-1, keepdim=True)
