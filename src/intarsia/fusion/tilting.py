"""The exponential family that logit arithmetic moves in: `P_alpha(x)` proportional to `P(x) exp(alpha s(x))`.

Write `A(alpha) = log E_P[exp(alpha s)]` with `s` centred, `E_P[s] = 0`. Then `A' = m` and `A'' = v` are the mean and
the variance of `s` under `P_alpha`, and both divergences between `P_alpha` and `P` are functions of these scalars:

    KL(P_alpha || P) = alpha m - A        its derivative: alpha v
    KL(P || P_alpha) = A                  its derivative: m

So one pass over the vocabulary at a given alpha yields both, and their derivatives.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.compiled import compilable, in_threads
from intarsia.fusion import kernels

# Numbers of one block of rows. Temporaries of larger blocks fall out of the cache, and their memory is fresh each time.
_CACHED = 2**17

Scalars = Float[Tensor, "rows shifts"]
Rows: TypeAlias = npt.NDArray[np.int64]


class ShiftFamily(NamedTuple):
    """The large model's distributions and, for each, one direction per expert to tilt it in.

    Attributes:
        base: Log-weights of P up to a constant per row; -inf at tokens left out, `[rows, 1, vocab]`.
        shift: Centred `s`; 0 at tokens left out, `[rows, shifts, vocab]`.
        log_norm: Log of the sum of the base's weights, `[rows, 1]`.
    """

    base: Float[Tensor, "rows 1 vocab"]
    shift: Float[Tensor, "rows shifts vocab"]
    log_norm: Float[Tensor, "rows 1"]


class Tilt(NamedTuple):
    """What one pass over the vocabulary tells about `P_alpha`.

    Attributes:
        forward: `KL(P_alpha || P)` in nats.
        backward: `KL(P || P_alpha)` in nats.
        moments: `E[s]`, `E[s^2]`, ... under `P_alpha`, as many as were asked for.
    """

    forward: Scalars
    backward: Scalars
    moments: Float[Tensor, "rows shifts orders"]

    @property
    def mean(self) -> Scalars:
        """`m`, the derivative of `backward`."""
        return self.moments[..., 0]

    @property
    def variance(self) -> Scalars:
        """`v`; alpha times it is the derivative of `forward`."""
        return (self.moments[..., 1] - self.moments[..., 0] ** 2).clamp(min=0)


def tilt(family: ShiftFamily, alpha: Scalars, *, orders: int = 2) -> Tilt:
    """Evaluates `P_alpha` once for every row and shift.

    Args:
        family: Where from and where to.
        alpha: How far, `[rows, shifts]`.
        orders: How many moments to compute, at most four; 2 for the derivatives, 1 for the divergences alone.
    """
    if compilable(family.shift):
        told = torch.from_numpy(_look_compiled(family, alpha.double().numpy(), np.arange(len(alpha))))
        backward, moments = told[..., 0], told[..., 1 : orders + 1]
    else:
        parts = [
            _tilt_block(family.base[part], family.shift[part], alpha[part], orders) for part in blocks(family.shift)
        ]
        log_norm, moments = (torch.cat(part) for part in zip(*parts, strict=True))
        backward = (log_norm - family.log_norm).clamp(min=0)
    forward = (alpha * moments[..., 0] - backward).clamp(min=0)
    return Tilt(*(values.to(alpha.dtype) for values in (forward, backward, moments)))


def look(family: ShiftFamily, alpha: kernels.Doubles, rows: Rows) -> kernels.Doubles:
    """As `tilt`, for some rows and in numbers, which are faster than tensors where there are few.

    Args:
        family: Where from and where to.
        alpha: How far, `[rows, shifts]`.
        rows: Which rows of the family.

    Returns:
        `KL(P || P_alpha)` and the first four moments, `[rows, shifts, 5]`.
    """
    if compilable(family.shift):
        return _look_compiled(family, alpha, rows)
    if len(rows) < len(family.base):
        chosen = torch.as_tensor(rows, device=family.base.device)
        family = ShiftFamily(*(values[chosen] for values in family))
    told = tilt(family, torch.as_tensor(alpha, dtype=family.shift.dtype, device=family.shift.device), orders=4)
    numbers: kernels.Doubles = torch.cat([told.backward[..., None], told.moments], -1).double().cpu().numpy()
    return numbers


def _look_compiled(family: ShiftFamily, alpha: kernels.Doubles, rows: Rows) -> kernels.Doubles:
    base, shift, strength = family.base[:, 0].numpy(), family.shift.numpy(), alpha.astype(np.float32)
    steps = kernels.STEPS_A_TOKEN * shift[0].size
    told = np.concatenate(
        in_threads(len(rows), steps, lambda part: kernels.tilted_moments(base, shift, rows[part], strength[part]))
    )
    told[..., 0] = np.maximum(told[..., 0] - family.log_norm.numpy()[rows], 0)
    return told


def _tilt_block(base: Tensor, shift: Tensor, alpha: Tensor, orders: int) -> tuple[Tensor, Tensor]:
    log_norm, probabilities = normalize(torch.addcmul(base, shift, alpha[..., None]))
    return log_norm, raw_moments(probabilities.mul_(shift), shift, orders)


def blocks(values: Float[Tensor, "rows *others"]) -> Iterator[slice]:
    """Yields slices of rows that a processor's cache holds; on an accelerator, all rows at once."""
    rows = len(values)
    size = rows if values.device.type != "cpu" else max(1, _CACHED * rows // max(values.numel(), 1))
    for start in range(0, rows, max(size, 1)):
        yield slice(start, start + size)


def raw_moments(
    weighted: Float[Tensor, "*rows vocab"], values: Float[Tensor, "*rows vocab"], orders: int
) -> Float[Tensor, "*rows orders"]:
    """Returns the mean of the values, of their squares, and so on.

    Args:
        weighted: Probabilities times the values. Used up: a fresh tensor of this size costs more than the arithmetic.
        values: The values.
        orders: How many moments.
    """
    return torch.stack([(weighted.mul_(values) if order else weighted).sum(-1) for order in range(orders)], -1)


def normalize(log_weights: Float[Tensor, "*rows vocab"]) -> tuple[Float[Tensor, "*rows"], Float[Tensor, "*rows vocab"]]:
    """Returns the log of the sum of the weights, and the weights divided by it.

    softmax is twice as fast as exp or logsumexp on CPUs, and the sum can be read off its largest entry. Where that is
    would cost more than all the rest.
    """
    probabilities = torch.softmax(log_weights, -1)
    return log_weights.amax(-1) - probabilities.amax(-1).log(), probabilities


def cumulants(m1: Any, m2: Any, m3: Any, m4: Any) -> tuple[Any, Any, Any, Any]:
    """Returns the first four cumulants, the derivatives of `A`, from the first four moments: numbers or tensors."""
    variance = m2 - m1**2
    third = m3 - 3 * m1 * m2 + 2 * m1**3
    fourth = m4 - 4 * m1 * m3 - 3 * m2**2 + 12 * m1**2 * m2 - 6 * m1**4
    # Rounding can make it negative.
    return m1, variance * (variance > 0), third, fourth
