"""Pauli strings as pairs of bit masks, and all expectation values of a state by one Walsh-Hadamard transform.

A label such as `"XZI"` has one letter a qubit; the leftmost letter is the most significant bit of a basis state's
index. A string is `P = i^|x & z| X^x Z^z` with an x mask (its X and Y) and a z mask (its Z and Y), so that

    P |j> = i^|x & z| (-1)^|z & j| |j ^ x>.

A table holds one number a string, at row x and column z.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import product

import numpy as np
from jaxtyping import Complex, Float, Int

from intarsia.errors import InputError
from intarsia.quantum.states import state_vector_or_density

_LETTERS = "IXYZ"
_X_BIT = {"I": 0, "X": 1, "Y": 1, "Z": 0}
_Z_BIT = {"I": 0, "X": 0, "Y": 1, "Z": 1}
_BLOCK = 32768
"""Numbers in a block of rows: 256 KiB."""
_SIGNS = np.array([1.0, -1.0, -1.0, 1.0])
_LABEL_FIX = "write one letter of I, X, Y, Z a qubit, the first for the most significant one, e.g. XZ"


def labels(n: int, *, identity: bool = False) -> list[str]:
    """All strings of `n` qubits in lexicographic order; the identity, which would be the first, only if asked for."""
    found = ["".join(letters) for letters in product(_LETTERS, repeat=n)]
    return found if identity else found[1:]


def weight(label: str) -> int:
    """The number of qubits a string acts on."""
    return len(label) - label.count("I")


def masks(label: str) -> tuple[int, int]:
    """The x mask and the z mask of a string."""
    x = z = 0
    for letter in label:
        x, z = 2 * x + _X_BIT[letter], 2 * z + _Z_BIT[letter]
    return x, z


def check_label(label: str, n: int | None = None) -> str:
    """Returns the label if it is one.

    Args:
        label: A Pauli string.
        n: How many qubits it must have; `None` for any number.

    Raises:
        InputError: If it has unknown letters, another length, or is the identity.
    """
    unknown = sorted(set(label) - set(_LETTERS))
    if unknown:
        raise InputError(f"the Pauli string {label!r} has the unknown letter {unknown[0]!r}", fix=_LABEL_FIX)
    if n is not None and len(label) != n:
        raise InputError(f"the Pauli string {label!r} has {len(label)} letters, the state {n} qubits", fix=_LABEL_FIX)
    if not weight(label):
        raise InputError(
            f"the Pauli string {label!r} is the identity, whose expectation value is 1 in every state",
            fix="leave it out",
        )
    return label


def commute(one: str, other: str) -> bool:
    """Whether two strings commute."""
    (x, z), (other_x, other_z) = masks(one), masks(other)
    return ((x & other_z).bit_count() + (z & other_x).bit_count()) % 2 == 0


def pauli_matrix(label: str) -> Complex[np.ndarray, "dim dim"]:
    """The matrix of a string, dense.

    Raises:
        InputError: If the label is not a Pauli string.
    """
    if weight(label):
        check_label(label)
    x, z = masks(label)
    columns = np.arange(1 << len(label))
    matrix = np.zeros((len(columns), len(columns)), dtype=complex)
    matrix[columns ^ x, columns] = 1j ** (x & z).bit_count() * _parity_sign(z & columns)
    return matrix


def pauli_expectations(state: object, *, normalise: bool = False) -> Float[np.ndarray, "4**n"]:
    """The expectation values `tr(rho P)` of all 4^n strings, in the order of `labels(n, identity=True)`.

    O(n 4^n) steps and no matrix of a string; see `table_of`.

    Args:
        state: A state vector, a density matrix, or an object of Qiskit or PennyLane that holds one.
        normalise: Whether a state of another norm or trace is divided by it.

    Raises:
        InputError: If it is not a state.
    """
    array = state_vector_or_density(state, normalise=normalise)
    if array.ndim == 1:
        return _expectations_of_vector(array)
    return table_of(array).take(_lexicographic(len(array).bit_length() - 1))


def expectations_of(state: object, *, normalise: bool = False) -> dict[str, float]:
    """The expectation value of every string but the identity, by label; arguments as of `pauli_expectations`.

    Raises:
        InputError: If it is not a state.
    """
    values = pauli_expectations(state, normalise=normalise)
    n = (len(values).bit_length() - 1) // 2
    return dict(zip(labels(n), values[1:].tolist(), strict=True))


def state_from_expectations(values: Mapping[str, float]) -> Complex[np.ndarray, "dim dim"]:
    """The matrix `2^-n (I + sum r_P P)`; strings that are not given count as zero.

    Raises:
        InputError: If there is no string, or one is wrong.
    """
    n = common_length(values)
    weights = np.zeros(4**n)
    weights[0] = 1
    weights[places(list(values))] = list(values.values())
    return matrix_of(weights.reshape(1 << n, 1 << n)) / (1 << n)


def common_length(strings: Iterable[str]) -> int:
    """The number of qubits of strings.

    Raises:
        InputError: If there are none, or they are not Pauli strings of one length.
    """
    given = list(strings)
    if not given:
        raise InputError("no Pauli string is given", fix=_LABEL_FIX)
    for label in given:
        check_label(label, len(given[0]))
    return len(given[0])


# Tables


def places(strings: Sequence[str]) -> Int[np.ndarray, " strings"]:
    """Where strings stand in a flattened table: `x 2^n + z`."""
    pairs = np.array([masks(label) for label in strings], dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0] << len(strings[0]) | pairs[:, 1] if strings else pairs[:, 0]


def table_of(matrix: Complex[np.ndarray, "dim dim"]) -> Float[np.ndarray, "dim dim"]:
    """`tr(A P)` of a Hermitian matrix for every string.

    For each x mask the entries `A[j, j ^ x]` are transformed over `j` for all z masks at once. Their real parts are
    even and their imaginary parts odd under `j -> j ^ x`, and the transforms of the two are zero where the other's
    are not: one real transform of the sum does for both.
    """
    dim = len(matrix)
    packed = (matrix.real + matrix.imag)[np.arange(dim), _xor_table(dim)]
    return _signs_of(dim) * _walsh_hadamard(packed)


def _expectations_of_vector(psi: Complex[np.ndarray, " dim"]) -> Float[np.ndarray, "4**n"]:
    """The same of `|psi><psi|`, which is not formed, in lexicographic order.

    Every index is split into its high and its low half. With axes (j high, x high, x low, j low) the entries at j ^ x
    are copied in whole runs, and either half of the transform is one matrix product.
    """
    dim = len(psi)
    low = 1 << (dim.bit_length() - 1) // 2
    high = dim // low
    real, imaginary = (np.ascontiguousarray(part).reshape(high, low) for part in (psi.real, psi.imag))
    flipped = _xor_table(low)
    # Re + Im of psi[j] conj(psi[j ^ x]) is Re psi[j] (Re - Im)[j ^ x] + Im psi[j] (Re + Im)[j ^ x].
    pairs = [
        (np.broadcast_to(own[:, None, None], (high, 1, low, low)).copy(), other.take(flipped, axis=1))
        for own, other in ((real, real - imaginary), (imaginary, real + imaginary))
    ]
    values = np.empty((high * high, low * low))
    rows_of, kinds, order, signs = _halves(high, low)
    # Blocks that stay in the processor's cache; memory for whole tables would cost more than the arithmetic.
    step = max(1, _BLOCK // (high * low * low))
    for start in range(0, high, step):
        block = slice(start, start + step)
        packed, second = (other.take(_xor_table(high)[:, block], axis=0) for _, other in pairs)
        packed *= pairs[0][0]
        second *= pairs[1][0]
        packed += second
        transformed = _hadamard(high) @ (packed.reshape(-1, low) @ _hadamard(low)).reshape(high, -1)
        found = transformed.reshape(high, -1, low * low).take(order, axis=2)
        found *= signs.take(kinds[:, block], axis=0)
        values[rows_of[:, block]] = found
    return values.reshape(-1)


def matrix_of(table: Float[np.ndarray, "dim dim"]) -> Complex[np.ndarray, "dim dim"]:
    """`sum_P t_P P`, the inverse of `table_of` up to the factor 2^n."""
    dim = len(table)
    flipped = _xor_table(dim)
    packed = _walsh_hadamard(_signs_of(dim) * table)
    other = packed[np.arange(dim)[:, None], flipped]
    matrix = np.empty((dim, dim), dtype=complex)
    # Row x of `packed` holds Re - Im of the entries [j ^ x, j], of which [j, j ^ x] is the conjugate.
    matrix.real[flipped, np.arange(dim)] = (packed + other) / 2
    matrix.imag[flipped, np.arange(dim)] = (other - packed) / 2
    return matrix


def signed_permutations(
    where: Int[np.ndarray, " strings"], dim: int
) -> tuple[Complex[np.ndarray, "strings dim"], Int[np.ndarray, "strings dim"]]:
    """Strings, by their places, as signed permutations: row `i` of `P U` is `phases[i] * U[rows[i]]`."""
    x, z = where[:, None] // dim, where[:, None] % dim
    rows = x ^ np.arange(dim)
    return np.array([1, 1j, -1, -1j])[np.bitwise_count(x & z) % 4] * _parity_sign(z & rows), rows


def _parity_sign(bits: Int[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return 1.0 - 2.0 * (np.bitwise_count(bits) % 2)


def _walsh_hadamard(rows: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
    """Transforms every row, by two products with halves of the Hadamard matrix."""
    dim = rows.shape[1]
    low = 1 << (dim.bit_length() - 1) // 2
    halves = rows.reshape(-1, low) @ _hadamard(low)
    return np.matmul(_hadamard(dim // low), halves.reshape(len(rows), dim // low, low)).reshape(rows.shape)


@cache
def _hadamard(dim: int) -> Float[np.ndarray, "dim dim"]:
    index = np.arange(dim)
    return _parity_sign(index[:, None] & index)


@cache
def _xor_table(dim: int) -> Int[np.ndarray, "dim dim"]:
    index = np.arange(dim)
    return index[:, None] ^ index


@cache
def _signs_of(dim: int) -> Float[np.ndarray, "dim dim"]:
    """What a string's transform is multiplied by: i^k for even k = |x & z| (real parts), i^(k + 1) for odd k."""
    index = np.arange(dim)
    return _SIGNS[np.bitwise_count(index[:, None] & index) % 4]


@cache
def _lexicographic(n: int) -> Int[np.ndarray, "4**n"]:
    return places(labels(n, identity=True))


@cache
def _halves(
    high: int, low: int
) -> tuple[
    Int[np.ndarray, "high high"],
    Int[np.ndarray, "high high"],
    Int[np.ndarray, "low_strings"],
    Float[np.ndarray, "4 low_strings"],
]:
    """How strings of high and of low qubits make up those of all.

    Returns:
        For each (z, x) of the high qubits the lexicographic place of their letters and |x & z| mod 4; the low qubits'
        (x, z) in lexicographic order; and for each value of the former the signs of the latter.
    """
    letters = _lexicographic(high.bit_length() - 1)
    rows_of = np.empty(high * high, dtype=np.int64)
    rows_of[letters] = np.arange(high * high)
    index = np.arange(high)
    order = _lexicographic(low.bit_length() - 1)
    count = np.bitwise_count(order // low & order % low)
    signs = _SIGNS[(np.arange(4)[:, None] + count) % 4]
    return rows_of.reshape(high, high).T.copy(), np.bitwise_count(index[:, None] & index) % 4, order, signs
