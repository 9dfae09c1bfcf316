"""Variable projection for a sum of power laws: exponents outside, non-negative amplitudes inside."""

from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares, nnls

Array = np.ndarray


class Solution(NamedTuple):
    """Exponents and amplitudes of the best fit.

    Attributes:
        exponents: One per varying axis, given ones included.
        amplitudes: One per varying axis, then E if there is a constant.
        predicted: Fitted values.
        loss: Weighted sum of squared residuals.
    """

    exponents: Float[Array, "axes"]
    amplitudes: Float[Array, "terms"]
    predicted: Float[Array, "cells"]
    loss: float


def design_matrix(
    log_ratios: Float[Array, "cells axes"], exponents: Float[Array, "axes"], constant: bool
) -> Float[Array, "cells terms"]:
    """Columns (x0/x)^e for each axis, and a column of ones if there is a constant."""
    terms = np.exp(-log_ratios * exponents)
    return np.column_stack([terms, np.ones(len(terms))]) if constant else terms


def project(
    log_ratios: Float[Array, "cells axes"],
    y: Float[Array, "cells"],
    root_weights: Float[Array, "cells"],
    *,
    given: Float[Array, "axes"],
    bounds: tuple[float, float],
    constant: bool,
    starts: Float[Array, "starts free"],
) -> Solution:
    """Minimises the weighted squared error over exponents and non-negative amplitudes.

    Args:
        log_ratios: log(x / x0), not negative.
        y: Values to fit.
        root_weights: Square roots of the weights.
        given: Exponents that are fixed, NaN where free.
        bounds: Smallest and largest free exponent.
        constant: Whether a constant is fitted.
        starts: Starting values of the free exponents.
    """
    free = np.isnan(given)
    # A common unit for all metrics: tolerances below are absolute.
    unit = float(np.abs(y).max()) or 1.0
    target = y * root_weights / unit

    def solve(log_free: Float[Array, "free"]) -> tuple[Array, Array, Array, Array]:
        exponents = given.copy()
        exponents[free] = np.exp(log_free)
        design = design_matrix(log_ratios, exponents, constant)
        amplitudes, _ = nnls(design * root_weights[:, None], target)
        predicted = design @ amplitudes
        return exponents, amplitudes, predicted, predicted * root_weights - target

    def residuals_at(log_free: Float[Array, "free"]) -> Array:
        return solve(log_free)[3]

    low, high = np.log(bounds[0]), np.log(bounds[1])
    best: Solution | None = None
    for start in starts if free.any() else np.empty((1, 0)):
        point = np.log(start)
        if free.any():
            margin = 1e-6 * (high - low)
            point = least_squares(
                residuals_at,
                np.clip(point, low + margin, high - margin),
                bounds=(low, high),
                method="trf",
                xtol=1e-10,
                ftol=1e-14,
                gtol=1e-14,
                max_nfev=200,
            ).x
        exponents, amplitudes, predicted, residuals = solve(point)
        loss = float(residuals @ residuals) * unit**2
        if best is None or loss < best.loss:
            best = Solution(exponents, amplitudes * unit, predicted * unit, loss)
    assert best is not None
    return best


def start_grid(bounds: tuple[float, float], per_axis: int, axes: int) -> Float[Array, "starts axes"]:
    """Starting exponents: all combinations of `per_axis` values spread evenly on the log scale between 0.05 and 2."""
    low, high = max(bounds[0], 0.05), min(bounds[1], 2.0)
    values = np.geomspace(low, high, per_axis) if per_axis > 1 else np.array([np.sqrt(low * high)])
    return np.array(list(product(values, repeat=axes))).reshape(per_axis**axes, axes)
