"""The simulator against dense matrices, closed forms and the parameter-shift rule."""

from math import cos, pi, sin

import pytest
import torch
from torch import Tensor

from intarsia.errors import ConfigError, InputError, UnknownNameError
from intarsia.quantum.qnn import Circuit, CircuitConfig, angle_states
from intarsia.quantum.qnn.config import FAMILIES
from intarsia.quantum.qnn.entanglers import entangled_pairs
from intarsia.quantum.qnn.readout import class_probabilities, expectation_z

_I, _X = torch.eye(2, dtype=torch.complex128), torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128)


def theta_of(config: CircuitConfig, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * pi * torch.rand(config.parameter_shape, generator=generator, dtype=torch.float64)


def states(count: int, qubits: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 2**qubits, generator=generator, dtype=torch.complex128)
    return drawn / drawn.norm(dim=1, keepdim=True)


def rotation(axis: str, angle: Tensor) -> Tensor:
    paulis = {"y": torch.tensor([[0, -1j], [1j, 0]]), "z": torch.tensor([[1, 0], [0, -1]])}
    return torch.linalg.matrix_exp(-0.5j * angle * paulis[axis].to(torch.complex128))


def kron(matrices: list[Tensor]) -> Tensor:
    product = matrices[0]
    for matrix in matrices[1:]:
        product = torch.kron(product, matrix)
    return product


def controlled(control: int, target: int, gate: Tensor, qubits: int) -> Tensor:
    zero, one = torch.diag(torch.tensor([1, 0])).to(gate), torch.diag(torch.tensor([0, 1])).to(gate)
    idle = kron([zero if qubit == control else _I for qubit in range(qubits)])
    acting = kron([{control: one, target: gate}.get(qubit, _I) for qubit in range(qubits)])
    return idle + acting


def dense(config: CircuitConfig, theta: Tensor) -> Tensor:
    """U as a product of dense Kronecker products, gate by gate."""
    unitary = torch.eye(2**config.qubits, dtype=torch.complex128)
    for layer in range(config.depth):
        turned = range(0, config.qubits, 2**layer if config.family == "tree" else 1)
        for qubit in turned:
            axes = "zyz" if config.family == "strong" else "yz"
            for axis, angle in zip(axes, theta[layer, qubit], strict=True):
                gates = [rotation(axis, angle) if other == qubit else _I for other in range(config.qubits)]
                unitary = kron(gates) @ unitary
        entangling = torch.diag(torch.tensor([1, -1])).to(_X) if config.family == "cz-ring" else _X
        for control, target in entangled_pairs(config, layer):
            unitary = controlled(control, target, entangling, config.qubits) @ unitary
    return unitary


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("qubits", [2, 3, 4, 5])
def test_every_family_equals_dense_kronecker_products(family: str, qubits: int) -> None:
    config = CircuitConfig(qubits=qubits, family=family, layers=None if family == "tree" else 4)
    circuit, theta = Circuit(config), theta_of(config)
    unitary = circuit.unitary(theta)
    torch.testing.assert_close(unitary, dense(config, theta), atol=1e-11, rtol=0)
    torch.testing.assert_close(unitary.mH @ unitary, torch.eye(2**qubits, dtype=torch.complex128))
    batch = states(3, qubits)
    torch.testing.assert_close(circuit.output_states(batch, theta), batch @ unitary.mT)


def test_the_entanglers_are_what_they_are_called() -> None:
    def pairs(family: str, layer: int, qubits: int = 4) -> list[tuple[int, int]]:
        return entangled_pairs(CircuitConfig(qubits=qubits, family=family), layer)

    assert pairs("ring", 0) == pairs("cz-ring", 3) == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert pairs("strong", 1) == [(0, 2), (1, 3), (2, 0), (3, 1)]
    assert pairs("brick-wall", 0) == [(0, 1), (2, 3)]
    assert pairs("brick-wall", 1) == [(1, 2)]
    assert pairs("tree", 0, qubits=5) == [(1, 0), (3, 2)]
    assert pairs("tree", 1, qubits=5) == [(2, 0)]
    assert pairs("tree", 2, qubits=5) == [(4, 0)]


def test_one_layer_at_zero_angles_has_a_closed_form() -> None:
    # CNOT(0, 1) then CNOT(1, 0) on cos|0> + sin|1> each: qubit 0 ends as x_0 + (x_0 + x_1) = x_1.
    config = CircuitConfig(qubits=2, layers=1)
    angles = torch.tensor([[0.3, 1.1], [2.0, 0.4]], dtype=torch.float64)
    outputs = Circuit(config).output_states(angle_states(angles), torch.zeros(1, 2, 2, dtype=torch.float64))
    torch.testing.assert_close(expectation_z(outputs, 0), torch.cos(angles[:, 1]))


def test_angle_states_are_products() -> None:
    a, b = 0.7, 2.1
    (state,) = angle_states(torch.tensor([[a, b]], dtype=torch.float64))
    expected = [cos(a / 2) * cos(b / 2), cos(a / 2) * sin(b / 2), sin(a / 2) * cos(b / 2), sin(a / 2) * sin(b / 2)]
    torch.testing.assert_close(state, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("family", FAMILIES)
def test_autograd_equals_the_parameter_shift_rule(family: str) -> None:
    config = CircuitConfig(qubits=3, family=family, layers=None if family == "tree" else 2)
    circuit, batch = Circuit(config), states(4, 3)
    theta = theta_of(config).requires_grad_()

    def value(angles: Tensor) -> Tensor:
        return expectation_z(circuit.output_states(batch, angles), 1).sum()

    (gradient,) = torch.autograd.grad(value(theta), theta)
    with torch.no_grad():
        for place in range(theta.numel()):
            shift = torch.zeros(theta.numel(), dtype=torch.float64)
            shift[place] = pi / 2
            up, down = (value(theta + sign * shift.view_as(theta)) for sign in (1, -1))
            assert abs(float(gradient.flatten()[place] - (up - down) / 2)) < 1e-10


def test_reuploading_encodes_before_every_layer() -> None:
    config = CircuitConfig(qubits=3, layers=2, reupload=True)
    theta, angles = theta_of(config), torch.tensor([[0.2, 1.0, 2.5], [1.7, 0.1, 0.9]], dtype=torch.float64)
    outputs = Circuit(config).output_states(angles, theta)
    for sample, output in zip(angles, outputs, strict=True):
        state = torch.zeros(8, dtype=torch.complex128)
        state[0] = 1
        for layer in range(2):
            state = kron([rotation("y", angle) for angle in sample]) @ state
            state = dense(CircuitConfig(qubits=3, layers=1), theta[layer : layer + 1]) @ state
        torch.testing.assert_close(output, state)


def test_reuploading_circuits_have_no_one_unitary() -> None:
    config = CircuitConfig(reupload=True)
    with pytest.raises(InputError, match=r"re-uploading.*another unitary for every sample[\s\S]*holevo"):
        Circuit(config).unitary(theta_of(config))


def test_single_precision_is_close() -> None:
    config = CircuitConfig(qubits=5, precision="single")
    theta, batch = theta_of(config), states(2, 5)
    outputs = Circuit(config).output_states(batch, theta.float())
    assert outputs.dtype is torch.complex64
    torch.testing.assert_close(
        outputs.to(torch.complex128), Circuit(CircuitConfig(qubits=5)).output_states(batch, theta), atol=1e-5, rtol=0
    )


def test_classes_are_outcomes_of_the_measured_qubits_in_their_order() -> None:
    basis = torch.zeros(1, 8, dtype=torch.complex128)
    basis[0, 0b110] = 1
    assert class_probabilities(basis, (2, 0), 4).argmax() == 0b01
    assert class_probabilities(basis, (0, 2), 3).argmax() == 0b10
    assert class_probabilities(basis, (0,), 2).tolist() == [[0, 1]]
    assert expectation_z(basis, 2).tolist() == [1]


# Bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"measured": ()}, "measured is .*at least one qubit"),
        ({"measured": (0, 1, 2, 3)}, "measured is .*with all measured none is discarded"),
        ({"measured": (1, 1)}, "measured is .*different qubits"),
        ({"measured": (4,)}, "measured is .*qubits from 0 to 3"),
        ({"measured": (-1,)}, "measured is .*qubits from 0 to 3"),
        ({"qubits": 13}, "qubits is 13.*at most 12.*allow_large"),
        ({"qubits": 1}, "qubits is 1.*at least 2"),
        ({"layers": 0}, "layers is 0.*at least 1"),
        ({"family": "tree", "layers": 5}, "layers is 5.*2, which a tree over 4 qubits has"),
        ({"reupload": True, "encoding": "amplitude"}, "encoding is 'amplitude'.*'angle' for re-uploading"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CircuitConfig(**settings)  # type: ignore[arg-type]


def test_more_qubits_with_the_override() -> None:
    assert CircuitConfig(qubits=13, allow_large=True).qubits == 13


@pytest.mark.parametrize("settings", [{"family": "rings"}, {"encoding": "angles"}, {"precision": "half"}])
def test_unknown_names_are_named(settings: dict[str, str]) -> None:
    with pytest.raises(UnknownNameError, match=rf"unknown .*{next(iter(settings.values()))}"):
        CircuitConfig(**settings)  # type: ignore[arg-type]


def test_theta_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"theta has the shape \(2, 4, 2\), but the circuit has \(6, 4, 2\)"):
        Circuit(CircuitConfig()).unitary(torch.zeros(2, 4, 2, dtype=torch.float64))


def test_states_of_another_size_are_refused() -> None:
    config = CircuitConfig()
    with pytest.raises(InputError, match=r"shape \(1, 8\), but the circuit takes \(samples, 16\)"):
        Circuit(config).output_states(states(1, 3), theta_of(config))


def test_too_few_outcomes_for_the_classes() -> None:
    with pytest.raises(ConfigError, match=r"measured is .*at least 2 qubits, to tell 3 classes apart"):
        class_probabilities(states(1, 3), (0,), 3)
