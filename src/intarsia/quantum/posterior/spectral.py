"""Completions of known values that are functions of a sum of strings: maximum entropy and least norm, by Newton.

Both are duals without constraints. With `H = sum_j lambda_j P_j` over the known strings,

    maxent       minimise  log tr exp(H) - sum_j lambda_j r_j,                sigma = exp(H) / tr exp(H)
    least norm   minimise  tr (H_+)^2 / 2 - sum_j lambda_j r_j  (j = 0: I),   sigma = H_+, the positive part

The Hessian is a Gram matrix: with `H = U diag(w) U^dagger` and `A_j = U^dagger P_j U`,
`sum_ab conj(A_i)_ab (A_j)_ab K_ab`, K the divided differences of the function. Entries of a Hermitian A are packed as
`Re A + Im A`, a real matrix with the same inner products.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.linalg import lapack

from intarsia.quantum.paulis import matrix_of, signed_permutations, table_of

_MAX_ITERATIONS = 200
_MAX_HALVINGS = 40
_FLOORS = (1e-16, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4)
"""Divided differences below are raised to it in the Hessian. Midway through a chain some eigenvalues of sigma can be
1e-20 and less: they change no expectation value, but they make the Hessian singular and its steps noise. If no step
along a direction helps, the next floor is tried."""
_TOLERANCE = 1e-9
"""Newton ends when no known value is missed by more; it usually ends far below."""
ACCEPTED = 1e-7
"""A fit that rounding stops earlier still counts up to here."""


class Functional(Protocol):
    """What is maximised over the legal completions, seen from the dual side."""

    has_identity: bool
    """Whether the identity has a multiplier of its own; else the value is invariant under shifts of H."""

    def value(self, w: Float[np.ndarray, " dim"]) -> float:
        """The conjugate of the functional at eigenvalues `w` of H."""

    def spectrum(self, w: Float[np.ndarray, " dim"]) -> Float[np.ndarray, " dim"]:
        """The eigenvalues of sigma."""

    def kernel(self, w: Float[np.ndarray, " dim"]) -> Float[np.ndarray, "dim dim"]:
        """Divided differences of `spectrum`."""


class Entropy:
    """Von Neumann entropy."""

    has_identity = False

    def value(self, w: Float[np.ndarray, " dim"]) -> float:
        return float(w[-1] + np.log(np.sum(np.exp(w - w[-1]))))

    def spectrum(self, w: Float[np.ndarray, " dim"]) -> Float[np.ndarray, " dim"]:
        weights = np.exp(w - w[-1])
        return weights / weights.sum()

    def kernel(self, w: Float[np.ndarray, " dim"]) -> Float[np.ndarray, "dim dim"]:
        p = self.spectrum(w)
        gaps = np.abs(w[:, None] - w)
        # (p_a - p_b) / (w_a - w_b) without the cancellation of close eigenvalues.
        slopes = np.where(gaps > 0, -np.expm1(-gaps) / np.where(gaps > 0, gaps, 1.0), 1.0)
        return np.maximum(p[:, None], p) * slopes


class Purity:
    """Minus half of `tr sigma^2`."""

    has_identity = True

    def value(self, w: Float[np.ndarray, " dim"]) -> float:
        return float(np.sum(np.maximum(w, 0) ** 2) / 2)

    def spectrum(self, w: Float[np.ndarray, " dim"]) -> Float[np.ndarray, " dim"]:
        return np.maximum(w, 0)

    def kernel(self, w: Float[np.ndarray, " dim"]) -> Float[np.ndarray, "dim dim"]:
        positive = np.maximum(w, 0)
        spread = np.abs(w)[:, None] + np.abs(w)
        return (positive[:, None] + positive) / np.where(spread > 0, spread, 1.0)


FUNCTIONALS: dict[Literal["maxent", "least-norm"], Functional] = {"maxent": Entropy(), "least-norm": Purity()}


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """A legal completion of known values.

    Attributes:
        multipliers: lambda, as a table.
        expectations: `tr(sigma P)` of every string, as a table.
        spectrum: Eigenvalues of sigma.
        miss: How far the worst known value is off.
        iterations: Newton steps taken.
    """

    multipliers: Float[np.ndarray, "dim dim"]
    expectations: Float[np.ndarray, "dim dim"]
    spectrum: Float[np.ndarray, " dim"]
    miss: float
    iterations: int

    @property
    def converged(self) -> bool:
        """Whether every known value is met within 1e-7."""
        return self.miss <= ACCEPTED

    @property
    def entropy(self) -> float:
        """Von Neumann entropy in bits."""
        p = self.spectrum[self.spectrum > 0]
        return float(-np.sum(p * np.log2(p)))

    @property
    def purity(self) -> float:
        """`tr sigma^2`."""
        return float(np.sum(self.spectrum**2))


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Known values of some strings.

    Attributes:
        known: Places of the strings, without the identity.
        values: Their expectation values.
        relevant: Which strings can be nonzero in the solution; those of `known` among them.
        real: Whether the solution is a real matrix.
    """

    known: Int[np.ndarray, " known"]
    values: Float[np.ndarray, " known"]
    relevant: Bool[np.ndarray, "4**n"]
    real: bool


def unconstrained(functional: Functional, dim: int) -> Completion:
    """What is best when nothing is known: the maximally mixed state."""
    multipliers, expectations = np.zeros((dim, dim)), np.zeros((dim, dim))
    expectations[0, 0] = 1.0
    if functional.has_identity:
        multipliers[0, 0] = 1 / dim
    return Completion(multipliers, expectations, np.full(dim, 1 / dim), 0.0, 0)


def complete(functional: Functional, problem: Problem, start: Completion) -> Completion:
    """Maximises the functional over the legal completions, from the multipliers of an earlier solution.

    A fit that does not converge is returned too; `converged` tells.
    """
    where = np.concatenate([[0], problem.known]) if functional.has_identity else problem.known
    targets = np.concatenate([[1.0], problem.values]) if functional.has_identity else problem.values
    point = best = _Point(functional, start.multipliers.reshape(-1), where, targets, problem.real)
    level = 0
    for iteration in range(_MAX_ITERATIONS):
        if point.miss <= _TOLERANCE:
            return point.completion(iteration)
        following = None
        while following is None and level < len(_FLOORS):
            step = _newton_step(functional, problem, point, where, _FLOORS[level])
            following = _backtrack(functional, point, step, where, targets, problem.real)
            level += following is None
        if following is None:
            break
        point, level = following, max(level - 1, 0)
        best = point if point.miss < best.miss else best
    return best.completion(_MAX_ITERATIONS)


class _Point:
    """The dual function at some multipliers."""

    def __init__(
        self,
        functional: Functional,
        multipliers: Float[np.ndarray, "4**n"],
        where: Int[np.ndarray, " known"],
        targets: Float[np.ndarray, " known"],
        real: bool,
    ) -> None:
        dim = int(np.sqrt(len(multipliers)))
        h = matrix_of(multipliers.reshape(dim, dim))
        self.multipliers = multipliers
        self.w, self.u = np.linalg.eigh(h.real if real else h)
        self.p = functional.spectrum(self.w)
        self.expectations = table_of((self.u * self.p) @ self.u.conj().T)
        self.gradient = self.expectations.reshape(-1)[where] - targets
        self.value = functional.value(self.w) - float(multipliers[where] @ targets)
        self.miss = float(np.abs(self.gradient).max(initial=0.0))

    def completion(self, iterations: int) -> Completion:
        dim = len(self.w)
        return Completion(self.multipliers.reshape(dim, dim), self.expectations, self.p, self.miss, iterations)


def _backtrack(
    functional: Functional,
    point: _Point,
    step: Float[np.ndarray, " known"],
    where: Int[np.ndarray, " known"],
    targets: Float[np.ndarray, " known"],
    real: bool,
) -> _Point | None:
    """The first of the halved steps that lowers the value enough; None if rounding drowns them all."""
    slope = float(point.gradient @ step)
    if not np.isfinite(slope) or slope >= 0:
        return None
    # Below this the value cannot tell better from worse; there the gradient decides.
    noise = 1e-14 * (1 + abs(point.value) + float(np.abs(point.multipliers).max()))
    length = 1.0
    for _ in range(_MAX_HALVINGS):
        multipliers = point.multipliers.copy()
        multipliers[where] += length * step
        trial = _Point(functional, multipliers, where, targets, real)
        if trial.value <= point.value + 1e-4 * length * slope + noise and (
            -slope * length > noise or trial.miss < point.miss
        ):
            return trial
        length /= 2
    return None


def _newton_step(
    functional: Functional, problem: Problem, point: _Point, where: Int[np.ndarray, " known"], floor: float
) -> Float[np.ndarray, " known"]:
    kernel = np.maximum(functional.kernel(point.w), floor)
    free = np.flatnonzero(problem.relevant)
    free = free[~np.isin(free, np.append(problem.known, 0))]
    if not functional.has_identity and len(free) < len(where):
        return _step_over_free(problem, point, kernel, where, free)
    rows = _packed(point.u, where, problem.real) * np.sqrt(kernel).reshape(-1)
    hessian = rows @ rows.T
    if not functional.has_identity:
        means = point.expectations.reshape(-1)[where]
        hessian -= np.outer(means, means)
    return _solve_positive(hessian, -point.gradient)


def _step_over_free(
    problem: Problem,
    point: _Point,
    kernel: Float[np.ndarray, "dim dim"],
    where: Int[np.ndarray, " known"],
    free: Int[np.ndarray, " free"],
) -> Float[np.ndarray, " known"]:
    """The same step from the side of the strings that are not known, where these are fewer.

    The change D of sigma has the wanted values on the known strings and unknown ones y on the free strings; it belongs
    to a change X of H that vanishes on the free strings. X is D divided by the kernel, which gives y.
    """
    dim = len(point.w)
    wanted = np.zeros(dim * dim)
    wanted[where] = -point.gradient
    change = _to_eigenbasis(matrix_of(wanted.reshape(dim, dim)) / dim, point.u, problem.real) / kernel
    if len(free):
        rows = _packed(point.u, free, problem.real)
        right = rows @ _pack(change).reshape(-1)
        rows = rows / np.sqrt(kernel).reshape(-1)
        wanted[free] = -dim * _solve_positive(rows @ rows.T, right)
        change = _to_eigenbasis(matrix_of(wanted.reshape(dim, dim)) / dim, point.u, problem.real) / kernel
    step: Float[np.ndarray, "4**n"] = table_of(point.u @ change @ point.u.conj().T).reshape(-1) / dim
    return step[where]


def _to_eigenbasis(
    matrix: Shaped[np.ndarray, "dim dim"], u: Shaped[np.ndarray, "dim dim"], real: bool
) -> Shaped[np.ndarray, "dim dim"]:
    return u.conj().T @ (matrix.real if real else matrix) @ u


def _pack(hermitian: Shaped[np.ndarray, "... dim dim"]) -> Float[np.ndarray, "... dim dim"]:
    return hermitian.real + hermitian.imag if np.iscomplexobj(hermitian) else hermitian


def _packed(
    u: Shaped[np.ndarray, "dim dim"], where: Int[np.ndarray, " strings"], real: bool
) -> Float[np.ndarray, "strings dim*dim"]:
    """`U^dagger P_j U` of all strings at once, packed."""
    dim = len(u)
    phases, rows = signed_permutations(where, dim)
    turned = (phases.real if real else phases)[:, :, None] * u[rows]
    # One large product: the strings' columns side by side.
    stacked = u.conj().T @ turned.transpose(1, 0, 2).reshape(dim, -1)
    return _pack(stacked).reshape(dim, len(where), dim).transpose(1, 0, 2).reshape(len(where), -1)


def _solve_positive(
    matrix: Float[np.ndarray, "size size"], right: Float[np.ndarray, " size"]
) -> Float[np.ndarray, " size"]:
    factor, failed = lapack.dpotrf(matrix, lower=1)
    if failed:  # Singular to rounding: the floor of the kernel is still too low.
        return np.full(len(right), np.nan)
    solution: Float[np.ndarray, " size"] = lapack.dpotrs(factor, right, lower=1)[0]
    return solution
