"""Circuits of other libraries, by stand-ins that look like them; `test_other_libraries` imports the real ones."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from intarsia.errors import ConfigError, InputError
from intarsia.quantum.qnn import choi_information, import_circuit

X = np.array([[0, 1], [1, 0]])
H = np.array([[1, 1], [1, -1]]) / 2**0.5
CNOT = np.eye(4)[[0, 1, 3, 2]]  # the first qubit, the most significant bit, controls
CNOT_LITTLE = np.eye(4)[[0, 3, 2, 1]]  # the same in Qiskit's order: the first qubit is the least significant bit


class Operation:
    """As PennyLane's: a matrix and wires."""

    def __init__(self, name: str, matrix: Any, wires: list[Any], decomposition: Any = ()) -> None:
        self.name, self.wires, self._matrix, self._decomposition = name, wires, matrix, list(decomposition)
        self.has_matrix, self.has_decomposition = matrix is not None, bool(self._decomposition)

    def matrix(self) -> Any:
        return self._matrix

    def decomposition(self) -> list[Any]:
        return self._decomposition


def tape(*operations: Operation) -> SimpleNamespace:
    return SimpleNamespace(operations=list(operations), measurements=["expval"])


class QiskitCircuit:
    """As Qiskit's: instructions with an operation and qubits."""

    def __init__(self, qubits: int, *gates: tuple[Any, list[int]]) -> None:
        self.qubits = [f"q{number}" for number in range(qubits)]
        self.num_qubits = qubits
        self.data = [
            SimpleNamespace(operation=operation, qubits=[self.qubits[place] for place in places])
            for operation, places in gates
        ]

    def find_bit(self, qubit: str) -> SimpleNamespace:
        return SimpleNamespace(index=self.qubits.index(qubit))


def gate(name: str, matrix: Any, **more: Any) -> SimpleNamespace:
    known = {} if matrix is None else {"to_matrix": lambda: matrix, "__array__": lambda: matrix}
    return SimpleNamespace(name=name, params=[], **known, **more)


def test_a_tape_is_taken_over_in_the_order_of_its_wires() -> None:
    found = import_circuit(tape(Operation("H", H, [0]), Operation("CNOT", CNOT, [0, 2])), wires=[0, 1, 2])
    assert found.qubits == 3
    state = torch.zeros(8, dtype=torch.complex128)
    state[[0b000, 0b101]] = 0.5**0.5
    torch.testing.assert_close(found.state(), state)
    torch.testing.assert_close(found.unitary()[:, 0], state)


def test_wires_may_have_names_and_control_from_below() -> None:
    found = import_circuit([Operation("CNOT", CNOT, ["b", "a"])], wires=["a", "b"])
    expected = torch.eye(4)[[0, 3, 2, 1]].to(torch.complex128)
    torch.testing.assert_close(found.unitary(), expected)
    assert choi_information(found.unitary(), (0,)) == pytest.approx((0, 1, 2), abs=1e-12)


def test_wires_are_sorted_by_default() -> None:
    found = import_circuit(tape(Operation("X", X, [1]), Operation("H", H, [0])))
    torch.testing.assert_close(found.unitary(), torch.from_numpy(np.kron(H, X)).to(torch.complex128))


def test_templates_without_a_matrix_are_decomposed() -> None:
    layer = Operation("Layer", None, [0, 1], [Operation("H", H, [0]), Operation("CNOT", CNOT, [0, 1])])
    found = import_circuit(tape(layer))
    assert [each.name for each in found.gates] == ["H", "CNOT"]


def test_torch_parameters_are_detached() -> None:
    angle = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    matrix = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    found = import_circuit([Operation("RY", matrix, [0]), Operation("X", X, [1])])
    assert not found.unitary().requires_grad


def test_qiskit_qubits_keep_their_numbers() -> None:
    found = import_circuit(
        QiskitCircuit(2, (gate("h", H), [0]), (gate("barrier", None), [0, 1]), (gate("cx", CNOT_LITTLE), [0, 1]))
    )
    expected = CNOT @ np.kron(H, np.eye(2))
    torch.testing.assert_close(found.unitary(), torch.from_numpy(expected).to(torch.complex128))


def test_composite_qiskit_gates_are_opened_and_final_measurements_dropped() -> None:
    inner = QiskitCircuit(2, (gate("h", H), [1]), (gate("cx", CNOT_LITTLE), [1, 0]))
    block = gate("block", None, definition=inner)
    found = import_circuit(QiskitCircuit(3, (block, [2, 0]), (gate("measure", None), [0])))
    # Inner qubit 1 is our qubit 0, inner 0 is our qubit 2.
    expected = np.eye(8)[[0, 1, 2, 3, 5, 4, 7, 6]] @ np.kron(H, np.eye(4))
    torch.testing.assert_close(found.unitary(), torch.from_numpy(expected).to(torch.complex128))


@pytest.mark.parametrize(
    ("circuit", "message"),
    [
        (tape(Operation("Reset", None, [0])), r"Reset has no matrix[\s\S]*leave out measurements"),
        (tape(Operation("Damping", X / 2, [0])), "Damping is not unitary"),
        (tape(Operation("RX", np.stack([X, X]), [0])), r"RX acts on 1 qubits, but its matrix is \(2, 2, 2\)"),
        (tape(), "the circuit has no gates"),
        ("OPENQASM 3;", "cannot import a circuit from str"),
        (7, "cannot import a circuit from int"),
        (QiskitCircuit(1, (gate("measure", None), [0]), (gate("x", X), [0])), "x acts on a qubit that was measured"),
        (QiskitCircuit(1, (gate("reset", None), [0])), "reset has no matrix"),
        (
            QiskitCircuit(1, (SimpleNamespace(name="rx", params=[SimpleNamespace(parameters={"a"})]), [0])),
            r"rx has parameters without values[\s\S]*assign_parameters",
        ),
    ],
)
def test_circuits_that_cannot_be_imported(circuit: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        import_circuit(circuit)


def test_a_wire_that_was_not_named() -> None:
    with pytest.raises(ConfigError, match="all wires of the circuit; X acts on 3"):
        import_circuit([Operation("X", X, [3])], wires=[0, 1])


def test_states_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"the circuit takes \(samples, 2\)"):
        import_circuit([Operation("X", X, [0])]).apply(torch.zeros(1, 4))
