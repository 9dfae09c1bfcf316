"""The interval of values a string can still take: two semidefinite programs, each answer proved by a certificate.

An endpoint can be computed from either side: over the unknown values of the other strings, or over the certificate's
weights. Both are linear matrix inequalities of the same side; the one with fewer variables is solved. Whatever the
solver says of itself, an endpoint counts only if the certificate's eigenvalue and an attained value agree.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from intarsia.errors import InputError
from intarsia.quantum.paulis import check_label, common_length, masks, matrix_of, places, table_of
from intarsia.quantum.posterior.certificates import (
    Certificate,
    InfeasibleError,
    verify_certificate,
    verify_infeasibility,
)
from intarsia.quantum.posterior.conic import Cone, SolverName, cone_of, solve, vectorised_paulis
from intarsia.quantum.posterior.faces import Face, endpoint_on_face
from intarsia.quantum.posterior.structure import GeneratedGroup, odd_in_y

GAP = 1e-5
"""How far a certificate and an attained value may be apart for the endpoint to count."""
_SLACK = 1e-6
_ZERO = 1e-12


@dataclass(frozen=True, slots=True)
class FeasibleInterval:
    """The values a string can take in a state with known values of others.

    Attributes:
        lower: Rigorous lower bound, proved by `certificate.lower`.
        upper: Rigorous upper bound, proved by `certificate.upper`.
        attained_lower: The lowest value the solver reached by a state, up to its accuracy.
        attained_upper: The highest one.
        certificate: Weights that `verify_certificate` checks without a solver.
        status: `"solved"`, or `"failed"` where bounds and attained values are more than 1e-5 apart; the bounds hold
            even then.
        attempts: What was tried, e.g. `"clarabel 1e-07: Solved"`.
    """

    lower: float
    upper: float
    attained_lower: float
    attained_upper: float
    certificate: Certificate
    status: str
    attempts: tuple[str, ...]

    @property
    def solved(self) -> bool:
        """Whether both endpoints are known within 1e-5."""
        return self.status == "solved"

    @property
    def midpoint(self) -> float:
        """What the interval estimator predicts."""
        return (self.lower + self.upper) / 2


class Endpoint(NamedTuple):
    """One end: what is proved, what is attained, the proof, and whether they agree."""

    bound: float
    attained: float
    weights: dict[str, float]
    solved: bool
    attempts: tuple[str, ...]


def feasible_interval(
    known: Mapping[str, float],
    target: str,
    *,
    solver: SolverName | None = None,
    structure: bool = True,
    face: Face | None = None,
) -> FeasibleInterval:
    """The smallest and the largest expectation value of a string over all states with known values.

    Args:
        known: Strings and their expectation values.
        target: The string asked for; not one of the known ones.
        solver: `"clarabel"` or `"scs"` to use no other; by default Clarabel, then other tolerances, then SCS.
        structure: Whether symmetries of the known values shrink the problem (the answer is the same).
        face: The face of the positive matrices that all such states lie on, if the known values lie on the border.

    Raises:
        InputError: If a string is wrong, a value is outside [-1, 1], or the target is known.
        InfeasibleError: If no state has the known values; it holds the proof.
        MissingExtraError: If the solver is not installed.
    """
    n = common_length([target, *known])
    _check_known(known, target)
    problem = _reduced(n, known, target) if structure else _unreduced(n, known, target)
    upper = _endpoint(problem, 1, solver, face)
    lower = _mirrored(problem, upper) if problem.symmetric and face is None else None
    lower = lower or _endpoint(problem, -1, solver, face)
    solved = upper.solved and lower.solved
    if not solved:
        _refuse_infeasible(problem)
    return FeasibleInterval(
        lower=max(-1.0, -lower.bound),
        upper=min(1.0, upper.bound),
        attained_lower=-lower.attained,
        attained_upper=upper.attained,
        certificate=Certificate(upper.weights, lower.weights),
        status="solved" if solved else "failed",
        attempts=upper.attempts + lower.attempts,
    )


def _check_known(known: Mapping[str, float], target: str) -> None:
    if check_label(target) in known:
        raise InputError(f"{target} is asked for, but its value is known", fix="leave it out of the known values")
    for label, value in known.items():
        if not -1 - 1e-9 <= value <= 1 + 1e-9:
            raise InputError(
                f"the known value of {label} is {value:g}, but expectation values lie in [-1, 1]",
                fix="check how it was computed",
            )


# The problem, and what symmetry takes from it


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    n: int
    target: str
    known: dict[str, float]  # all of them, for certificates
    strings: list[str]  # the known ones that matter
    where: Int[np.ndarray, " strings"]
    values: Float[np.ndarray, " strings"]
    target_place: int
    free: Int[np.ndarray, " free"]
    real: bool
    symmetric: bool  # whether -P is as possible as P
    flipped: frozenset[str]  # whose weights change sign in the mirror image


def _unreduced(n: int, known: Mapping[str, float], target: str) -> _Problem:
    return _chosen(n, known, target, np.ones(4**n, dtype=bool), real=False, symmetric=False, flipped=frozenset())


def _reduced(n: int, known: Mapping[str, float], target: str) -> _Problem:
    """Keeps the strings that can be nonzero; see `structure`."""
    nonzero = [label for label, value in known.items() if abs(value) > _ZERO]
    group = GeneratedGroup(n, map(int, places(nonzero)))
    target_place = int(places([target])[0])
    real_values = not any(label.count("Y") % 2 for label in nonzero)
    if target_place not in group:
        # A string that commutes with all known nonzero ones flips the target, and with it the target's coset.
        flipped = frozenset(label for label in known if int(places([label])[0]) not in group)
        symmetric = True
    elif real_values and target.count("Y") % 2:
        flipped, symmetric = frozenset(label for label in known if label.count("Y") % 2), True
    else:
        flipped, symmetric = frozenset(), False
    group.add(target_place)
    relevant = group.members()
    real = real_values and target.count("Y") % 2 == 0
    if real:
        relevant &= ~odd_in_y(n)
    return _chosen(n, known, target, relevant, real=real, symmetric=symmetric, flipped=flipped)


def _chosen(
    n: int,
    known: Mapping[str, float],
    target: str,
    relevant: np.ndarray,
    *,
    real: bool,
    symmetric: bool,
    flipped: frozenset[str],
) -> _Problem:
    x, z = masks(target)
    target_place = x << n | z
    all_places = places(list(known))
    strings = [label for label, place in zip(known, all_places, strict=True) if relevant[place]]
    where = places(strings)
    rest = relevant.copy()
    rest[0] = rest[target_place] = False
    rest[where] = False
    values = np.array([known[label] for label in strings], dtype=float)
    free = np.flatnonzero(rest)
    return _Problem(n, target, dict(known), strings, where, values, target_place, free, real, symmetric, flipped)


# One endpoint


def _endpoint(problem: _Problem, sign: int, solver: SolverName | None, face: Face | None) -> Endpoint:
    """Tries solvers and tolerances until an attained value and a proved bound meet; else the best that was proved."""
    if face is not None:
        return endpoint_on_face(face, problem.known, problem.target, sign, gap=GAP)
    if not len(problem.where):
        return Endpoint(1.0, 1.0, {}, True, ("nothing known",))
    best, attempts = Endpoint(1.0, np.nan, {}, False, ()), []
    for name, tolerance, over_weights, refine in _ways(problem, solver):
        run = _over_weights if over_weights else _over_values
        attained, weights, status, trusted = run(problem, sign, name, tolerance, refine)
        attempts.append(f"{name} {tolerance:g}: {status}")
        if not np.isfinite(weights).all():
            continue
        proof = dict(zip(problem.strings, weights.tolist(), strict=True))
        bound = verify_certificate(problem.known, problem.target, proof, mirrored=sign < 0)
        solved = trusted and abs(bound - attained) < GAP and abs(attained) <= 1 + _SLACK
        if solved or bound < best.bound:
            best = Endpoint(bound, attained, proof, solved, ())
        if solved:
            break
    return best._replace(attempts=tuple(attempts))


def _ways(problem: _Problem, solver: SolverName | None) -> Iterator[tuple[SolverName, float, bool, bool]]:
    """Solver, tolerance, side and whether to refine, in the order to be tried.

    Tight tolerances come late: they end as "almost solved" or diverge.
    """
    fewer = len(problem.where) < len(problem.free)
    if solver != "scs":
        # Without refinement first: the certificate tells whether that was enough.
        yield "clarabel", 1e-7, fewer, False
        yield from (("clarabel", tolerance, fewer, True) for tolerance in (1e-7, 1e-6, 1e-9))
        yield from (("clarabel", tolerance, not fewer, True) for tolerance in (1e-7, 1e-9))
    if solver != "clarabel":
        yield from (("scs", 1e-8, side, True) for side in (fewer, not fewer))


_Way = tuple[float, Float[np.ndarray, " strings"], str, bool]


def _over_values(problem: _Problem, sign: int, solver: SolverName, tolerance: float, refine: bool) -> _Way:
    """Maximises x_P over the unknown values: I + sum_known r_j P_j + x_P P + sum_free x_j P_j >= 0."""
    cone, paulis = _cone(problem)
    variables = np.concatenate([[problem.target_place], problem.free])
    c = np.zeros(len(variables))
    c[0] = -sign
    constant = paulis[:, [0]].toarray()[:, 0] + paulis[:, problem.where] @ problem.values
    found = solve(c, paulis[:, variables], constant, cone, solver=solver, tolerance=tolerance, refine=refine)
    if not found.finished:
        return np.nan, np.full(len(problem.where), np.nan), found.status, False
    dual = table_of(found.multiplier).reshape(-1)
    scale = abs(dual[problem.target_place])
    weights = -dual[problem.where] / (scale if scale > 1e-9 else np.nan)
    table = np.zeros(4**problem.n)
    table[0], table[problem.where], table[variables] = 1.0, problem.values, found.x
    lowest = np.linalg.eigvalsh(matrix_of(table.reshape(1 << problem.n, -1)))[0]
    return sign * float(found.x[0]), weights, found.status, bool(lowest > -1e-5)


def _over_weights(problem: _Problem, sign: int, solver: SolverName, tolerance: float, refine: bool) -> _Way:
    """Minimises t over the certificate's weights: t I - P - sum_j a_j (P_j - r_j I) >= 0."""
    cone, paulis = _cone(problem)
    identity = paulis[:, [0]]
    columns = scipy.sparse.hstack(
        [identity, identity @ scipy.sparse.csc_array(problem.values[None, :]) - paulis[:, problem.where]], format="csc"
    )
    c = np.zeros(1 + len(problem.where))
    c[0] = 1
    constant = -sign * paulis[:, [problem.target_place]].toarray()[:, 0]
    found = solve(c, columns, constant, cone, solver=solver, tolerance=tolerance, refine=refine)
    if not found.finished:
        return np.nan, np.full(len(problem.where), np.nan), found.status, False
    state = table_of(found.multiplier).reshape(-1)
    if state[0] < 1e-9:
        return np.nan, found.x[1:], found.status, False
    state = state / state[0]
    miss = np.abs(state[problem.where] - problem.values).max()
    return sign * float(state[problem.target_place]), found.x[1:], found.status, bool(miss < 1e-5)


def _cone(problem: _Problem) -> tuple[Cone, scipy.sparse.csc_array]:
    return cone_of(1 << problem.n, problem.real), vectorised_paulis(problem.n, problem.real)


def _mirrored(problem: _Problem, upper: Endpoint) -> Endpoint | None:
    """The other endpoint by symmetry, with its own proof."""
    weights = {label: -weight if label in problem.flipped else weight for label, weight in upper.weights.items()}
    bound = verify_certificate(problem.known, problem.target, weights, mirrored=True)
    if abs(bound - upper.bound) > 1e-9:
        return None
    return Endpoint(bound, upper.attained, weights, upper.solved, ())


def _refuse_infeasible(problem: _Problem) -> None:
    """Looks for the largest lowest eigenvalue that a matrix with the known values can have; below zero is a proof."""
    if not len(problem.where):
        return
    cone, paulis = _cone(problem)
    identity = paulis[:, [0]]
    variables = np.concatenate([[problem.target_place], problem.free])
    c = np.zeros(1 + len(variables))
    c[0] = -1
    constant = identity.toarray()[:, 0] + paulis[:, problem.where] @ problem.values
    columns = scipy.sparse.hstack([-identity, paulis[:, variables]], format="csc")
    found = solve(c, columns, constant, cone, solver="clarabel", tolerance=1e-7)
    if not found.finished:
        return
    numbers = -table_of(found.multiplier).reshape(-1)[problem.where]
    proof = dict(zip(problem.strings, numbers.tolist(), strict=True))
    if verify_infeasibility(problem.known, proof) < -1e-7:
        raise InfeasibleError("no state has the known values", certificate=proof)
