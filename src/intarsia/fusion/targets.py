"""What is known before alpha is sought: how far each expert moved from its base, and which way that points for L."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from intarsia.compiled import compilable, in_threads
from intarsia.errors import InputError
from intarsia.fusion import kernels
from intarsia.fusion.config import Target
from intarsia.fusion.tilting import ShiftFamily, blocks, normalize, raw_moments

# Nothing a language model says is this unlikely on purpose: masks are written as -inf or as the lowest number of a
# type, whose differences would be infinite or meaningless.
_MASKED_BELOW = -1e30

# A divergence this large, in nats, says only that an expert excludes what its base allows.
KL_LIMIT = 50.0


class Shifts(NamedTuple):
    """Everything a solver needs.

    Attributes:
        family: The large model and the experts' shifts.
        forward: `KL(Q_t || Q)` of each expert, in nats, `[rows, experts]`.
        backward: `KL(Q || Q_t)`, `[rows, experts]`.
        small_variance: Variance of each shift under the small base, `[rows, experts]`.
        large_variance: Variance of each shift under the large model, `[rows, experts]`.
        clipped: Whether a divergence was cut at `KL_LIMIT`, `[rows]`.
    """

    family: ShiftFamily
    forward: Float[Tensor, "rows experts"]
    backward: Float[Tensor, "rows experts"]
    small_variance: Float[Tensor, "rows experts"]
    large_variance: Float[Tensor, "rows experts"]
    clipped: Bool[Tensor, "rows"]


def measure_shifts(
    large: Float[Tensor, "rows vocab"],
    small: Float[Tensor, "rows vocab"],
    experts: Sequence[Float[Tensor, "rows vocab"]],
    *,
    first_row: int = 0,
) -> Shifts:
    """Measures the experts' shifts on one block of rows.

    Tokens that any model masks (-inf) take no part: they have no shift and no probability in any divergence.

    Args:
        large: Logits of the large model; float32 or float64, as all that follow.
        small: Logits of the small base.
        experts: Logits of each expert.
        first_row: What messages call the first of these rows.

    Raises:
        InputError: If a model's logits are NaN, or one excludes every token that the others allow.
    """
    if compilable(large) and all_usable(large, small, *experts):
        return _measure_compiled(large, small, experts)
    base = torch.empty_like(large)[:, None]
    shift = large.new_empty(len(large), len(experts), large.shape[-1])
    measured = []
    for rows in blocks(shift):
        block = large[rows], small[rows], *(expert[rows] for expert in experts)
        # Into slices of what is returned: joining blocks would cost as much as all the arithmetic on them.
        measured.append(_measure(block, base[rows], shift[rows], first_row + rows.start))
    log_norm, *scalars = measured[0] if len(measured) == 1 else map(torch.cat, zip(*measured, strict=True))
    return _shifts(ShiftFamily(base, shift, log_norm), *scalars)


def _measure_compiled(large: Tensor, small: Tensor, experts: Sequence[Tensor]) -> Shifts:
    tuned = torch.stack(list(experts), 1) if len(experts) > 1 else experts[0][:, None]
    of_large, of_small, of_tuned = (logits.detach().contiguous().numpy() for logits in (large, small, tuned))
    shift = np.empty_like(of_tuned)

    def measure(rows: slice) -> kernels.Doubles:
        return kernels.log_shifts(of_large[rows], of_small[rows], of_tuned[rows], shift[rows])

    found = torch.from_numpy(np.concatenate(in_threads(len(shift), kernels.STEPS_A_TOKEN * shift[0].size, measure)))
    log_norm, forward, small_mean, small_square, large_variance = found.unbind(-1)
    family = ShiftFamily(torch.from_numpy(of_large)[:, None], torch.from_numpy(shift), log_norm[:, :1])
    return _shifts(family, forward, -small_mean, small_square - small_mean**2, large_variance)


def _shifts(family: ShiftFamily, forward: Tensor, backward: Tensor, small: Tensor, large: Tensor) -> Shifts:
    cut = ((forward > KL_LIMIT) | (backward > KL_LIMIT)).any(-1)
    forward, backward, small, large = (values.to(family.shift.dtype) for values in (forward, backward, small, large))
    return Shifts(
        family, forward.clamp(0, KL_LIMIT), backward.clamp(0, KL_LIMIT), small.clamp(min=0), large.clamp(min=0), cut
    )


def _measure(models: Sequence[Tensor], base: Tensor, shift: Tensor, first_row: int) -> tuple[Tensor, ...]:
    """Writes `base` and `shift`; returns the base's log-norm and what `Shifts` holds beside the family."""
    usable = all_usable(*models)
    if not usable:
        refuse_nan(models, first_row=first_row)
        models = _mask_jointly(models)
    large, small = models[0][:, None], models[1][:, None]
    # On (rows, experts, vocab), so that experts are solved for at once.
    tuned = torch.stack(list(models[2:]), 1) if len(models) > 3 else models[2][:, None]
    torch.sub(large, large.amax(-1, keepdim=True), out=base)
    log_norm, large_probabilities = normalize(base)
    small_norm, small_probabilities = normalize(small)
    tuned_norm, tuned_probabilities = normalize(tuned)
    # Log of Q_t / Q, which is small where the shift is: means of it are exact there, differences of entropies are not.
    ratio = torch.sub(tuned, small, out=shift).sub_((tuned_norm - small_norm)[..., None])
    left_out = None if usable else base.isneginf()
    if left_out is not None:
        ratio.masked_fill_(left_out, 0.0)
    forward = tuned_probabilities.mul_(ratio).sum(-1)
    weighted = torch.mul(small_probabilities, ratio, out=tuned_probabilities)
    small_mean, small_square = raw_moments(weighted, ratio, 2).unbind(-1)
    mean = torch.matmul(large_probabilities, ratio.transpose(-1, -2))[:, 0]
    shift.sub_(mean[..., None])
    if left_out is not None:
        shift.masked_fill_(left_out, 0.0)
    weighted = torch.mul(large_probabilities, shift, out=tuned_probabilities)
    centred, large_square = raw_moments(weighted, shift, 2).unbind(-1)
    return log_norm, forward, -small_mean, small_square - small_mean**2, large_square - centred**2


def choose_target(
    shifts: Shifts, target: Target
) -> tuple[Float[Tensor, "rows 1"], Float[Tensor, "rows 1"], float, Float[Tensor, "rows"]]:
    """Returns the pair of divergences to reach, and how the loss follows from the distance to it.

    The paper's loss sums the squared distances to every expert's pair; that is the number of experts times the
    squared distance to their mean, plus a constant.

    Returns:
        Target of `KL(P_alpha || P)` and of `KL(P || P_alpha)`; factor and constant of the loss.
    """
    forward, backward = shifts.forward, shifts.backward
    if target == "max":
        farthest = (forward + backward).argmax(-1, keepdim=True)
        return forward.gather(-1, farthest), backward.gather(-1, farthest), 1.0, torch.zeros_like(forward[:, 0])
    mean_forward, mean_backward = forward.mean(-1, keepdim=True), backward.mean(-1, keepdim=True)
    constant = ((forward - mean_forward) ** 2 + (backward - mean_backward) ** 2).sum(-1)
    return mean_forward, mean_backward, float(forward.shape[-1]), constant


def refuse_nan(models: Sequence[Float[Tensor, "rows vocab"]], *, first_row: int) -> None:
    """Checks the logits of the large model, the small one and the experts, in this order.

    Raises:
        InputError: If one is NaN or positively infinite; rows are counted from `first_row`.
    """
    for index, logits in enumerate(models):
        # Only NaN and infinity make a maximum that is not less than infinity.
        if logits.numel() == 0 or bool(logits.max() < float("inf")):
            continue
        row = first_row + int((~(logits.amax(-1) < float("inf"))).nonzero()[0, 0])
        name = ("the large model", "the small model")[index] if index < 2 else f"expert {index - 2}"
        raise InputError(
            f"{name} gave logits that are NaN or infinite, first in row {row}",
            fix="check its weights, or run it in float32",
        )


def all_usable(*logits: Tensor) -> bool:
    """Returns whether no model masks a token and none is NaN."""
    # A sum is cheap and carries every NaN and infinity with it; very large negative masks overflow or show.
    return all(tensor.numel() == 0 or bool(tensor.sum(-1).abs().max() < -_MASKED_BELOW) for tensor in logits)


def _mask_jointly(models: Sequence[Tensor]) -> list[Tensor]:
    allowed = torch.stack([logits > _MASKED_BELOW for logits in models]).all(0)
    if not allowed.any(-1).all():
        row = int((~allowed.any(-1)).nonzero()[0, 0])
        raise InputError(
            f"in row {row} of the logits every token is masked by one of the models",
            fix="allow the same tokens in all models",
        )
    return [logits.masked_fill(~allowed, float("-inf")) for logits in models]
