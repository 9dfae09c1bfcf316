"""Facial reduction: once a value meets its endpoint, every legal completion lives on the kernel of the dual slack.

On a border the semidefinite programs have no interior and solvers fail. Completions are then written as
`V tau V^dagger` with an isometry V onto the kernel, in which a positive definite tau exists again.

A solver's slack vanishes on the state only up to the root of its accuracy. It is first made to vanish exactly, or
neither would the state lie on the face nor the lift below be sharp.

A certificate found on the face is lifted to the whole space with the slacks W that cut the face out:
`lambda_max(A - M W)` falls to the face's own value as M grows. The lifted weights are verified like any others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg
from jaxtyping import Complex, Float

from intarsia.quantum.paulis import matrix_of, pauli_matrix, places
from intarsia.quantum.posterior.certificates import verify_certificate
from intarsia.quantum.posterior.conic import cone_of, solve

if TYPE_CHECKING:
    from intarsia.quantum.posterior.interval import Endpoint

_KERNEL = 1e-4
"""Eigenvalues of a slack below this share of its largest count as zero."""
_SUPPORT = 1e-9
"""Eigenvalues of a state below count as zero."""
_NOTHING = 1e-7
_LIFTS = (0.0, *(10.0**power for power in range(1, 10)))


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face of the positive matrices.

    Attributes:
        basis: Isometry whose columns span it.
        slacks: For each cut, the weights of `-W` by label: what is added, many times, to lift a certificate.
    """

    basis: Complex[np.ndarray, "dim face_dim"]
    slacks: tuple[dict[str, float], ...] = field(default=())

    @classmethod
    def whole(cls, dim: int) -> "Face":
        """No restriction."""
        return cls(np.eye(dim, dtype=complex))

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut away."""
        return self.basis.shape[0] == self.basis.shape[1]

    def cut(self, weights: dict[str, float], known: Mapping[str, float], rho: Complex[np.ndarray, "dim dim"]) -> "Face":
        """The part of the face on which a slack vanishes; itself if that is all of it or nothing.

        Args:
            weights: w by label, of the slack `W = -sum_j w_j (P_j - r_j I)`.
            known: r by label.
            rho: A legal completion, on which W vanishes up to the solver's accuracy.
        """
        weights = self._supporting(weights, known, rho)
        slack = _slack(weights, known)
        values, vectors = np.linalg.eigh(self.basis.conj().T @ slack @ self.basis)
        kernel = values < _KERNEL * max(abs(values[-1]), 1e-3)
        if kernel.all() or not kernel.any():
            return self
        return Face(self.basis @ vectors[:, kernel], (*self.slacks, weights))

    def _supporting(
        self, weights: dict[str, float], known: Mapping[str, float], rho: Complex[np.ndarray, "dim dim"]
    ) -> dict[str, float]:
        """Weights near the given ones whose slack is positive and vanishes on `rho`; else the given ones."""
        strings = list(weights)
        numbers = np.array(list(weights.values()))
        earlier = np.array([[slack.get(label, 0.0) for label in strings] for slack in self.slacks])
        if len(earlier):
            # A lifted slack holds huge multiples of the earlier ones, which would drown it.
            share, *_ = scipy.linalg.lstsq(earlier.T, numbers)
            numbers = numbers - share @ earlier
        values, vectors = np.linalg.eigh(rho)
        support = vectors[:, values > _SUPPORT]
        columns = np.stack([pauli_matrix(label) @ support - known[label] * support for label in strings], axis=-1)
        columns = columns.reshape(-1, len(strings))
        both = np.concatenate([columns.real, columns.imag])
        # What these strings do to the state can be zero in all or in part; rounding must not look like more.
        left, sizes, right = np.linalg.svd(both, full_matrices=False)
        sizes = np.where(sizes > _NOTHING, sizes, np.inf)
        change = right.T @ (left.T @ (both @ numbers) / sizes)
        allowed = _SUPPORT * max(1.0, float(np.abs(numbers - change).max()))
        # On a face the slack is positive there only; some of the earlier ones make it so everywhere.
        for factor in _LIFTS[:5] if len(earlier) else _LIFTS[:1]:
            lifted = numbers - change + factor * earlier.sum(axis=0) if len(earlier) else numbers - change
            found = dict(zip(strings, lifted.tolist(), strict=True))
            if np.linalg.eigvalsh(_slack(found, known))[0] > -allowed:
                return found
        return weights


def _slack(weights: Mapping[str, float], known: Mapping[str, float]) -> Complex[np.ndarray, "dim dim"]:
    strings, numbers = list(weights), np.array(list(weights.values()))
    dim = 1 << len(strings[0])
    table = np.zeros(dim * dim)
    table[places(strings)] = -numbers
    table[0] = sum(numbers * [known[label] for label in strings])
    return matrix_of(table.reshape(dim, dim))


def endpoint_on_face(face: Face, known: Mapping[str, float], target: str, sign: int, *, gap: float) -> "Endpoint":
    """One endpoint over the states of a face, with a certificate for the whole space."""
    from intarsia.quantum.posterior.interval import Endpoint

    constraints = np.stack([np.eye(face.basis.shape[1]), *(_on(face, label) for label in known)])
    targets = np.array([1.0, *known.values()])
    rows = _packed(constraints)
    start, *_ = scipy.linalg.lstsq(rows, targets)
    free = scipy.linalg.null_space(rows, rcond=1e-9)
    goal = _packed(_on(face, target)[None])[0]
    if np.abs(rows @ start - targets).max() > 1e-6:
        return Endpoint(1.0, np.nan, {}, False, ("face: the known values leave it",))
    side = face.basis.shape[1]
    slack, status, finished, attained = np.zeros((side, side), dtype=complex), "determined", True, float(goal @ start)
    if free.shape[1]:
        cone = cone_of(side, False)
        columns, constant = cone.vectorise(_unpacked(free.T)), cone.vectorise(_unpacked(start[None]))[:, 0]
        found = solve(-sign * (free.T @ goal), columns, constant, cone, solver="clarabel", tolerance=1e-7)
        slack, status, finished = found.multiplier, found.status, found.finished
        attained = float(goal @ (start + free @ found.x)) if finished else np.nan
    # The slack plus the target is a combination of the known strings on the face; its weights are the certificate.
    combined, *_ = scipy.linalg.lstsq(rows.T, sign * goal + _packed(slack[None])[0])
    weights = dict(zip(known, (-combined[1:]).tolist(), strict=True))
    bound, weights = _lift(face, known, target, weights, sign)
    attained *= sign
    solved = bool(finished and abs(bound - attained) < gap and abs(attained) <= 1 + 1e-6)
    return Endpoint(bound, attained, weights, solved, (f"clarabel on a face of dimension {side}: {status}",))


def _lift(
    face: Face, known: Mapping[str, float], target: str, weights: dict[str, float], sign: int
) -> tuple[float, dict[str, float]]:
    """The best verified bound over multiples of the slacks."""
    best = (np.inf, weights)
    for factor in _LIFTS:
        lifted = dict(weights)
        for depth, slack in enumerate(reversed(face.slacks), start=1):
            for label, number in slack.items():
                # Cuts that were made earlier hold more of the space and must outweigh the later ones.
                lifted[label] = lifted.get(label, 0.0) + factor * (1 + depth) * number
        bound = verify_certificate(known, target, lifted, mirrored=sign < 0)
        best = min(best, (bound, lifted), key=lambda pair: pair[0])
    return best


def _on(face: Face, label: str) -> Complex[np.ndarray, "face_dim face_dim"]:
    return face.basis.conj().T @ pauli_matrix(label) @ face.basis


def _packed(matrices: Any) -> Float[np.ndarray, "count entries"]:
    return (matrices.real + matrices.imag).reshape(len(matrices), -1)


def _unpacked(rows: Float[np.ndarray, "count entries"]) -> Complex[np.ndarray, "count side side"]:
    side = int(np.sqrt(rows.shape[1]))
    packed = rows.reshape(-1, side, side)
    other = packed.transpose(0, 2, 1)
    return (packed + other) / 2 + 1j * (packed - other) / 2
