"""Pauli strings, expectation values by transform, and states."""

import sys
import types

import numpy as np
import pytest

from intarsia.errors import ConfigError, DataError, InputError, UnknownNameError
from intarsia.quantum import paulis, states

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_expectations_are_those_of_the_matrices(n):
    psi = states.haar_state(n, RNG)
    other = states.haar_state(n, RNG)
    for state in (psi, 0.3 * np.outer(psi, psi.conj()) + 0.7 * np.outer(other, other.conj())):
        rho = states.density_matrix(state)
        direct = [np.trace(rho @ paulis.pauli_matrix(label)).real for label in paulis.labels(n, identity=True)]
        assert paulis.pauli_expectations(state) == pytest.approx(direct, abs=1e-14)
        assert np.allclose(paulis.state_from_expectations(paulis.expectations_of(state)), rho, atol=1e-14)


@pytest.mark.parametrize("n", [1, 3, 6])
def test_squares_sum_to_purity(n):
    psi = states.haar_state(n, RNG)
    assert np.sum(paulis.pauli_expectations(psi)[1:] ** 2) == pytest.approx(2**n - 1)
    mixed = states.depolarise(states.density_matrix(psi), 0.3)
    purity = np.trace(mixed @ mixed).real
    assert np.sum(paulis.pauli_expectations(mixed)[1:] ** 2) == pytest.approx(2**n * purity - 1)


def test_the_first_letter_is_the_most_significant_qubit():
    zero_one = np.array([0, 1, 0, 0])
    values = paulis.expectations_of(zero_one)
    assert (values["ZI"], values["IZ"]) == (1, -1)


def test_matrices_commute_as_masks_say():
    for one in paulis.labels(2):
        for other in paulis.labels(2):
            a, b = paulis.pauli_matrix(one), paulis.pauli_matrix(other)
            assert np.allclose(a @ b, b @ a) == paulis.commute(one, other)


def test_signed_permutations_are_the_matrices():
    strings = paulis.labels(2, identity=True)
    phases, rows = paulis.signed_permutations(paulis.places(strings), 4)
    for label, phase, row in zip(strings, phases, rows, strict=True):
        assert np.allclose(phase[:, None] * np.eye(4)[row], paulis.pauli_matrix(label))


@pytest.mark.parametrize("n", [1, 2, 4])
def test_families_are_states_of_their_kind(n):
    for family in states.FAMILIES:
        psi = states.draw_state(family, n, np.random.default_rng(n))
        assert np.linalg.norm(psi) == pytest.approx(1)
        assert np.array_equal(psi, states.draw_state(family, n, np.random.default_rng(n)))
    stabilizer = paulis.pauli_expectations(states.stabilizer_state(n, np.random.default_rng(n)))
    assert set(np.round(np.abs(stabilizer), 9)) <= {0.0, 1.0}
    assert np.sum(np.abs(stabilizer)) == pytest.approx(2**n)


def test_real_and_symmetric_states_are_so():
    values = paulis.expectations_of(states.real_state(3, RNG))
    assert max(abs(value) for label, value in values.items() if label.count("Y") % 2) < 1e-15
    psi = states.symmetric_state(3, RNG)
    values = paulis.expectations_of(psi)
    assert values["XYZ"] == pytest.approx(values["ZXY"]) == pytest.approx(values["YXZ"])
    assert abs(values["XYZ"]) > 1e-3
    # Dicke states have the same weight on average: that of |111> as much as that of the three with a single one.
    weights = np.mean([np.abs(states.symmetric_state(3, RNG)) ** 2 for _ in range(2000)], axis=0)
    assert [weights[0], 3 * weights[1], 3 * weights[3], weights[7]] == pytest.approx([0.25] * 4, abs=0.03)


def test_stabilizer_states_are_of_many_kinds():
    drawn = {tuple(np.round(paulis.pauli_expectations(states.stabilizer_state(2, RNG)), 6) + 0.0) for _ in range(60)}
    entangled = [values for values in drawn if all(abs(values[index]) < 0.5 for index in (1, 2, 3, 4, 8, 12))]
    assert len(drawn) > 25
    assert 0 < len(entangled) < len(drawn)


def test_named_states():
    assert states.named_state("ghz", 3)[[0, 7]] == pytest.approx([2**-0.5] * 2)
    assert np.count_nonzero(states.named_state("w", 3)) == 3
    with pytest.raises(UnknownNameError, match="ghz"):
        states.named_state("gzh", 2)
    with pytest.raises(ConfigError, match="qubits"):
        states.named_state("haar", 0)


# Where states come from


def test_a_file_is_read(tmp_path):
    psi = states.haar_state(2, RNG)
    np.save(tmp_path / "psi.npy", psi)
    assert np.array_equal(states.read_state(tmp_path / "psi.npy"), psi)
    turned = states.read_state(tmp_path / "psi.npy", reverse_qubits=True)
    assert np.array_equal(turned, psi[[0, 2, 1, 3]])
    np.save(tmp_path / "long.npy", 2 * psi)
    with pytest.raises(InputError, match=r"(?s)norm 2.*long\.npy"):
        states.read_state(tmp_path / "long.npy")
    (tmp_path / "text.npy").write_text("no")
    with pytest.raises(DataError, match="not a NumPy file"):
        states.read_state(tmp_path / "text.npy")
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object))
    with pytest.raises(DataError, match="not a NumPy file"):
        states.read_state(tmp_path / "object.npy")
    with pytest.raises(DataError, match="file not found"):
        states.read_state(tmp_path / "none.npy")


def test_qiskit_objects_are_turned():
    # What a Qiskit state vector is to us: its module's name and its data.
    class Statevector:
        def __init__(self, data):
            self.data = data

    Statevector.__module__ = "qiskit.quantum_info.states.statevector"
    psi = states.haar_state(3, RNG)
    rho = np.outer(psi, psi.conj())
    ours = paulis.expectations_of(psi)
    theirs = Statevector(psi.reshape(2, 2, 2).transpose(2, 1, 0).reshape(-1))
    assert paulis.expectations_of(theirs) == pytest.approx(ours)
    matrix = Statevector(rho.reshape((2,) * 6).transpose(2, 1, 0, 5, 4, 3).reshape(8, 8))
    assert paulis.expectations_of(matrix) == pytest.approx(ours)


def test_torch_tensors_with_gradients_are_read():
    import torch

    psi = torch.tensor([0.6, 0.8j], dtype=torch.complex128, requires_grad=True)
    assert paulis.expectations_of(psi.conj())["Y"] == pytest.approx(-0.96)


# Bad input


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (np.ones(3) / 3**0.5, "power of two, not 3"),
        (np.ones(1), "power of two, not 1"),
        (np.ones((2, 3)), "square matrix"),
        (np.array([1.0, 1e-3]), "norm 1.0000005.*normalise=True"),
        (np.zeros(4), "zero"),
        (np.array([1.0, np.nan]), "not finite"),
        (np.array([[0.5, 0.1], [0.2, 0.5]]), "not Hermitian.*0.1"),
        (np.eye(2), "trace 2, not 1"),
        (np.diag([1.1, -0.1]), "negative eigenvalue -0.1"),
        ("psi", "cannot be read from str"),
        (types.SimpleNamespace(), "cannot be read from SimpleNamespace"),
    ],
)
def test_what_is_no_state_is_refused(state, message):
    with pytest.raises(InputError, match="(?s)" + message):
        paulis.pauli_expectations(state)


def test_normalise_divides():
    assert paulis.pauli_expectations(np.array([3.0, 4.0]), normalise=True)[3] == pytest.approx((9 - 16) / 25)
    assert states.density_matrix(2 * np.eye(2), normalise=True) == pytest.approx(np.eye(2) / 2)


@pytest.mark.parametrize(
    ("strings", "message"),
    [
        (["XA"], "unknown letter 'A'"),
        (["XX", "X"], "has 1 letters, the state 2 qubits"),
        (["II"], "identity"),
        ([], "no Pauli string"),
    ],
)
def test_what_is_no_string_is_refused(strings, message):
    with pytest.raises(InputError, match=message):
        paulis.common_length(strings)


def test_the_room_imports_nothing_heavy():
    import subprocess

    code = "import intarsia.quantum.posterior, sys; print('torch' in sys.modules, 'clarabel' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
