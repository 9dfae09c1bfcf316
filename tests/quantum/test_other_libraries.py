"""States, circuits and numbers of other libraries, where they are installed; the project depends on none of them."""

import numpy as np
import pytest
import torch

from intarsia.errors import InputError
from intarsia.quantum import paulis, states
from intarsia.quantum.posterior import feasible_interval
from intarsia.quantum.qnn import analyse, choi_information, import_circuit

REASON = "{} is not installed; the project does not need it"


def haar(n, seed):
    return states.haar_state(n, np.random.default_rng(seed))


def haar_unitary(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(2**n, 2**n, generator=generator, dtype=torch.complex128)).Q


# Qiskit


@pytest.fixture
def qiskit():
    return pytest.importorskip("qiskit", reason=REASON.format("qiskit"))


def test_qiskit_states_have_our_expectations(qiskit, tmp_path):
    from qiskit.quantum_info import DensityMatrix, Pauli, Statevector

    circuit = qiskit.QuantumCircuit(3)
    circuit.ry(0.7, 0)
    circuit.cx(0, 1)
    circuit.rz(1.1, 1)
    circuit.h(2)
    circuit.cp(0.4, 2, 0)
    vector = Statevector(circuit)
    # Qiskit's labels begin with its last qubit.
    theirs = {label: vector.expectation_value(Pauli(label[::-1])).real for label in paulis.labels(3)}
    for state in (vector, DensityMatrix(circuit)):
        assert paulis.expectations_of(state) == pytest.approx(theirs, abs=1e-12)
    np.save(tmp_path / "psi.npy", vector.data)
    read = states.read_state(tmp_path / "psi.npy", reverse_qubits=True)
    assert paulis.expectations_of(read) == pytest.approx(theirs, abs=1e-12)


def test_all_expectations_are_those_of_qiskit(qiskit):
    from qiskit.quantum_info import SparsePauliOp

    psi = haar(4, 1)
    found = SparsePauliOp.from_operator(np.outer(psi, psi.conj()), atol=0, rtol=0)
    # A matrix has no order of qubits: its leftmost factor is the first letter for both.
    theirs = dict(zip(found.paulis.to_labels(), 16 * found.coeffs.real, strict=True))
    ours = dict(zip(paulis.labels(4, identity=True), paulis.pauli_expectations(psi), strict=True))
    assert {label: theirs.get(label, 0.0) for label in ours} == pytest.approx(ours, abs=1e-13)


def test_qiskit_circuits_are_imported(qiskit):
    from qiskit.circuit import Parameter, library
    from qiskit.quantum_info import Operator

    block = qiskit.QuantumCircuit(2, name="block")
    block.ry(0.4, 0)
    block.cx(0, 1)
    layers = library.efficient_su2(3, reps=1)
    circuit = qiskit.QuantumCircuit(3, 1)
    circuit.compose(layers.assign_parameters(np.linspace(0.1, 3, layers.num_parameters)), inplace=True)
    circuit.append(block.to_gate().control(1), [2, 0, 1])
    circuit.append(block.to_instruction(), [1, 2])
    circuit.barrier()
    circuit.ccx(2, 1, 0)
    circuit.unitary(haar_unitary(2, 3).numpy(), [2, 0])
    order = [int(f"{place:03b}"[::-1], 2) for place in range(8)]
    theirs = Operator(circuit).data[np.ix_(order, order)]
    circuit.measure(0, 0)
    np.testing.assert_allclose(import_circuit(circuit).unitary().numpy(), theirs, atol=1e-12)

    angle = Parameter("a")
    unbound = qiskit.QuantumCircuit(1)
    unbound.rx(angle, 0)
    with pytest.raises(InputError, match="rx has parameters without values"):
        import_circuit(unbound)
    np.testing.assert_allclose(
        import_circuit(unbound.assign_parameters({angle: 0.3})).unitary().numpy(),
        [[np.cos(0.15), -1j * np.sin(0.15)], [-1j * np.sin(0.15), np.cos(0.15)]],
        atol=1e-12,
    )
    reset = qiskit.QuantumCircuit(1)
    reset.reset(0)
    with pytest.raises(InputError, match="reset has no matrix"):
        import_circuit(reset)


# PennyLane


@pytest.fixture
def qml():
    return pytest.importorskip("pennylane", reason=REASON.format("pennylane"))


@pytest.mark.parametrize("interface", ["numpy", "torch"])
def test_pennylane_states_have_our_expectations(qml, interface):
    @qml.qnode(qml.device("default.qubit", wires=3), interface=interface)
    def circuit(angle, label=None):
        qml.RY(angle, wires=0)
        qml.CNOT(wires=[0, 2])
        qml.RZ(0.3, wires=2)
        qml.Hadamard(wires=1)
        return qml.state() if label is None else qml.expval(qml.pauli.string_to_pauli_word(label))

    angle = torch.tensor(0.7, dtype=torch.float64, requires_grad=True) if interface == "torch" else 0.7
    theirs = {label: circuit(angle, label).item() for label in ("XIX", "YIY", "ZII", "IXI", "IIZ", "ZIZ")}
    ours = paulis.expectations_of(circuit(angle))
    assert {label: ours[label] for label in theirs} == pytest.approx(theirs, abs=1e-12)


def test_pennylane_circuits_are_imported_and_analysed(qml):
    weights = torch.linspace(0.1, 3, 18, dtype=torch.float64).reshape(2, 3, 3).requires_grad_()

    @qml.qnode(qml.device("default.qubit", wires=3), interface="torch")
    def circuit(weights):
        qml.Hadamard(wires=0)
        qml.StronglyEntanglingLayers(weights, wires=range(3))
        qml.Barrier(wires=range(3))
        qml.adjoint(qml.S)(wires=1)
        qml.ctrl(qml.RY, control=2)(0.4, wires=0)
        return qml.expval(qml.PauliZ(0))

    tape = qml.workflow.construct_tape(circuit)(weights)
    found = import_circuit(tape, wires=range(3))
    theirs = qml.matrix(tape, wire_order=range(3)).detach().numpy()
    np.testing.assert_allclose(found.unitary().numpy(), theirs, atol=1e-12)
    inputs = torch.from_numpy(np.stack([haar(3, seed) for seed in range(4)]))
    (record,) = analyse([found.unitary()], measured=(0,), states=inputs, labels=[0, 1, 0, 1])
    assert 0 <= record["chi_labels"] <= record["chi_inputs"] <= 1


def test_what_pennylane_cannot_undo_is_refused(qml):
    with qml.queuing.AnnotatedQueue() as queue:
        outcome = qml.measure(0)
        qml.cond(outcome, qml.PauliX)(1)
    with pytest.raises(InputError, match="has no matrix"):
        import_circuit(qml.tape.QuantumScript.from_queue(queue))
    with pytest.raises(InputError, match="no matrix"):
        import_circuit([qml.AmplitudeDamping(0.1, wires=0)])
    batch = torch.zeros(2, 1)
    with pytest.raises(InputError, match="one sample's circuit at a time"):
        import_circuit([qml.RX(batch[:, 0], wires=0)])


@pytest.mark.parametrize(("n", "measured"), [(2, (1,)), (3, (0,)), (3, (0, 2)), (4, (1,))])
def test_mutual_information_is_that_of_pennylane(qml, n, measured):
    unitary = haar_unitary(n, n)
    amplitudes = unitary.numpy().reshape(-1) / 2 ** (n / 2)
    density = np.outer(amplitudes, amplitudes.conj())
    inputs = ([n + qubit for qubit in range(n) if qubit not in measured], [n + qubit for qubit in measured])
    theirs = [float(qml.math.mutual_info(density, axes, list(measured), base=2)) for axes in inputs]
    assert choi_information(unitary, measured)[:2] == pytest.approx(theirs, abs=1e-10)


# QuTiP and CVXPY


@pytest.mark.parametrize(("n", "measured"), [(2, (0,)), (3, (1,)), (3, (1, 2)), (4, (3,))])
def test_mutual_information_is_that_of_qutip(n, measured):
    qutip = pytest.importorskip("qutip", reason=REASON.format("qutip"))
    unitary = haar_unitary(n, 10 + n)
    whole = qutip.Qobj(unitary.numpy().reshape(-1, 1) / 2 ** (n / 2), dims=[[2] * (2 * n), [1] * (2 * n)])

    def shared(axes):
        kept = sorted([*axes, *measured])
        parts = [[kept.index(axis) for axis in part] for part in (axes, measured)]
        return qutip.entropy_mutual(whole.ptrace(kept), *parts, base=2)

    theirs = [shared([n + qubit for qubit in range(n) if (qubit in measured) is inside]) for inside in (False, True)]
    assert choi_information(unitary, measured)[:2] == pytest.approx(theirs, abs=1e-10)


@pytest.mark.parametrize(("n", "count"), [(1, 1), (2, 5), (2, 11), (3, 30)])
def test_intervals_are_those_of_the_program_as_it_is_read(n, count):
    cp = pytest.importorskip("cvxpy", reason=REASON.format("cvxpy"))
    values = paulis.expectations_of(states.depolarise(states.density_matrix(haar(n, count)), 1e-2))
    known, target = dict(list(values.items())[:count]), list(values)[count]
    sigma = cp.Variable((2**n, 2**n), hermitian=True)
    legal = [sigma >> 0, cp.real(cp.trace(sigma)) == 1]
    legal += [cp.real(cp.trace(sigma @ paulis.pauli_matrix(label))) == value for label, value in known.items()]
    goal = cp.real(cp.trace(sigma @ paulis.pauli_matrix(target)))
    theirs = [cp.Problem(end(goal), legal).solve(solver=cp.CLARABEL) for end in (cp.Minimize, cp.Maximize)]
    found = feasible_interval(known, target)
    assert (found.lower, found.upper) == pytest.approx(theirs, abs=1e-5)
