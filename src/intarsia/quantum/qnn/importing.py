"""A circuit written with PennyLane or Qiskit, taken over gate by gate; neither library is imported or needed.

PennyLane: a tape (`qml.workflow.construct_tape(qnode)(...)`) or a list of operations. Qiskit: a QuantumCircuit whose
parameters are bound.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from intarsia.errors import ConfigError, InputError

_NO_GATES = {"barrier", "delay", "Barrier", "Snapshot", "GlobalPhase", "global_phase"}


class Gate(NamedTuple):
    """A gate of an imported circuit.

    Attributes:
        matrix: The unitary, (2^k, 2^k).
        qubits: The k qubits it acts on, the most significant first.
        name: What its library calls it.
    """

    matrix: Complex[Tensor, "dim dim"]
    qubits: tuple[int, ...]
    name: str


class GateCircuit(NamedTuple):
    """A circuit as a list of gates.

    Attributes:
        qubits: Number of qubits; 0 is the most significant bit.
        gates: The gates in order.
    """

    qubits: int
    gates: tuple[Gate, ...]

    def apply(self, states: Tensor) -> Complex[Tensor, "batch dim"]:
        """Runs the circuit on states (batch, 2^n).

        Raises:
            InputError: If the states have another number of qubits.
        """
        if states.ndim != 2 or states.shape[1] != 2**self.qubits:
            raise InputError(
                f"states have the shape {tuple(states.shape)}, but the circuit takes (samples, {2**self.qubits})"
            )
        states = states.to(torch.complex128)
        for gate in self.gates:
            states = _apply_gate(states, gate, self.qubits)
        return states

    def unitary(self) -> Complex[Tensor, "output input"]:
        """Returns the circuit's unitary, rows = output, columns = input."""
        # Rows of the batch are the images of the basis states, hence the columns of U.
        return self.apply(torch.eye(2**self.qubits, dtype=torch.complex128)).T

    def state(self) -> Complex[Tensor, "dim"]:
        """Returns what the circuit makes of |0...0>, e.g. if it is the encoding of a sample."""
        start = torch.zeros(1, 2**self.qubits, dtype=torch.complex128)
        start[0, 0] = 1
        return self.apply(start)[0]


def import_circuit(circuit: Any, wires: Sequence[Any] | None = None) -> GateCircuit:
    """Takes over a PennyLane or Qiskit circuit.

    Args:
        circuit: A PennyLane tape, a list of its operations, or a Qiskit circuit with bound parameters.
        wires: PennyLane only: the wires in the order of our qubits. By default those the circuit uses, sorted if they
            are numbers; name them where some stay idle. Qiskit's qubit k becomes our qubit k, so our unitary has the
            bits of Qiskit's in reverse.

    Raises:
        InputError: If it is no such circuit, parameters are not bound, it measures before its end, or a gate is not
            unitary or has no matrix.
        ConfigError: If a gate acts on a wire that is not among `wires`.
    """
    if hasattr(circuit, "data") and hasattr(circuit, "num_qubits") and hasattr(circuit, "find_bit"):
        return GateCircuit(int(circuit.num_qubits), tuple(_checked(_qiskit_gates(circuit))))
    operations = getattr(circuit, "operations", circuit)
    if isinstance(operations, str) or not isinstance(operations, Iterable):
        raise InputError(
            f"cannot import a circuit from {type(circuit).__name__}",
            fix="give a PennyLane tape (qml.workflow.construct_tape(qnode)(...)), a list of operations, "
            "or a Qiskit QuantumCircuit",
        )
    operations = list(operations)
    order = list(wires) if wires is not None else _wires_of(operations)
    if not order:
        raise InputError("the circuit has no gates", fix="name its wires, or check what was passed")
    return GateCircuit(len(order), tuple(_checked(_pennylane_gates(operations, order))))


def _wires_of(operations: Sequence[Any]) -> list[Any]:
    used = list(dict.fromkeys(wire for operation in operations for wire in getattr(operation, "wires", ())))
    return sorted(used) if all(isinstance(wire, int) for wire in used) else used


def _pennylane_gates(operations: Sequence[Any], order: Sequence[Any]) -> Iterator[Gate]:
    places = {wire: place for place, wire in enumerate(order)}
    for operation in operations:
        name = str(getattr(operation, "name", type(operation).__name__))
        if name in _NO_GATES:
            continue
        if not hasattr(operation, "matrix") or not hasattr(operation, "wires"):
            raise _no_matrix(name)
        unknown = [wire for wire in operation.wires if wire not in places]
        if unknown:
            raise ConfigError("wires", list(order), f"all wires of the circuit; {name} acts on {unknown[0]!r}")
        if getattr(operation, "has_matrix", True):
            yield Gate(_tensor(operation.matrix()), tuple(places[wire] for wire in operation.wires), name)
        elif getattr(operation, "has_decomposition", False):
            # Templates such as layers and embeddings have no matrix, but gates they stand for.
            yield from _pennylane_gates(operation.decomposition(), order)
        else:
            raise _no_matrix(name)


def _qiskit_gates(circuit: Any) -> Iterator[Gate]:
    yield from _instructions(circuit, [circuit.find_bit(qubit).index for qubit in circuit.qubits], measured=set())


def _instructions(circuit: Any, qubits: Sequence[int], measured: set[int]) -> Iterator[Gate]:
    for instruction in circuit.data:
        operation = instruction.operation
        targets = [qubits[circuit.find_bit(qubit).index] for qubit in instruction.qubits]
        if operation.name in _NO_GATES:
            continue
        if operation.name == "measure":
            # A final measurement is not part of the unitary.
            measured.update(targets)
            continue
        if measured & set(targets):
            raise InputError(
                f"{operation.name} acts on a qubit that was measured before",
                where=f"qubit {min(measured & set(targets))}",
                fix="only circuits that measure at their end have a unitary",
            )
        if any(hasattr(value, "parameters") and value.parameters for value in getattr(operation, "params", ())):
            raise InputError(
                f"{operation.name} has parameters without values",
                fix="bind them first: circuit.assign_parameters(values)",
            )
        if hasattr(operation, "__array__"):
            # In Qiskit's matrices the first qubit is the least significant one.
            yield Gate(_tensor(operation.to_matrix()), tuple(reversed(targets)), operation.name)
        elif getattr(operation, "definition", None) is not None:
            # Composite gates have only a definition.
            yield from _instructions(operation.definition, targets, measured)
        else:
            raise _no_matrix(operation.name)


def _checked(gates: Iterable[Gate]) -> Iterator[Gate]:
    for gate in gates:
        size = 2 ** len(gate.qubits)
        if tuple(gate.matrix.shape) != (size, size):
            raise InputError(
                f"{gate.name} acts on {len(gate.qubits)} qubits, but its matrix is {tuple(gate.matrix.shape)}",
                fix="import one sample's circuit at a time: gates with a batch of parameters have no single matrix",
            )
        error = float((gate.matrix.mH @ gate.matrix - torch.eye(size, dtype=torch.complex128)).abs().max())
        if not error <= 1e-8:
            raise InputError(
                f"{gate.name} is not unitary: an entry of U^dagger U - 1 is {error:.2g}",
                fix="compute it in double precision; noise channels and resets cannot be imported",
            )
        yield gate


def _apply_gate(states: Complex[Tensor, "batch dim"], gate: Gate, qubits: int) -> Complex[Tensor, "batch dim"]:
    axes = [1 + qubit for qubit in gate.qubits]
    count = len(axes)
    moved = states.reshape(-1, *[2] * qubits).movedim(axes, list(range(1, 1 + count)))
    turned = gate.matrix @ moved.reshape(len(states), 2**count, -1)
    return turned.reshape(moved.shape).movedim(list(range(1, 1 + count)), axes).reshape(states.shape)


def _tensor(matrix: Any) -> Tensor:
    if isinstance(matrix, Tensor):
        return matrix.detach().to(torch.complex128)
    return torch.from_numpy(np.array(matrix, dtype=np.complex128))


def _no_matrix(name: str) -> InputError:
    return InputError(
        f"{name} has no matrix",
        fix="leave out measurements, resets, noise and state preparations; encode states yourself",
    )
