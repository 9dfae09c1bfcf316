"""Identities of the three quantities, and the reference cases."""

import json
from math import log2
from pathlib import Path

import pytest
import torch
from torch import Tensor

from intarsia.errors import ConfigError, InputError, UnknownNameError
from intarsia.quantum.qnn import (
    Circuit,
    CircuitConfig,
    analyse,
    bootstrap_information,
    choi_information,
    choi_measured_information,
    data_information,
    fano_accuracy_bound,
    holevo_information,
    input_root,
)
from intarsia.quantum.qnn.readout import class_probabilities
from intarsia.quantum.qnn.subsystems import entropy, kept_first, part_entropy, reduced_states

CASES = Path(__file__).parents[4] / "shared" / "data" / "unitary-mi-reference" / "cases.jsonl"


def haar(qubits: int, seed: int = 0, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 2**qubits, 2**qubits, generator=generator, dtype=torch.complex128)
    q, r = torch.linalg.qr(drawn)
    phases = torch.diagonal(r, dim1=-2, dim2=-1)
    return q * (phases / phases.abs())[:, None, :]


def haar_states(count: int, qubits: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 2**qubits, generator=generator, dtype=torch.complex128)
    return drawn / drawn.norm(dim=1, keepdim=True)


def swap(one: int, other: int, qubits: int) -> Tensor:
    axes = list(range(qubits))
    axes[one], axes[other] = other, one
    identity = torch.eye(2**qubits, dtype=torch.complex128)
    return identity.reshape(*[2] * qubits, -1).permute(*axes, qubits).reshape(2**qubits, -1)


@pytest.mark.parametrize("measured", [(0,), (2,), (1, 3)])
def test_the_identity_keeps_everything_in_place(measured: tuple[int, ...]) -> None:
    found = choi_information(torch.eye(16, dtype=torch.complex128), measured)
    assert found == pytest.approx((0, 2 * len(measured), 2 * len(measured)), abs=1e-12)


def test_swapping_brings_everything_from_outside() -> None:
    assert choi_information(swap(0, 2, 4), (0,)) == pytest.approx((2, 0, 2), abs=1e-12)
    assert choi_information(swap(0, 2, 4) @ swap(1, 3, 4), (0, 1)) == pytest.approx((4, 0, 4), abs=1e-12)


def test_rows_are_outputs_and_columns_inputs() -> None:
    # A cyclic shift of three qubits is not symmetric: the output of qubit 0 is the input of qubit 1.
    shift = swap(0, 1, 3) @ swap(0, 2, 3)
    basis = torch.zeros(8, dtype=torch.complex128)
    basis[0b010] = 1
    source = 1 if (shift @ basis)[0b100] == 1 else 2
    root = input_root(torch.stack([torch.eye(8)[0], torch.eye(8)[0b100 >> source]]))
    found = data_information(shift, root, (0,))[0]
    assert found.di_mo == pytest.approx(2, abs=1e-9)
    root = input_root(torch.stack([torch.eye(8)[0], torch.eye(8)[0b100]]))
    assert data_information(shift, root, (0,))[0] == pytest.approx((0, 0, 0), abs=1e-9)


def test_zero_angles_are_a_clifford_and_give_whole_bits() -> None:
    for layers, expected in enumerate([1, 0, 1, 1, 1, 2], start=1):
        circuit = Circuit(CircuitConfig(layers=layers))
        found = choi_information(circuit.unitary(torch.zeros(layers, 4, 2, dtype=torch.float64)), (0,))
        assert found[:2] == pytest.approx((expected, 0), abs=1e-12)


@pytest.mark.parametrize(("qubits", "measured"), [(2, (1,)), (3, (0,)), (4, (0, 2)), (5, (1,))])
def test_totals_monogamy_and_bounds(qubits: int, measured: tuple[int, ...]) -> None:
    size = len(measured)
    for unitary in haar(qubits, seed=1, count=3):
        found = choi_information(unitary, measured)
        assert found.total == 2 * size
        assert found.di_mo + found.mi_mo <= 2 * size + 1e-12
        assert -1e-12 <= found.di_mo <= 2 * min(size, qubits - size)
        assert -1e-12 <= found.mi_mo <= 2 * size
        assert choi_measured_information(unitary, measured) == pytest.approx(found.mi_mo, abs=1e-12)


def test_monogamy_is_tight_exactly_where_the_parts_are_independent_given_the_output() -> None:
    def conditional(unitary: Tensor) -> float:
        amplitudes = (unitary / 4).reshape(1, -1)  # axes 0-3 outputs, 4 is R_M, 5-7 are R_D; M = {0}
        parts = [(0, 5, 6, 7), (0, 4), (0,), (0, 4, 5, 6, 7)]
        d_mo, m_mo, mo, whole = (float(part_entropy(amplitudes, axes)) for axes in parts)
        return d_mo + m_mo - mo - whole

    for unitary in (swap(0, 2, 4), haar(4, seed=3)[0]):
        found = choi_information(unitary, (0,))
        assert 2 - found.di_mo - found.mi_mo == pytest.approx(conditional(unitary), abs=1e-11)
    assert conditional(swap(0, 2, 4)) == pytest.approx(0, abs=1e-11)
    assert conditional(haar(4, seed=3)[0]) > 0.1


def test_local_unitaries_change_nothing() -> None:
    unitary = haar(3, seed=2)[0]
    local = torch.kron(haar(1, seed=3)[0], haar(2, seed=4)[0])
    expected = choi_information(unitary, (0,))
    assert choi_information(local @ unitary, (0,)) == pytest.approx(expected, abs=1e-11)
    assert choi_information(unitary @ local, (0,)) == pytest.approx(expected, abs=1e-11)


def mean_purity(input_part: int, qubits: int) -> float:
    """Of an input part of that dimension with one measured qubit, over Haar unitaries."""
    d = 2**qubits
    d_a, d_b, d_c, d_d = input_part, d // input_part, 2, d // 2
    return (d_a * d_c + d_b * d_d - (d_a * d_d + d_b * d_c) / d) / (d**2 - 1)


@pytest.mark.parametrize(("qubits", "count"), [(2, 2000), (3, 1500), (4, 500)])
def test_mean_purities_of_haar_unitaries(qubits: int, count: int) -> None:
    amplitudes = (haar(qubits, seed=5, count=count) / 2 ** (qubits / 2)).reshape(count, -1)
    for input_axes in (tuple(range(qubits + 1, 2 * qubits)), (qubits,)):
        local = reduced_states(amplitudes, (0, *input_axes))
        purities = (local.abs() ** 2).sum(dim=(1, 2))
        error = float(purities.std() / count**0.5)
        assert abs(float(purities.mean()) - mean_purity(2 ** len(input_axes), qubits)) < 4 * error
        assert error < 0.01


def test_mean_purities_in_numbers() -> None:
    assert (mean_purity(8, 4), mean_purity(2, 4)) == pytest.approx((0.1088, 0.2588), abs=5e-5)


def test_complementary_parts_have_the_same_entropy() -> None:
    amplitudes = (haar(3, seed=6)[0] / 8**0.5).reshape(1, -1)
    assert float(part_entropy(amplitudes, (0, 3, 4))) == pytest.approx(float(part_entropy(amplitudes, (1, 2, 5))))
    assert float(part_entropy(amplitudes, (0, 1, 3, 4))) == pytest.approx(float(part_entropy(amplitudes, (2, 5))))


def test_depolarising_the_output_never_raises_information() -> None:
    amplitudes = (haar(3, seed=7)[0] / 8**0.5).reshape(1, -1)
    (joint,) = reduced_states(amplitudes, (0, 4, 5))  # M_o, R_D
    outside = torch.einsum("abac->bc", joint.reshape(2, 4, 2, 4))
    values = []
    for strength in (0.0, 0.2, 0.5, 1.0):
        mixed = (1 - strength) * joint + strength * torch.kron(torch.eye(2) / 2, outside)
        output = torch.einsum("abcb->ac", mixed.reshape(2, 4, 2, 4))
        values.append(float(entropy(output) + entropy(outside) - entropy(mixed)))
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(choi_information(haar(3, seed=7)[0], (0,)).di_mo)
    assert values[-1] == pytest.approx(0, abs=1e-12)


# The definition data


def test_data_over_a_basis_is_choi() -> None:
    unitary = haar(3, seed=8)[0]
    (found,) = data_information(unitary, input_root(haar(3, seed=9)[0]), (1,))
    assert found == pytest.approx(choi_information(unitary, (1,)), abs=1e-11)


def test_data_over_many_random_states_tends_to_choi() -> None:
    unitary = haar(2, seed=8)[0]
    choi = choi_information(unitary, (0,))

    def error(samples: int) -> float:
        (found,) = data_information(unitary, input_root(haar_states(samples, 2)), (0,))
        return max(abs(a - b) for a, b in zip(found, choi, strict=True))

    few, many = error(5), error(20_000)
    assert many < 0.01 < few


def test_a_pure_input_shares_nothing() -> None:
    (found,) = data_information(haar(3)[0], input_root(haar_states(1, 3)), (0,))
    assert found == pytest.approx((0, 0, 0), abs=1e-6)


def test_data_total_is_fixed_by_three_entropies() -> None:
    unitary, inputs = haar(3, seed=1)[0], haar_states(5, 3)
    (found,) = data_information(unitary, input_root(inputs), (0,))
    rho = torch.einsum("si,sj->ij", inputs, inputs.conj()) / 5
    after = unitary @ rho @ unitary.mH
    output = torch.einsum("abcb->ac", after.reshape(2, 4, 2, 4))
    discarded = torch.einsum("abac->bc", after.reshape(2, 4, 2, 4))
    assert found.total == pytest.approx(float(entropy(rho) + entropy(output) - entropy(discarded)), abs=1e-9)


def test_several_inputs_at_once_are_each_alone() -> None:
    unitary, inputs = haar(2)[0], haar_states(6, 2)
    weights = torch.tensor([[1, 1, 0, 0, 2, 2], [1, 1, 1, 1, 1, 1]], dtype=torch.float64) / 6
    both = data_information(unitary, input_root(inputs, weights), (0,))
    assert both[1] == pytest.approx(data_information(unitary, input_root(inputs), (0,))[0])
    doubled = inputs[[0, 1, 4, 4, 5, 5]]
    assert both[0] == pytest.approx(data_information(unitary, input_root(doubled), (0,))[0], abs=1e-7)


def test_the_bootstrap_brackets_and_pairs() -> None:
    unitary, inputs = haar(2, seed=3)[0], haar_states(40, 2)
    found = bootstrap_information(unitary, inputs, (0,), resamples=100)
    (value,) = data_information(unitary, input_root(inputs), (0,))
    assert found.samples == 40
    assert found.di_mo.low < value.di_mo + 0.05
    assert found.di_mo.low < found.di_mo.high < 2
    unchanged = bootstrap_information(unitary, inputs, (0,), before=unitary, resamples=20)
    assert unchanged.di_mo == unchanged.mi_mo == (0, 0)
    with pytest.raises(ConfigError, match="resamples is 1"):
        bootstrap_information(unitary, inputs, (0,), resamples=1)


# Holevo


@pytest.mark.parametrize("classes", [2, 3])
def test_holevo_is_ordered_and_bounds_accuracy(classes: int) -> None:
    labels = torch.arange(30) % classes
    shares = torch.bincount(labels).double() / 30
    for seed in range(5):
        outputs = haar_states(30, 3, seed)
        found = holevo_information(outputs, labels, (0, 1))
        assert 0 <= found.labels <= found.inputs <= 2
        assert found.labels <= float(-(shares * shares.log2()).sum())
        single_shot = class_probabilities(outputs, (0, 1), classes).gather(1, labels[:, None]).mean()
        assert float(single_shot) <= fano_accuracy_bound(found.labels, shares) + 1e-9


def test_holevo_of_known_ensembles() -> None:
    basis = torch.eye(4, dtype=torch.complex128)
    told = holevo_information(basis, torch.tensor([0, 0, 1, 1]), (0,))
    assert told == pytest.approx((1, 1), abs=1e-12)
    hidden = holevo_information(basis, torch.tensor([0, 1, 0, 1]), (0,))
    assert hidden == pytest.approx((0, 1), abs=1e-12)


def test_fano_at_its_ends() -> None:
    even = torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert fano_accuracy_bound(1.0, even) == pytest.approx(1)
    assert fano_accuracy_bound(0.0, even) == pytest.approx(0.5, abs=1e-6)
    assert fano_accuracy_bound(0.0, torch.full((4,), 0.25, dtype=torch.float64)) == pytest.approx(0.25, abs=1e-6)
    bound = fano_accuracy_bound(0.3, even)
    assert -bound * log2(bound) - (1 - bound) * log2(1 - bound) == pytest.approx(0.7)


# A circuit of one's own, reference cases, bad input


def test_unitaries_of_ones_own_are_analysed() -> None:
    inputs, labels = haar_states(6, 2), [0, 1] * 3
    unitaries = [*haar(2, count=2)]
    records = analyse(unitaries, (1,), states=inputs, labels=labels)
    assert [record["epoch"] for record in records] == [0, 1]
    for unitary, record in zip(unitaries, records, strict=True):
        assert (record["choi_di_mo"], record["choi_mi_mo"]) == choi_information(unitary, (1,))[:2]
        chi = holevo_information(inputs @ unitary.mT, torch.tensor(labels), (1,))
        assert (record["chi_labels"], record["chi_inputs"]) == pytest.approx(chi)
    assert set(analyse(unitaries, (1,))[0]) == {"epoch", "choi_di_mo", "choi_mi_mo"}
    with pytest.raises(InputError, match="definition 'data' needs states"):
        analyse(unitaries, (1,), definitions=["data"])
    with pytest.raises(InputError, match="definition 'holevo' needs states and labels"):
        analyse(unitaries, (1,), labels=labels, definitions=["holevo"])
    with pytest.raises(UnknownNameError, match="unknown definition of information 'binned'"):
        analyse(unitaries, (1,), definitions=["binned"])


@pytest.mark.skipif(not CASES.exists(), reason="the reference cases (../shared) are not at hand")
def test_reference_cases() -> None:
    cases = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    assert len(cases) == 12
    for case in cases:
        unitary = torch.complex(*(torch.tensor(case[part], dtype=torch.float64) for part in ("U_re", "U_im")))
        found = choi_information(unitary, tuple(case["measured"]))
        assert found[:2] == pytest.approx((case["I_Di_Mo_bits"], case["I_Mi_Mo_bits"]), abs=1e-8)


@pytest.mark.parametrize("of", [choi_information, choi_measured_information])
def test_what_is_not_unitary_is_refused(of: object) -> None:
    assert callable(of)
    nearly = torch.eye(4, dtype=torch.complex128)
    nearly[0, 0] += 1e-7
    with pytest.raises(InputError, match=r"not unitary: an entry of U\^dagger U - 1 is 2e-07"):
        of(nearly, (0,))
    with pytest.raises(InputError, match="2 x 3"):
        of(torch.zeros(2, 3), (0,))
    with pytest.raises(InputError, match="not unitary"):
        of(torch.full((4, 4), float("nan"), dtype=torch.complex128), (0,))
    with pytest.raises(ConfigError, match="measured is"):
        of(torch.eye(4, dtype=torch.complex128), (0, 1))


def test_kept_qubits_come_in_the_order_given() -> None:
    state = torch.zeros(1, 8)
    state[0, 0b011] = 1
    assert kept_first(state, (2, 0))[0].nonzero().tolist() == [[0b10, 1]]
