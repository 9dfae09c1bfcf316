"""Parts of a quantum state, and their entropies from exact spectra."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from intarsia.errors import InputError


def kept_first(states: Tensor, kept: tuple[int, ...]) -> Tensor:
    """Returns amplitudes (batch, dim) as (batch, kept dim, rest dim), the kept qubits in the order given."""
    qubits = (states.shape[-1] - 1).bit_length()
    rest = [qubit for qubit in range(qubits) if qubit not in kept]
    axes = states.reshape(-1, *[2] * qubits).permute(0, *(1 + qubit for qubit in (*kept, *rest)))
    return axes.reshape(len(states), 2 ** len(kept), -1)


def reduced_states(states: Complex[Tensor, "batch dim"], kept: tuple[int, ...]) -> Complex[Tensor, "batch part part"]:
    """Returns the density matrices of the kept qubits; part = 2^kept."""
    amplitudes = kept_first(states, kept)
    return amplitudes @ amplitudes.mH


def part_entropy(states: Complex[Tensor, "batch dim"], kept: tuple[int, ...]) -> Float[Tensor, "batch"]:
    """Returns the entropy in bits of the kept qubits of pure states.

    Both parts of a pure state have the same spectrum, so the smaller matrix is taken.
    """
    amplitudes = kept_first(states, kept)
    if amplitudes.shape[1] > amplitudes.shape[2]:
        amplitudes = amplitudes.mT
    return entropy(amplitudes @ amplitudes.mH)


def entropy(density: Complex[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch"]:
    """Returns the von Neumann entropy in bits. Rounding errors below zero are taken for zero."""
    return spectrum_entropy(torch.linalg.eigvalsh(density))


def spectrum_entropy(probabilities: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
    """Returns -sum p log2 p, with 0 log 0 = 0."""
    clipped = probabilities.clamp(min=0)
    return -torch.special.xlogy(clipped, clipped).sum(dim=-1) / torch.log(torch.tensor(2.0, dtype=clipped.dtype))


def square_root(density: Complex[Tensor, "*batch dim dim"]) -> Complex[Tensor, "*batch dim dim"]:
    """Returns the positive square root; rounding errors below zero are taken for zero."""
    values, vectors = torch.linalg.eigh(density)
    return (vectors * values.clamp(min=0).sqrt()[..., None, :].to(vectors.dtype)) @ vectors.mH


def check_unitary(matrix: Tensor, tolerance: float = 1e-8) -> int:
    """Checks a unitary and returns its number of qubits.

    Raises:
        InputError: If it is not a square matrix over qubits, or |U^dagger U - 1| exceeds the tolerance.
    """
    qubits = (matrix.shape[-1] - 1).bit_length() if matrix.ndim == 2 else 0
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] != 2**qubits or qubits < 2:
        raise InputError(f"a unitary of n >= 2 qubits is 2^n x 2^n, not {' x '.join(map(str, matrix.shape))}")
    error = float((matrix.mH @ matrix - torch.eye(len(matrix), dtype=matrix.dtype)).abs().max())
    if not error <= tolerance:
        raise InputError(
            f"the matrix is not unitary: an entry of U^dagger U - 1 is {error:.2g}",
            fix=f"give a matrix that is unitary to {tolerance:g}, in double precision",
        )
    return qubits
