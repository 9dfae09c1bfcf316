"""Linear matrix inequalities, handed to Clarabel or SCS directly.

    minimise  c . x    subject to    C + sum_i x_i G_i >= 0

where every matrix is a combination of Pauli strings. Their vectorised forms are one sparse matrix, made once for a
number of qubits: a problem only chooses its columns and its constant.

A complex matrix enters as the real [[Re, -Im], [Im, Re]] of twice the side; real problems keep theirs.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import scipy.sparse
from jaxtyping import Complex, Float, Int

from intarsia.errors import MissingExtraError
from intarsia.quantum.paulis import signed_permutations

SolverName = Literal["clarabel", "scs"]


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """What a solver gave.

    Attributes:
        x: The variables.
        multiplier: The positive matrix that belongs to the inequality.
        status: The solver's own word.
        finished: Whether it claims a solution, if only an approximate one.
    """

    x: Float[np.ndarray, " variables"]
    multiplier: Complex[np.ndarray, "dim dim"]
    status: str
    finished: bool


class Cone:
    """Vectorised Hermitian matrices of one side: their upper triangle by columns, off-diagonal entries times sqrt 2.

    Args:
        dim: Side of the matrices.
        real: Whether they are real.
    """

    def __init__(self, dim: int, *, real: bool) -> None:
        self.dim, self.real = dim, real
        self.side = dim if real else 2 * dim
        columns, rows = np.tril_indices(self.side)
        self._rows, self._columns = rows, columns
        self._scale = np.where(rows == columns, 1.0, np.sqrt(2.0))
        # SCS takes the lower triangle by columns, which is the upper one by rows.
        self.scs_order = np.lexsort((columns, rows))

    def vectorise(self, matrices: Complex[np.ndarray, "count dim dim"]) -> Float[np.ndarray, "entries count"]:
        """Dense matrices as columns."""
        return (self._embedded(matrices)[:, self._rows, self._columns] * self._scale).T

    def matrix(self, vector: Float[np.ndarray, " entries"]) -> Complex[np.ndarray, "dim dim"]:
        """The matrix of a vector; of an embedded one, its average over the two copies."""
        full = np.zeros((self.side, self.side))
        full[self._rows, self._columns] = vector / self._scale
        full = full + full.T - np.diag(np.diag(full))
        if self.real:
            return full.astype(complex)
        d = self.dim
        return full[:d, :d] + full[d:, d:] + 1j * (full[d:, :d] - full[:d, d:])

    def _embedded(self, matrices: Complex[np.ndarray, "count dim dim"]) -> Float[np.ndarray, "count side side"]:
        if self.real:
            return matrices.real
        upper = np.concatenate([matrices.real, -matrices.imag], axis=2)
        lower = np.concatenate([matrices.imag, matrices.real], axis=2)
        return np.concatenate([upper, lower], axis=1)


@cache
def cone_of(dim: int, real: bool) -> Cone:
    """The cone of a side, made once."""
    return Cone(dim, real=real)


@cache
def vectorised_paulis(n: int, real: bool) -> scipy.sparse.csc_array:
    """All 4^n strings as columns, by their places; those with an odd number of Y are zero in a real cone."""
    dim = 1 << n
    side = dim if real else 2 * dim
    where = np.arange(4**n)
    phases, columns = signed_permutations(where, dim)
    # Row i of P has its one entry phases[i] in column columns[i]; [[Re, -Im], [Im, Re]] has up to two copies of it.
    i, string = np.broadcast_to(np.arange(dim), columns.shape), np.broadcast_to(where[:, None], columns.shape)
    blocks = [(i, columns, phases.real)]
    if not real:
        blocks += [
            (i + dim, columns + dim, phases.real),
            (i, columns + dim, -phases.imag),
            (i + dim, columns, phases.imag),
        ]
    rows, columns, values = (np.concatenate([block[part].reshape(-1) for block in blocks]) for part in range(3))
    strings = np.tile(string.reshape(-1), len(blocks))
    kept = (rows <= columns) & (values != 0)
    rows, columns, values, strings = rows[kept], columns[kept], values[kept], strings[kept]
    entries: Int[np.ndarray, " nonzero"] = columns * (columns + 1) // 2 + rows
    values = values * np.where(rows == columns, 1.0, np.sqrt(2.0))
    return scipy.sparse.csc_array((values, (entries, strings)), shape=(side * (side + 1) // 2, 4**n))


def solve(
    c: Float[np.ndarray, " variables"],
    columns: Any,
    constant: Float[np.ndarray, " entries"],
    cone: Cone,
    *,
    solver: SolverName,
    tolerance: float,
    refine: bool = True,
) -> Solved:
    """Minimises `c . x` subject to `mat(constant + columns x) >= 0`.

    Args:
        c: The objective.
        columns: Vectorised matrices, sparse or dense, one a variable.
        constant: The vectorised constant.
        cone: The cone they are vectorised for.
        solver: `"clarabel"` or `"scs"`.
        tolerance: Absolute and relative accuracy asked for.
        refine: Whether Clarabel refines the solution of each of its linear systems, which takes half of its time.

    Raises:
        MissingExtraError: If the solver is not installed.
    """
    a = -scipy.sparse.csc_array(columns)
    if solver == "scs":
        return _scs(c, a, constant, cone, tolerance)
    return _clarabel(c, a, constant, cone, tolerance, refine)


def _clarabel(
    q: Float[np.ndarray, " variables"], a: Any, b: Float[np.ndarray, " entries"], cone: Cone, tol: float, refine: bool
) -> Solved:
    try:
        import clarabel
    except ImportError:
        raise MissingExtraError("clarabel", "quantum") from None
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tol
    # Neither finds anything in these problems: the strings fill the cone, and there are no bounds to remove.
    settings.presolve_enable = settings.chordal_decomposition_enable = False
    settings.iterative_refinement_enable = refine
    p = scipy.sparse.csc_matrix((len(q), len(q)))
    solver = clarabel.DefaultSolver(
        p, q, scipy.sparse.csc_matrix(a), b, [clarabel.PSDTriangleConeT(cone.side)], settings
    )
    found = solver.solve()
    status = str(found.status)
    x, z = np.asarray(found.x), np.asarray(found.z)
    finished = status in ("Solved", "AlmostSolved") and bool(np.isfinite(x).all() and np.isfinite(z).all())
    return Solved(x, cone.matrix(z), status, finished)


def _scs(
    q: Float[np.ndarray, " variables"], a: Any, b: Float[np.ndarray, " entries"], cone: Cone, tol: float
) -> Solved:
    try:
        import scs
    except ImportError:
        raise MissingExtraError("scs", "quantum") from None
    order = cone.scs_order
    data: dict[str, Any] = {"A": scipy.sparse.csc_matrix(a.tocsr()[order]), "b": b[order], "c": q}
    found = scs.SCS(data, {"s": [cone.side]}, eps_abs=tol, eps_rel=tol, max_iters=50_000, verbose=False).solve()
    x, y = np.asarray(found["x"]), np.empty(len(b))
    y[order] = found["y"]
    status = str(found["info"]["status"])
    finished = status.startswith("solved") and bool(np.isfinite(x).all() and np.isfinite(y).all())
    return Solved(x, cone.matrix(np.nan_to_num(y)), status, finished)
