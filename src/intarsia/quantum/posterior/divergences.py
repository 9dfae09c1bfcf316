"""How much a value tells that was predicted otherwise: three divergences of one measured bit from another.

The bit of a string with expectation value r is ((1 + r) / 2, (1 - r) / 2); m is predicted. Reconstruction: the paper
names the chi-squared divergence; which reference scale it takes is not known, so all three are here.
"""

import warnings
from typing import Literal

import numpy as np

from intarsia.errors import UnknownNameError

DivergenceName = Literal["sq", "chi2", "kl"]
DIVERGENCES = ("sq", "chi2", "kl")
_TOLERANCE = 1e-9


class NumericalWarning(UserWarning):
    """A number that rounding may have spoilt."""


def information(divergence: str, value: float, prediction: float) -> float:
    """The information of a value beyond its prediction.

    Args:
        divergence: `"sq"`, `(r - m)^2`, chi-squared on the scale of the fair bit; `"chi2"`, `(r - m)^2 / (1 - m^2)`,
            chi-squared relative to the predicted bit; `"kl"`, the Kullback-Leibler divergence in bits.
        value: The true r.
        prediction: The predicted m.

    Raises:
        UnknownNameError: If there is no such divergence.
    """
    if divergence not in DIVERGENCES:
        raise UnknownNameError("divergence", divergence, DIVERGENCES)
    delta = value - prediction
    if divergence == "sq":
        return delta**2
    if abs(delta) < _TOLERANCE:
        return 0.0
    if divergence == "chi2":
        room = 1 - prediction**2
        if room < 1e-7:
            warnings.warn(
                f"the prediction {prediction:.10g} leaves no room for the value {value:.10g}: chi2 is unstable here",
                NumericalWarning,
                stacklevel=2,
            )
        return delta**2 / max(room, 1e-15)
    return _bits(1 + value, 1 + prediction) + _bits(1 - value, 1 - prediction)


def _bits(true: float, predicted: float) -> float:
    """`p log2(p / q)` of p = true / 2, q = predicted / 2."""
    if true <= 0:
        return 0.0
    return float(true / 2 * np.log2(true / max(predicted, 1e-300)))
