"""Bounds that hold whatever found them: each is checked by one Hermitian eigenvalue, without a solver.

For any numbers a and every legal completion sigma of the known values,

    tr(sigma P) = tr(sigma (P + sum_j a_j (P_j - r_j I))) <= lambda_max(P + sum_j a_j (P_j - r_j I)).

So a vector of weights is a certificate by itself. The mirror image P -> -P bounds from below.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.errors import InputError
from intarsia.quantum.paulis import check_label, common_length, matrix_of, places


@dataclass(frozen=True, slots=True)
class Certificate:
    """Weights of the known strings that prove an interval.

    Attributes:
        upper: Label to weight; `verify_certificate(known, target, upper)` is the upper endpoint.
        lower: The same for the mirrored target; the lower endpoint is minus that bound.
    """

    upper: Mapping[str, float]
    lower: Mapping[str, float]


def verify_certificate(
    known: Mapping[str, float], target: str, weights: Mapping[str, float] | Sequence[float], *, mirrored: bool = False
) -> float:
    """An upper bound of `tr(sigma P)` over all states with the known values, proved by one eigenvalue.

    Args:
        known: Strings and their expectation values.
        target: The string P.
        weights: A number for each known string, by label (absent ones count as zero) or in the order of `known`.
        mirrored: Whether -P takes the place of P; minus the result is then a lower bound of `tr(sigma P)`.

    Returns:
        The largest eigenvalue of `P + sum_j a_j (P_j - r_j I)`, raised by what rounding may have cost.

    Raises:
        InputError: If a string is wrong, or weights are given for strings that are not known.
    """
    n = common_length([target, *known])
    given = dict(zip(known, weights, strict=False)) if not isinstance(weights, Mapping) else dict(weights)
    if len(given) != len(weights) or not set(given) <= set(known):
        raise InputError(
            f"there are {len(weights)} weights, but they must be of the {len(known)} known strings",
            fix="give one weight a known string, in the same order, or by label",
        )
    table = np.zeros(4**n)
    strings = list(given)
    numbers = np.array([given[label] for label in strings], dtype=float)
    table[places(strings)] = numbers
    table[0] = -float(sum(numbers * [known[label] for label in strings]))
    table[places([check_label(target, n)])] += -1.0 if mirrored else 1.0
    values = np.linalg.eigvalsh(matrix_of(table.reshape(1 << n, 1 << n)))
    # The eigenvalue solver is backward stable: off by a small multiple of the largest eigenvalue's rounding.
    return float(values[-1] + 8 * np.finfo(float).eps * (1 << n) * (np.abs(values).max() + np.abs(table[0])))


def verify_infeasibility(known: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The largest eigenvalue of `sum_j b_j (P_j - r_j I)`: if it is negative, no state has the known values.

    Raises:
        InputError: If a string is wrong.
    """
    n = common_length(known)
    strings = list(weights)
    numbers = np.array([weights[label] for label in strings], dtype=float)
    table = np.zeros(4**n)
    table[places(strings)] = numbers
    table[0] = -float(sum(numbers * [known[label] for label in strings]))
    return float(np.linalg.eigvalsh(matrix_of(table.reshape(1 << n, 1 << n)))[-1])


class InfeasibleError(InputError):
    """Known values that no state has.

    Args:
        what: What is wrong.
        certificate: Weights b by label with `lambda_max(sum_j b_j (P_j - r_j I)) < 0`, which prove it.

    Attributes:
        certificate: The same.
    """

    def __init__(self, what: str, *, certificate: Mapping[str, float]) -> None:
        super().__init__(
            what,
            fix="check the values; sum b_j (P_j - r_j I) has only negative eigenvalues, with b = "
            + ", ".join(f"{label}: {number:.4g}" for label, number in certificate.items()),
        )
        self.certificate = dict(certificate)
