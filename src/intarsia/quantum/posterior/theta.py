"""A bound for all states at once (T5): the Lovász number of the graph in which anticommuting strings are joined.

For every state, `sum_B r^2` over a set B of strings is at most

    theta = max tr(J X)   subject to   X >= 0, tr X = 1, X_ij = 0 where strings i and j anticommute.

Its dual is a certificate again: for any symmetric A that is zero except at anticommuting pairs,
`theta <= lambda_max(J - A)`, one eigenvalue.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Float

from intarsia.errors import InputError, IntarsiaError
from intarsia.quantum.paulis import common_length, commute
from intarsia.quantum.posterior.conic import SolverName, cone_of, solve

_MOST_FOR_CLARABEL = 20
"""Strings; beyond, a pair for every variable makes an interior-point step too large and SCS is faster."""
_MOST = 256


@dataclass(frozen=True, slots=True, eq=False)
class ThetaBound:
    """A bound of `sum_B r^2` over all states.

    Attributes:
        value: Rigorous upper bound, proved by `certificate`.
        attained: The value of the solver's X, which is theta up to its accuracy.
        certificate: The matrix A; `value` is the largest eigenvalue of `J - A`.
    """

    value: float
    attained: float
    certificate: Float[np.ndarray, "strings strings"]


def theta_bound(paulis: Sequence[str], *, solver: SolverName | None = None) -> ThetaBound:
    """Bounds the sum of squared expectation values of some strings over all states.

    Args:
        paulis: The strings, each once.
        solver: `"clarabel"` or `"scs"`; by default chosen by size.

    Raises:
        InputError: If a string is wrong or comes twice, or there are more than 256.
        MissingExtraError: If the solver is not installed.
        IntarsiaError: If the solver fails.
    """
    common_length(paulis)
    count = len(paulis)
    if len(set(paulis)) < count:
        raise InputError("a string comes twice", fix="give each string once")
    if count > _MOST:
        raise InputError(
            f"{count} strings are too many, the program would have {count**2 // 4} variables", fix="give at most 256"
        )
    ones = np.ones((count, count))
    i, j = (
        np.array([(a, b) for b in range(count) for a in range(b) if not commute(paulis[a], paulis[b])], dtype=int)
        .reshape(-1, 2)
        .T
    )
    cone = cone_of(count, True)
    # Variables: t, then one for each joined pair; minimise t subject to t I - J + A >= 0.
    entries = np.concatenate([np.arange(count) * (np.arange(count) + 3) // 2, j * (j + 1) // 2 + i])
    values = np.concatenate([np.ones(count), np.full(len(i), np.sqrt(2.0))])
    variables = np.concatenate([np.zeros(count, dtype=int), 1 + np.arange(len(i))])
    columns = scipy.sparse.csc_array((values, (entries, variables)), shape=(count * (count + 1) // 2, 1 + len(i)))
    c = np.zeros(1 + len(i))
    c[0] = 1
    constant = -cone.vectorise(ones[None].astype(complex))[:, 0]
    name: SolverName = solver or ("clarabel" if count <= _MOST_FOR_CLARABEL else "scs")
    found = solve(c, columns, constant, cone, solver=name, tolerance=1e-8 if name == "clarabel" else 1e-7)
    if not found.finished:
        raise IntarsiaError(f"{name} found no bound: {found.status}", fix="try the other solver")
    certificate = np.zeros((count, count))
    certificate[i, j] = certificate[j, i] = found.x[1:]
    state = found.multiplier.real
    attained = float(np.sum(state) / np.trace(state))
    bound = float(np.linalg.eigvalsh(ones - certificate)[-1]) + 8 * np.finfo(float).eps * count**2
    return ThetaBound(bound, attained, certificate)
