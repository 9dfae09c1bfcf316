"""What is read at the measured qubits: an expectation for two classes, outcome probabilities for more."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from intarsia.errors import ConfigError
from intarsia.quantum.qnn.subsystems import kept_first


def expectation_z(states: Complex[Tensor, "batch dim"], qubit: int) -> Float[Tensor, "batch"]:
    """Returns <Z> of a qubit, in [-1, 1]; qubit 0 is the most significant bit."""
    probabilities = states.real.square() + states.imag.square()
    halves = probabilities.reshape(len(states), 2**qubit, 2, -1).sum(dim=(1, 3))
    return halves[:, 0] - halves[:, 1]


def outcome_probabilities(
    states: Complex[Tensor, "batch dim"], measured: tuple[int, ...]
) -> Float[Tensor, "batch outcomes"]:
    """Returns the probabilities of the outcomes of the measured qubits in the computational basis."""
    amplitudes = kept_first(states, measured)
    return (amplitudes.real.square() + amplitudes.imag.square()).sum(dim=-1)


def class_probabilities(
    states: Complex[Tensor, "batch dim"], measured: tuple[int, ...], classes: int
) -> Float[Tensor, "batch classes"]:
    """Returns the chance that a single measurement names each class.

    Two classes are told apart by the first measured qubit, more by the outcomes of all; outcomes beyond the last class
    name none, so rows may sum to less than 1.

    Raises:
        ConfigError: If the measured qubits have too few outcomes.
    """
    check_outcomes(measured, classes)
    if classes == 2:
        z = expectation_z(states, measured[0])
        return torch.stack([(1 + z) / 2, (1 - z) / 2], dim=-1)
    return outcome_probabilities(states, measured)[:, :classes]


def check_outcomes(measured: tuple[int, ...], classes: int) -> None:
    """Raises ConfigError if the measured qubits have fewer outcomes than there are classes."""
    if 2 ** len(measured) < classes:
        needed = (classes - 1).bit_length()
        raise ConfigError("measured", list(measured), f"at least {needed} qubits, to tell {classes} classes apart")
