"""States of qubits: checked, read from elsewhere, and of named families.

Index bits follow the label's letters: qubit 0 is the leftmost letter and the most significant bit. Qiskit counts the
other way round; its objects are turned.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Complex

from intarsia.errors import ConfigError, DataError, InputError, UnknownNameError

_TOLERANCE = 1e-8
"""How far norm, trace, symmetry and eigenvalues may be off."""


def state_vector_or_density(
    state: Any, *, normalise: bool = False, reverse_qubits: bool = False
) -> Complex[np.ndarray, "..."]:
    """Checks a state and returns it as a complex array: a vector of 2^n, or a matrix of 2^n x 2^n.

    Args:
        state: An array of numbers, a Qiskit `Statevector` or `DensityMatrix` (turned to our order of qubits), or what
            a PennyLane circuit that returns `qml.state()` gives, of NumPy, torch or another framework.
        normalise: Whether a vector is divided by its norm, a matrix by its trace.
        reverse_qubits: Whether an array has the least significant qubit first, as plain arrays from Qiskit have.

    Raises:
        InputError: If it is not a state.
    """
    array = _as_array(state)
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[0] != array.shape[1]):
        raise InputError(
            f"a state is a vector or a square matrix, not an array of shape {array.shape}", fix="give 2^n amplitudes"
        )
    dim = len(array)
    if dim < 2 or dim & (dim - 1):
        raise InputError(
            f"a state of qubits has a length that is a power of two, not {dim}",
            fix="pad it with zeros, or leave out what is not part of the state",
        )
    if not np.isfinite(array).all():
        raise InputError("the state has entries that are not finite numbers")
    if reverse_qubits or _is_from_qiskit(state):
        array = _reversed_qubits(array)
    return _checked_vector(array, normalise) if array.ndim == 1 else _checked_matrix(array, normalise)


def density_matrix(state: Any, *, normalise: bool = False) -> Complex[np.ndarray, "dim dim"]:
    """Checks a state and returns its density matrix.

    Args:
        state: As in `state_vector_or_density`.
        normalise: As there.

    Raises:
        InputError: If it is not a state.
    """
    array = state_vector_or_density(state, normalise=normalise)
    return np.outer(array, array.conj()) if array.ndim == 1 else array


def depolarise(rho: Complex[np.ndarray, "dim dim"], eps: float) -> Complex[np.ndarray, "dim dim"]:
    """`(1 - eps) rho + eps I / dim`.

    Raises:
        ConfigError: If `eps` is not in [0, 1).
    """
    if not 0 <= eps < 1:
        raise ConfigError("eps", eps, "at least 0 and below 1")
    return (1 - eps) * rho + eps * np.eye(len(rho)) / len(rho)


def von_neumann_entropy(rho: Complex[np.ndarray, "dim dim"]) -> float:
    """`-tr rho log2 rho`, in bits; eigenvalues below zero count as zero."""
    values = np.linalg.eigvalsh(rho)
    values = values[values > 0]
    return max(0.0, float(-np.sum(values * np.log2(values))))


def read_state(
    path: str | Path, *, normalise: bool = False, reverse_qubits: bool = False
) -> Complex[np.ndarray, "..."]:
    """Reads a state vector or density matrix from a `.npy` file.

    Args:
        path: The file; arrays of Python objects are refused.
        normalise: As in `state_vector_or_density`.
        reverse_qubits: As there.

    Raises:
        DataError: If the file is missing or is no array of numbers.
        InputError: If it does not hold a state.
    """
    path = Path(path)
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError("file not found", file=path, fix="write it by numpy.save, or name a family") from None
    except (ValueError, OSError, EOFError):
        raise DataError("not a NumPy file of numbers", file=path, fix="write it by numpy.save") from None
    try:
        return state_vector_or_density(array, normalise=normalise, reverse_qubits=reverse_qubits)
    except InputError as error:
        raise InputError(error.what, where=path, fix=error.fix) from None


# Families


def haar_state(n: int, rng: np.random.Generator) -> Complex[np.ndarray, " dim"]:
    """A pure state drawn from the unitarily invariant distribution."""
    dim = 1 << n
    vector = rng.standard_normal(dim) + 1j * rng.standard_normal(dim)
    return vector / np.linalg.norm(vector)


def real_state(n: int, rng: np.random.Generator) -> Complex[np.ndarray, " dim"]:
    """A pure state with real amplitudes, drawn from the distribution that orthogonal matrices leave alone."""
    vector = rng.standard_normal(1 << n)
    return (vector / np.linalg.norm(vector)).astype(complex)


def symmetric_state(n: int, rng: np.random.Generator) -> Complex[np.ndarray, " dim"]:
    """A pure state that no exchange of qubits changes, drawn from the unitarily invariant distribution of these."""
    ones = np.bitwise_count(np.arange(1 << n))
    shells = np.bincount(ones)
    by_ones = (rng.standard_normal(n + 1) + 1j * rng.standard_normal(n + 1)) / np.sqrt(shells)
    vector = by_ones[ones]
    return vector / np.linalg.norm(vector)


def ghz_state(
    n: int, *, angle: float = np.pi / 4, rng: np.random.Generator | None = None
) -> Complex[np.ndarray, " dim"]:
    """`cos(angle) |0...0> + sin(angle) |1...1>`; with `rng`, each qubit is turned by a random unitary."""
    vector = np.zeros(1 << n, dtype=complex)
    vector[0], vector[-1] = np.cos(angle), np.sin(angle)
    return vector if rng is None else _rotated(vector, rng)


def w_state(n: int) -> Complex[np.ndarray, " dim"]:
    """The equal superposition of the basis states with a single one."""
    vector = np.zeros(1 << n, dtype=complex)
    vector[[1 << qubit for qubit in range(n)]] = 1 / np.sqrt(n)
    return vector


def product_state(n: int, rng: np.random.Generator) -> Complex[np.ndarray, " dim"]:
    """A product of `n` random pure qubits."""
    vector = np.ones(1, dtype=complex)
    for _ in range(n):
        vector = np.kron(vector, haar_state(1, rng))
    return vector


def stabilizer_state(n: int, rng: np.random.Generator) -> Complex[np.ndarray, " dim"]:
    """The state that 3 n^2 random gates of H, S and CNOT make of `|0...0>`."""
    vector = np.zeros((2,) * n, dtype=complex)
    vector[(0,) * n] = 1
    hadamard, phase = np.array([[1, 1], [1, -1]]) / np.sqrt(2), np.diag([1, 1j])
    for _ in range(3 * n * n):
        gate, qubit = rng.integers(3 if n > 1 else 2), int(rng.integers(n))
        if gate == 2:
            other = int((qubit + 1 + rng.integers(n - 1)) % n)
            flipped = np.take(vector, 1, axis=qubit)
            # Within the half where the control is one, the target's axis is one place earlier if it came later.
            index: list[Any] = [slice(None)] * n
            index[qubit] = 1
            vector[tuple(index)] = np.flip(flipped, axis=other - (other > qubit))
        else:
            vector = _on_qubit(phase if gate else hadamard, vector, qubit)
    return vector.reshape(-1)


def noisy_ghz_state(n: int, rng: np.random.Generator) -> Complex[np.ndarray, " dim"]:
    """A locally turned GHZ-type state with a Haar state of weight 0.2 added, normalised."""
    vector = ghz_state(n, angle=float(rng.uniform(0, np.pi / 4)), rng=rng) + 0.2 * haar_state(n, rng)
    return vector / np.linalg.norm(vector)


FAMILIES: dict[str, Callable[[int, np.random.Generator], Complex[np.ndarray, " dim"]]] = {
    "haar": haar_state,
    "ghz": lambda n, rng: ghz_state(n, angle=float(rng.uniform(0, np.pi / 4)), rng=rng),
    "w": lambda n, rng: _rotated(w_state(n), rng),
    "product": product_state,
    "stabilizer": stabilizer_state,
    "ghz-noise": noisy_ghz_state,
    "real": real_state,
    "symmetric": symmetric_state,
}
"""Random pure states by the name of their family: number of qubits, generator -> vector."""


def draw_state(family: str, n: int, rng: np.random.Generator) -> Complex[np.ndarray, " dim"]:
    """Draws a state of a family of `FAMILIES`; GHZ-type and W states are turned locally at random.

    Raises:
        UnknownNameError: If there is no such family.
        ConfigError: If `n` is below 1.
    """
    if family not in FAMILIES:
        raise UnknownNameError("family of states", family, FAMILIES)
    if n < 1:
        raise ConfigError("qubits", n, "at least 1")
    return FAMILIES[family](n, rng)


def named_state(name: str, n: int, *, seed: int = 0, force: bool = False) -> Complex[np.ndarray, " dim"]:
    """The state of a name: `ghz` and `w` as they are, any other family of `FAMILIES` drawn at random.

    Raises:
        UnknownNameError: If there is no such name.
        ConfigError: If `n` is below 1, or above 12 without `force`.
    """
    if n > 12 and not force:
        raise ConfigError("qubits", n, "at most 12")
    if name in ("ghz", "w") and n >= 1:
        return ghz_state(n) if name == "ghz" else w_state(n)
    return draw_state(name, n, np.random.default_rng(seed))


def _rotated(vector: Complex[np.ndarray, " dim"], rng: np.random.Generator) -> Complex[np.ndarray, " dim"]:
    n = len(vector).bit_length() - 1
    tensor = vector.reshape((2,) * n)
    for qubit in range(n):
        unitary, triangle = np.linalg.qr(rng.standard_normal((2, 2)) + 1j * rng.standard_normal((2, 2)))
        # Dividing out the phases of the diagonal makes the draw Haar.
        diagonal = np.diag(triangle)
        tensor = _on_qubit(unitary * (diagonal / np.abs(diagonal)), tensor, qubit)
    return tensor.reshape(-1)


def _on_qubit(
    gate: Complex[np.ndarray, "2 2"], tensor: Complex[np.ndarray, "..."], qubit: int
) -> Complex[np.ndarray, "..."]:
    return np.moveaxis(np.tensordot(gate, tensor, axes=(1, qubit)), 0, qubit)


# Checks


def _as_array(state: Any) -> Complex[np.ndarray, "..."]:
    # Qiskit keeps its array in `data`; torch tensors that want gradients must be detached before NumPy takes them.
    held = state.data if _is_from_qiskit(state) else state
    if hasattr(held, "detach"):
        held = held.detach().cpu().resolve_conj()
    try:
        return np.asarray(held).astype(np.complex128)
    except (TypeError, ValueError):
        raise InputError(
            f"a state cannot be read from {type(state).__name__}",
            fix="give an array of amplitudes, a density matrix, or a state vector of Qiskit or PennyLane",
        ) from None


def _is_from_qiskit(state: Any) -> bool:
    return type(state).__module__.partition(".")[0] == "qiskit"


def _reversed_qubits(array: Complex[np.ndarray, "..."]) -> Complex[np.ndarray, "..."]:
    n = len(array).bit_length() - 1
    axes = [side * n + qubit for side in range(array.ndim) for qubit in reversed(range(n))]
    return array.reshape((2,) * (n * array.ndim)).transpose(axes).reshape(array.shape)


def _checked_vector(vector: Complex[np.ndarray, " dim"], normalise: bool) -> Complex[np.ndarray, " dim"]:
    norm = float(np.linalg.norm(vector))
    if norm == 0:
        raise InputError("the state vector is zero")
    if normalise:
        return vector / norm
    if abs(norm - 1) > _TOLERANCE:
        raise InputError(
            f"the state vector has norm {norm:.10g}, not 1", fix="pass normalise=True (--normalise) to divide by it"
        )
    return vector


def _checked_matrix(matrix: Complex[np.ndarray, "dim dim"], normalise: bool) -> Complex[np.ndarray, "dim dim"]:
    asymmetry = float(np.abs(matrix - matrix.conj().T).max())
    if asymmetry > _TOLERANCE:
        raise InputError(
            f"the density matrix is not Hermitian: it differs from its adjoint by {asymmetry:.3g}",
            fix="check how it was made; (A + A^dagger) / 2 is Hermitian",
        )
    trace = float(np.trace(matrix).real)
    if normalise and trace > 0:
        matrix, trace = matrix / trace, 1.0
    if abs(trace - 1) > _TOLERANCE:
        raise InputError(
            f"the density matrix has trace {trace:.10g}, not 1", fix="pass normalise=True (--normalise) to divide by it"
        )
    lowest = float(np.linalg.eigvalsh(matrix)[0])
    if lowest < -_TOLERANCE:
        raise InputError(
            f"the density matrix has the negative eigenvalue {lowest:.3g}",
            fix="a state has none; project it onto the positive matrices first",
        )
    return (matrix + matrix.conj().T) / 2
