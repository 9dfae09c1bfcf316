"""Logit arithmetic whose strength is chosen by KL: the heart of Dynamic Logit Fusion, on tensors alone."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from intarsia.errors import ConfigError, InputError
from intarsia.fusion.config import SolverConfig
from intarsia.fusion.solvers import Goal, Solution, bracket, grid, joint, newton, refine
from intarsia.fusion.targets import Shifts, all_usable, choose_target, measure_shifts, refuse_nan
from intarsia.fusion.tilting import ShiftFamily, tilt

_SOLVERS: dict[str, Callable[[Shifts, Goal, SolverConfig], Solution]] = {
    "grid": grid,
    "refine": refine,
    "bracket": bracket,
    "newton": newton,
    "joint": joint,
}

# Numbers that are in memory at once beside the logits; a few tensors of this size.
_BLOCK_CPU = 2**22
_BLOCK_ACCELERATOR = 2**25

# Experts whose misses differ by less than this share of the goal's square are equals, and the first is taken: rounding
# must not choose.
_TIE = 1e-6


class AlphaResult(NamedTuple):
    """How strongly each row was shifted, and what that achieved. Divergences are in nats.

    Attributes:
        alpha: Strength of each expert's shift, `[*batch, experts]`.
        expert: Index of the expert with the largest alpha, or with the largest weight of a prior, `[*batch]`.
        forward: `KL(P_fused || P)`, `[*batch]`.
        backward: `KL(P || P_fused)`, `[*batch]`.
        target_forward: `KL(Q_t || Q)` of each expert, `[*batch, experts]`.
        target_backward: `KL(Q || Q_t)` of each expert, `[*batch, experts]`.
        loss: The objective at alpha, `[*batch]`.
        at_bound: Whether an active alpha is the smallest or largest allowed, though a shift exists, `[*batch]`.
        saturated: Whether the forward target is beyond what the chosen expert's shift can reach at any alpha,
            `[*batch]`.
        clipped: Whether an expert's divergence was cut at 50 nats, `[*batch]`.
    """

    alpha: Float[Tensor, "*batch experts"]
    expert: Int[Tensor, "*batch"]
    forward: Float[Tensor, "*batch"]
    backward: Float[Tensor, "*batch"]
    target_forward: Float[Tensor, "*batch experts"]
    target_backward: Float[Tensor, "*batch experts"]
    loss: Float[Tensor, "*batch"]
    at_bound: Bool[Tensor, "*batch"]
    saturated: Bool[Tensor, "*batch"]
    clipped: Bool[Tensor, "*batch"]


class FusedLogits(NamedTuple):
    """Fused logits, unnormalised, and how they came about.

    Attributes:
        logits: `[*batch, vocab]`, float32 or float64.
        result: See `AlphaResult`.
    """

    logits: Float[Tensor, "*batch vocab"]
    result: AlphaResult


def solve_alpha(
    large: Float[Tensor, "*batch vocab"],
    small: Float[Tensor, "*batch vocab"],
    experts: Sequence[Float[Tensor, "*batch vocab"]],
    config: SolverConfig | None = None,
    *,
    prior: Float[Tensor, "*batch experts"] | None = None,
) -> AlphaResult:
    """Finds how far to shift the large model so that it moves as far from itself as the experts from their base.

    Distance is KL in both directions (Dynamic Logit Fusion, section 3). Each row is solved by itself.

    Args:
        large: Logits of the large model, any floating type; computed in float32 unless they are float64.
        small: Logits of the small base of the experts.
        experts: Logits of each expert, at least one.
        config: The solver; by default the paper's grid.
        prior: Weights of the experts. Given them, the experts' shifts are first combined into one, and alpha is that
            one's strength times the weights.

    Returns:
        Alpha and what it achieves; see `AlphaResult`. Of several experts one is active, as in the paper, unless the
        solver is `static` or `joint` or a prior is given.

    Raises:
        InputError: If shapes differ, there is no expert, or logits are NaN.
        ConfigError: If a static alpha has another length than `experts`, or `top_m` exceeds the vocabulary.
    """
    return _run(large, small, experts, config or SolverConfig(), prior, fuse=False).result


def fuse_logits(
    large: Float[Tensor, "*batch vocab"],
    small: Float[Tensor, "*batch vocab"],
    experts: Sequence[Float[Tensor, "*batch vocab"]],
    config: SolverConfig | None = None,
    *,
    prior: Float[Tensor, "*batch experts"] | None = None,
) -> FusedLogits:
    """Solves for alpha and adds the shifts: `large + sum_t alpha_t (expert_t - small)`, up to a constant per row.

    Tokens that a model masks (-inf) keep the large model's logit. Arguments and errors are those of `solve_alpha`.
    """
    return _run(large, small, experts, config or SolverConfig(), prior, fuse=True)


@torch.no_grad()
def _run(
    large: Tensor,
    small: Tensor,
    experts: Sequence[Tensor],
    config: SolverConfig,
    prior: Tensor | None,
    *,
    fuse: bool,
) -> FusedLogits:
    _check(large, small, experts, config, prior)
    batch, vocabulary = large.shape[:-1], large.shape[-1]
    exact = torch.float64 if large.dtype == torch.float64 else torch.float32
    flat = [logits.reshape(-1, vocabulary) for logits in (large, small, *experts)]
    weights = None if prior is None else prior.reshape(-1, len(experts)).to(exact)
    rows = len(flat[0])
    budget = _BLOCK_CPU if large.device.type == "cpu" else _BLOCK_ACCELERATOR
    size = max(1, budget // (vocabulary * len(experts)))
    fused = torch.empty(rows, vocabulary, dtype=exact, device=large.device) if fuse else large.new_empty(0)
    results = []
    for start in range(0, rows, size):
        block = [logits[start : start + size].to(exact) for logits in flat]
        given = None if weights is None else weights[start : start + size]
        result, family, alpha = _solve_block(block, config, given, first_row=start)
        results.append(result)
        if fuse:
            out = torch.addcmul(block[0], family.shift[:, 0], alpha[:, :1], out=fused[start : start + size])
            for index in range(1, alpha.shape[-1]):
                out.addcmul_(family.shift[:, index], alpha[:, index, None])
    joined = (torch.cat(parts) for parts in zip(*results, strict=True)) if results else _no_rows(flat[0], len(experts))
    shaped = AlphaResult(*(values.reshape((*batch, *values.shape[1:])) for values in joined))
    return FusedLogits(fused.reshape(large.shape) if fuse else fused, shaped)


def _solve_block(
    models: Sequence[Tensor], config: SolverConfig, prior: Tensor | None, *, first_row: int
) -> tuple[AlphaResult, ShiftFamily, Tensor]:
    """Solves some rows; returns the result, the shifts of all tokens and how much of each is to be added."""
    if config.top_m is not None:
        return _solve_among_likely(models, config, prior, first_row=first_row)
    large, small, *experts = models
    if prior is not None:
        # Combining takes NaN for a mask.
        if not all_usable(*models):
            refuse_nan(models, first_row=first_row)
        experts = [_combine(small, experts, prior)]
    shifts = measure_shifts(large, small, experts, first_row=first_row)
    if config.solver == "static":
        solution = _static(shifts, config)
    else:
        solve = _SOLVERS[config.solver]
        target = choose_target(shifts, config.target)
        solution = solve(shifts, Goal(*target[:2]), config)
        if config.solver != "joint":
            solution = _keep_best_expert(solution, Goal(*target[:2]))
    return _result(shifts, solution, config, prior), shifts.family, solution.alpha


def _combine(small: Tensor, experts: Sequence[Tensor], prior: Tensor) -> Tensor:
    # The sum of shifts; where a model masks a token, so does the combination.
    combined = small.clone()
    for index, expert in enumerate(experts):
        weight = prior[:, index, None]
        # 0 * inf is NaN: an expert that has no say must not have one in masks either.
        shift = torch.where(weight == 0, 0.0, weight * (expert - small))
        combined += shift.nan_to_num(nan=float("-inf"), neginf=float("-inf"))
    return combined


def _static(shifts: Shifts, config: SolverConfig) -> Solution:
    alpha = torch.as_tensor(config.alpha, dtype=shifts.forward.dtype, device=shifts.forward.device)
    alpha = alpha.expand_as(shifts.forward).clone()
    total = _total_shift(shifts.family, alpha)[:, None]
    together = tilt(shifts.family._replace(shift=total), torch.ones_like(alpha[:, :1]), orders=1)
    forward, backward = together.forward.expand_as(alpha), together.backward.expand_as(alpha)
    return Solution(alpha, forward, backward, torch.zeros_like(alpha))


def _keep_best_expert(solution: Solution, goal: Goal) -> Solution:
    least = solution.miss.amin(-1, keepdim=True) + _TIE * (goal.forward**2 + goal.backward**2)
    # argmax of booleans is the first that is true.
    chosen = (solution.miss <= least).to(torch.int8).argmax(-1, keepdim=True)
    active = torch.zeros_like(solution.alpha).scatter(-1, chosen, 1.0)
    forward, backward = solution.forward.gather(-1, chosen), solution.backward.gather(-1, chosen)
    alpha = solution.alpha * active
    return Solution(alpha, forward.expand_as(alpha), backward.expand_as(alpha), solution.miss)


def _total_shift(family: ShiftFamily, alpha: Tensor) -> Tensor:
    return torch.matmul(alpha[:, None, :], family.shift)[:, 0]


def _result(shifts: Shifts, solution: Solution, config: SolverConfig, prior: Tensor | None) -> AlphaResult:
    alpha, forward, backward = solution.alpha, solution.forward[:, 0], solution.backward[:, 0]
    target_forward, target_backward, factor, constant = choose_target(shifts, config.target)
    miss = (forward - target_forward[:, 0]) ** 2 + (backward - target_backward[:, 0]) ** 2
    expert = alpha.argmax(-1)
    # Experts that are not active are at 0 by the paper's rule, and under `joint` most are at a bound: what tells is
    # the largest alpha.
    largest, moves = alpha.amax(-1), (shifts.large_variance > 0).any(-1)
    at_bound = moves & ((largest <= config.low) | (largest >= config.high)) & (config.solver != "static")
    return AlphaResult(
        alpha if prior is None else alpha * prior,
        expert if prior is None else prior.argmax(-1),
        forward,
        backward,
        shifts.forward.expand(-1, alpha.shape[-1]) if prior is None else shifts.forward.expand(-1, prior.shape[-1]),
        shifts.backward.expand(-1, alpha.shape[-1]) if prior is None else shifts.backward.expand(-1, prior.shape[-1]),
        factor * miss + constant,
        at_bound,
        _beyond_reach(shifts, expert, target_forward[:, 0]),
        shifts.clipped,
    )


def _beyond_reach(shifts: Shifts, expert: Tensor, target: Tensor) -> Tensor:
    """Whether the forward target exceeds `-log P(argmax s)`, which alpha = infinity would give."""
    family = shifts.family
    # No token is likelier than the likeliest, so most often there is nothing to look for.
    if not bool((target > (family.log_norm - family.base.amax(-1))[:, 0]).any()):
        return torch.zeros_like(target, dtype=torch.bool)
    # Shifts are centred and 0 at tokens left out, so that these are not the largest unless nothing moves.
    peak = family.shift.argmax(-1).gather(-1, expert[:, None])
    return target > (family.log_norm - family.base[:, 0].gather(-1, peak))[:, 0]


def _solve_among_likely(
    models: Sequence[Tensor], config: SolverConfig, prior: Tensor | None, *, first_row: int
) -> tuple[AlphaResult, ShiftFamily, Tensor]:
    """Solves with each model's likeliest tokens, leaving out the rest, then shifts all tokens."""
    assert config.top_m is not None
    # First, since it refuses NaN, which would be taken for the likeliest.
    family = measure_shifts(models[0], models[1], models[2:], first_row=first_row).family
    likely = torch.cat([logits.topk(config.top_m, -1).indices for logits in models], -1)
    likely = likely.sort(-1).values
    repeated = torch.zeros_like(likely, dtype=torch.bool)
    repeated[:, 1:] = likely[:, 1:] == likely[:, :-1]
    some = [logits.gather(-1, likely).masked_fill(repeated, float("-inf")) for logits in models]
    whole = SolverConfig.from_dict(config.to_dict() | {"top_m": None})
    result, *_ = _solve_block(some, whole, prior, first_row=first_row)
    return result, family, result.alpha


def _check(large: Tensor, small: Tensor, experts: Sequence[Tensor], config: SolverConfig, prior: Tensor | None) -> None:
    if not experts:
        raise InputError("there are no experts", fix="pass the logits of at least one expert")
    for name, logits in (("the small model", small), *((f"expert {i}", e) for i, e in enumerate(experts))):
        if logits.shape[-1] != large.shape[-1]:
            raise InputError(
                f"{name} has {logits.shape[-1]} logits a token, but the large model has {large.shape[-1]}",
                fix="cut all to the tokenizer's length; the models must share one tokenizer",
            )
        if logits.shape != large.shape:
            raise InputError(
                f"the logits of {name} have shape {list(logits.shape)}, but those of the large model "
                f"{list(large.shape)}",
                fix="run all models on the same rows and positions",
            )
    if prior is not None and prior.shape != (*large.shape[:-1], len(experts)):
        raise InputError(f"the prior has shape {list(prior.shape)}, but one weight per row and expert is needed")
    if config.solver == "static" and isinstance(config.alpha, Sequence):
        if prior is not None:
            raise ConfigError("alpha", list(config.alpha), "one number: a prior makes one shift of all experts'")
        if len(config.alpha) != len(experts):
            raise ConfigError("alpha", list(config.alpha), f"one number, or one for each of the {len(experts)} experts")
    if config.top_m is not None and config.top_m > large.shape[-1]:
        raise ConfigError("top_m", config.top_m, f"at most {large.shape[-1]}, the size of the vocabulary")


def _no_rows(logits: Tensor, experts: int) -> list[Tensor]:
    one, many = logits.new_empty(0, dtype=torch.float32), logits.new_empty(0, experts, dtype=torch.float32)
    return [many, one.long(), one, one, many, many, one, one.bool(), one.bool(), one.bool()]
