"""What is measured of a circuit at one moment, and over several."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Complex, Int
from torch import Tensor

from intarsia.errors import InputError
from intarsia.quantum.qnn.config import DEFINITIONS, require_known
from intarsia.quantum.qnn.information import choi_information, data_information, holevo_information, input_root

Record = dict[str, Any]


def information_record(
    unitary: Complex[Tensor, "output input"] | None,
    measured: tuple[int, ...],
    definitions: Sequence[str],
    *,
    root: Complex[Tensor, "input input"] | None = None,
    outputs: Complex[Tensor, "samples dim"] | None = None,
    labels: Int[Tensor, "samples"] | None = None,
) -> Record:
    """Returns the wanted quantities in bits by name: `choi_di_mo`, `choi_mi_mo`, `data_di_mo`, ..., `chi_labels`.

    Args:
        unitary: U, for `choi` and `data`.
        measured: The measured qubits.
        definitions: Which of `choi`, `data` and `holevo`.
        root: sqrt(rho) of the inputs, for `data`.
        outputs: Output states, for `holevo`.
        labels: Their class numbers, for `holevo`.
    """
    record: Record = {}
    if "choi" in definitions and unitary is not None:
        choi = choi_information(unitary, measured)
        record |= {"choi_di_mo": choi.di_mo, "choi_mi_mo": choi.mi_mo}
    if "data" in definitions and unitary is not None and root is not None:
        (data,) = data_information(unitary, root, measured)
        record |= {"data_di_mo": data.di_mo, "data_mi_mo": data.mi_mo, "data_total": data.total}
    if "holevo" in definitions and outputs is not None and labels is not None:
        chi = holevo_information(outputs, labels, measured)
        record |= {"chi_labels": chi.labels, "chi_inputs": chi.inputs}
    return record


def analyse(
    unitaries: Iterable[Tensor],
    measured: tuple[int, ...],
    *,
    states: Tensor | None = None,
    labels: Sequence[int] | None = None,
    definitions: Sequence[str] | None = None,
) -> list[Record]:
    """Measures a circuit of your own at several moments of its training, e.g. one unitary an epoch.

    Args:
        unitaries: U at each moment, rows = output, columns = input, e.g. from `import_circuit(...).unitary()`.
        measured: The measured qubits; 0 is the most significant bit.
        states: Encoded samples (samples, 2^n), which `data` and `holevo` need.
        labels: Class numbers of the samples, which `holevo` needs.
        definitions: What to measure; by default all that the arguments allow.

    Returns:
        One record for each unitary, with its number as `epoch`.

    Raises:
        InputError: If what a definition needs is absent, or a matrix is not unitary.
        UnknownNameError: If a definition is unknown.
    """
    possible = ["choi", *(["data"] if states is not None else []), *(["holevo"] if labels is not None else [])]
    wanted = tuple(definitions) if definitions is not None else tuple(possible)
    for definition in wanted:
        require_known("definition of information", definition, DEFINITIONS)
        if definition not in possible or (definition == "holevo" and states is None):
            needs = "states" if definition == "data" else "states and labels"
            raise InputError(f"the definition {definition!r} needs {needs}")
    inputs = None if states is None else states.to(torch.complex128)
    numbers = None if labels is None else torch.as_tensor(labels)
    root = None if inputs is None else input_root(inputs)
    return [
        {
            "epoch": epoch,
            **information_record(
                unitary.to(torch.complex128),
                measured,
                wanted,
                root=root,
                outputs=None if inputs is None else inputs @ unitary.to(torch.complex128).mT,
                labels=numbers,
            ),
        }
        for epoch, unitary in enumerate(unitaries)
    ]
