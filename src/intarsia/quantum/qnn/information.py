"""What the output M_o of the measured qubits shares with the input, in bits.

A reconstruction: the paper's abstract names I(D_i:M_o) and I(M_i:M_o) but not the joint state behind them. An input and
an output exist at different times, so a reference system has to stand for the input. There are two natural ones, and
what is said about labels is a third quantity:

- `choi`: the reference is maximally mixed. It knows the circuit alone.
- `data`: the reference purifies the mean state of the samples. It knows circuit and samples.
- `holevo`: what the measured qubits tell about labels, and about samples, without a reference.
"""

from math import log2
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from intarsia.quantum.qnn.config import check_measured
from intarsia.quantum.qnn.subsystems import (
    check_unitary,
    entropy,
    part_entropy,
    reduced_states,
    spectrum_entropy,
    square_root,
)


class Information(NamedTuple):
    """Mutual information of the input's parts with the measured output, in bits.

    Attributes:
        di_mo: I(D_i:M_o), of the discarded qubits' input.
        mi_mo: I(M_i:M_o), of the measured qubits' input.
        total: I(R:M_o), of the whole input.
    """

    di_mo: float
    mi_mo: float
    total: float


class Holevo(NamedTuple):
    """Holevo information at the measured qubits, in bits.

    Attributes:
        labels: chi(Y:M_o), about the labels.
        inputs: chi(X:M_o), about the samples.
    """

    labels: float
    inputs: float


def choi_information(unitary: Complex[Tensor, "output input"], measured: tuple[int, ...]) -> Information:
    """Returns the information under the definition `choi`: the input is half of a maximally entangled state.

    The largest matrix has 2^n rows: 1 ms at 6 qubits, 0.1 s at 8, seconds at 10.

    Args:
        unitary: U, rows = output, columns = input.
        measured: The measured qubits; 0 is the most significant bit.

    Raises:
        InputError: If U is not unitary.
        ConfigError: If `measured` is not a proper part of the qubits.
    """
    qubits = check_unitary(unitary)
    check_measured(measured, qubits)
    size = len(measured)
    amplitudes = (unitary / 2 ** (qubits / 2)).reshape(1, -1)
    input_d, input_m = _input_parts(qubits, measured)
    # R_D, R_M and M_o are maximally mixed, whatever U is.
    di_mo = qubits - float(part_entropy(amplitudes, (*measured, *input_d)))
    mi_mo = 2 * size - float(part_entropy(amplitudes, (*measured, *input_m)))
    return Information(di_mo, mi_mo, 2.0 * size)


def choi_measured_information(unitary: Complex[Tensor, "output input"], measured: tuple[int, ...]) -> float:
    """Returns I(M_i:M_o) alone under `choi`: a matrix of 4^m rows, cheap for any number of qubits.

    Raises:
        InputError: If U is not unitary.
        ConfigError: If `measured` is not a proper part of the qubits.
    """
    qubits = check_unitary(unitary)
    check_measured(measured, qubits)
    amplitudes = (unitary / 2 ** (qubits / 2)).reshape(1, -1)
    _, input_m = _input_parts(qubits, measured)
    return 2 * len(measured) - float(part_entropy(amplitudes, (*measured, *input_m)))


def mean_state(
    states: Tensor, weights: Float[Tensor, "*batch samples"] | None = None
) -> Complex[Tensor, "*batch dim dim"]:
    """Returns the weighted mean of |psi><psi| over states (samples, dim); by default every sample counts the same."""
    states = states.to(torch.complex128)
    if weights is None:
        weights = torch.full((len(states),), 1 / len(states), dtype=torch.float64)
    return torch.einsum("si,...s,sj->...ij", states, weights.to(states.dtype), states.conj())


def data_information(
    unitary: Complex[Tensor, "output input"],
    root: Complex[Tensor, "*batch input input"],
    measured: tuple[int, ...],
) -> list[Information]:
    """Returns the information under the definition `data`: the input is purified by sqrt(rho).

    Args:
        unitary: U, rows = output, columns = input.
        root: sqrt(rho) of one mean input state, or of several (`input_root` makes it once for a training run).
        measured: The measured qubits.

    Returns:
        One value for each root.

    Raises:
        InputError: If U is not unitary.
        ConfigError: If `measured` is not a proper part of the qubits.
    """
    qubits = check_unitary(unitary)
    check_measured(measured, qubits)
    amplitudes = (unitary.to(root.dtype) @ root).reshape(-1, 4**qubits)
    input_d, input_m = _input_parts(qubits, measured)
    parts = {
        name: part_entropy(amplitudes, axes)
        for name, axes in {
            "mo": measured,
            "d": input_d,
            "m": input_m,
            "r": (*input_d, *input_m),
            "d_mo": (*measured, *input_d),
            "m_mo": (*measured, *input_m),
            "r_mo": (*measured, *input_d, *input_m),
        }.items()
    }
    di_mo = parts["d"] + parts["mo"] - parts["d_mo"]
    mi_mo = parts["m"] + parts["mo"] - parts["m_mo"]
    total = parts["r"] + parts["mo"] - parts["r_mo"]
    return [Information(*values) for values in torch.stack([di_mo, mi_mo, total], dim=-1).tolist()]


def input_root(
    states: Tensor, weights: Float[Tensor, "*batch samples"] | None = None
) -> Complex[Tensor, "*batch dim dim"]:
    """Returns sqrt(rho) of the samples' mean state, for `data_information`."""
    return square_root(mean_state(states, weights))


def holevo_information(
    outputs: Complex[Tensor, "samples dim"], labels: Int[Tensor, "samples"], measured: tuple[int, ...]
) -> Holevo:
    """Returns what a measurement of M could at most tell about the labels, and about the samples.

    Args:
        outputs: Output states of the circuit.
        labels: Class numbers.
        measured: The measured qubits.
    """
    local = reduced_states(outputs.to(torch.complex128), measured)
    whole = entropy(local.mean(dim=0))
    groups = [labels == label for label in set(labels.tolist())]
    of_labels = sum(float(group.double().mean() * entropy(local[group].mean(dim=0))) for group in groups)
    return Holevo(float(whole) - of_labels, float(whole - entropy(local).mean()))


def fano_accuracy_bound(chi: float, shares: Float[Tensor, "classes"]) -> float:
    """Returns the largest accuracy of single measurements that `chi` bits about the labels allow (Holevo and Fano).

    Args:
        chi: chi(Y:M_o) in bits.
        shares: Shares of the classes, summing to 1.
    """
    missing = float(spectrum_entropy(shares)) - chi
    classes = len(shares)
    # h(e) + e log2(k - 1) grows up to the error of a blind guess, 1 - 1/k: the smallest error that reaches it.
    low, high = 0.0, 1 - 1 / classes
    for _ in range(60):
        error = (low + high) / 2
        if _fano(error, classes) < missing:
            low = error
        else:
            high = error
    return 1 - low


def _fano(error: float, classes: int) -> float:
    if error <= 0:
        return 0.0
    return -error * log2(error) - (1 - error) * log2(1 - error) + error * log2(max(classes - 1, 1))


def _input_parts(qubits: int, measured: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of R_D and R_M; outputs are axes 0 to n - 1, the reference of the input n to 2n - 1."""
    discarded = tuple(qubits + qubit for qubit in range(qubits) if qubit not in measured)
    return discarded, tuple(qubits + qubit for qubit in measured)
