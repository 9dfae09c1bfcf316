"""Feasible intervals, their certificates, and the bound for all states."""

import builtins

import numpy as np
import pytest

from intarsia.errors import InputError, MissingExtraError
from intarsia.quantum import paulis, states
from intarsia.quantum.posterior import (
    ChainConfig,
    InfeasibleError,
    feasible_interval,
    posterior_chain,
    theta_bound,
    verify_certificate,
    verify_infeasibility,
)
from intarsia.quantum.posterior.structure import GeneratedGroup

pytest.importorskip("clarabel", reason="the extra 'quantum' is not installed")
pytest.importorskip("scs", reason="the extra 'quantum' is not installed")


def values_of(n, seed, eps=1e-3, family="haar"):
    psi = states.draw_state(family, n, np.random.default_rng(seed))
    return paulis.expectations_of(states.depolarise(states.density_matrix(psi), eps))


def part(values, count):
    return dict(list(values.items())[:count])


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.3), (-0.9, 0.2), (0.7, 0.7), (0.0, 0.0)])
def test_the_third_member_of_a_commuting_line(a, b):
    found = feasible_interval({"ZI": a, "IZ": b}, "ZZ")
    assert found.solved
    assert (found.lower, found.upper) == pytest.approx((abs(a + b) - 1, 1 - abs(a - b)), abs=1e-6)


def test_nothing_known_leaves_everything_open():
    found = feasible_interval({}, "XY")
    assert (found.lower, found.upper, found.solved) == (-1, 1, True)


@pytest.mark.parametrize(("n", "count"), [(2, 4), (2, 10), (3, 20), (3, 50)])
def test_certificates_prove_what_is_attained_and_truth_lies_between(n, count):
    values = values_of(n, seed=count)
    known, target = part(values, count), list(values)[count]
    found = feasible_interval(known, target)
    assert found.solved
    upper = verify_certificate(known, target, found.certificate.upper)
    lower = -verify_certificate(known, target, found.certificate.lower, mirrored=True)
    assert (lower, upper) == pytest.approx((found.lower, found.upper), abs=1e-12)
    assert found.attained_upper <= upper + 1e-6
    assert found.attained_lower >= lower - 1e-6
    assert lower <= values[target] <= upper
    # Any weights bound; worse ones bound worse.
    spoilt = {label: weight + 0.05 for label, weight in found.certificate.upper.items()}
    assert verify_certificate(known, target, spoilt) > upper


def test_two_solvers_agree():
    values = values_of(2, seed=1)
    known, target = part(values, 7), list(values)[7]
    one, other = (feasible_interval(known, target, solver=solver) for solver in ("clarabel", "scs"))
    assert one.solved
    assert other.solved
    assert (one.lower, one.upper) == pytest.approx((other.lower, other.upper), abs=5e-6)
    assert all(attempt.startswith("scs") for attempt in other.attempts)


def test_intervals_shrink_as_more_is_known():
    values = values_of(2, seed=2)
    target = "ZZ"
    known, width, last = {}, [], (-1.0, 1.0)
    for label in list(values)[:14]:
        known[label] = values[label]
        found = feasible_interval(known, target)
        assert last[0] - 1e-6 <= found.lower <= values[target] <= found.upper <= last[1] + 1e-6
        last = (found.lower, found.upper)
        width.append(last[1] - last[0])
    assert width[-1] < 0.1 * width[0]


@pytest.mark.parametrize("family", ["haar", "stabilizer", "product"])
def test_structure_does_not_change_the_answer(family):
    values = values_of(2, seed=3, family=family)
    for count in (3, 8, 12):
        known, target = part(values, count), list(values)[count]
        one, other = (feasible_interval(known, target, structure=structure) for structure in (True, False))
        assert (one.lower, one.upper) == pytest.approx((other.lower, other.upper), abs=2e-5)


def test_real_states_use_real_matrices_and_the_mirror():
    psi = np.random.default_rng(4).standard_normal(4)
    values = paulis.expectations_of(states.depolarise(np.outer(psi, psi) / (psi @ psi), 1e-2))
    known = {label: values[label] for label in ("XX", "IZ", "XZ", "YY", "XI", "ZX")}
    odd = feasible_interval(known, "XY")
    assert odd.lower == pytest.approx(-odd.upper, abs=1e-12)
    assert len(odd.attempts) == 1
    for target in ("XY", "ZI", "ZZ"):
        one, other = (feasible_interval(known, target, structure=structure) for structure in (True, False))
        assert (one.lower, one.upper) == pytest.approx((other.lower, other.upper), abs=2e-5)


def test_generated_groups():
    group = GeneratedGroup(2, map(int, paulis.places(["XI", "ZI"])))
    assert [int(place) in group for place in paulis.places(["YI", "IX", "XX"])] == [True, False, False]
    assert group.members().sum() == 4
    for place in paulis.places(["IX", "IZ"]):
        group.add(int(place))
    assert group.is_everything


# Faces


def test_a_value_at_its_endpoint_cuts_a_face_and_the_rest_is_still_proved():
    # |00>: after ZI = 1 every completion is |0><0| times a qubit; the last Z then determines all.
    chain = posterior_chain(
        np.array([1, 0, 0, 0]),
        ["ZI", "XX", "IZ", *[label for label in paulis.labels(2) if label not in ("ZI", "XX", "IZ")]],
        ChainConfig(estimator="interval", eps=0),
    )
    rows = {row.label: row for row in chain.components}
    assert rows["ZI"].status == rows["IZ"].status == "solved"
    assert rows["XX"].status == "solved"
    assert (rows["XX"].lower, rows["XX"].upper) == pytest.approx((0, 0), abs=1e-4)
    assert rows["XX"].prediction == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("family", ["haar", "real", "stabilizer"])
def test_an_exactly_pure_state_is_walked_face_by_face(family):
    psi = states.draw_state(family, 2, np.random.default_rng(0))
    pure, noisy = (posterior_chain(psi, "desc", ChainConfig(estimator="interval", eps=eps)) for eps in (0, 1e-5))
    assert pure.failed == noisy.failed == 0
    assert pure.total == pytest.approx(noisy.total, abs=1e-3)
    known = {}
    for row in pure.components:
        lower = -verify_certificate(known, row.label, row.certificate.lower, mirrored=True)
        upper = verify_certificate(known, row.label, row.certificate.upper)
        assert (max(lower, -1), min(upper, 1)) == pytest.approx((row.lower, row.upper), abs=1e-12)
        assert row.lower - 1e-9 <= row.value <= row.upper + 1e-9
        known[row.label] = row.value
    # The last components of a pure state follow from the others.
    assert pure.components[-1].upper - pure.components[-1].lower < 1e-4


def test_rows_that_cannot_be_proved_are_failed_and_leave_no_total():
    psi = states.product_state(2, np.random.default_rng(0))
    chain = posterior_chain(psi, "desc", ChainConfig(estimator="interval", eps=0))
    failed = [row for row in chain.components if row.status == "failed"]
    assert chain.failed == len(failed) > 0
    assert chain.total is None
    assert all(row.prediction is None and row.information is None for row in failed)
    # What is printed for them is still true.
    assert all(row.lower - 1e-9 <= row.value <= row.upper + 1e-9 for row in chain.components)


# Bounds for all states


@pytest.mark.parametrize("n", [1, 2, 3])
def test_theta_of_all_strings_and_of_the_local_ones(n):
    everything = theta_bound(paulis.labels(n))
    assert everything.value == pytest.approx(2**n - 1, abs=1e-4)
    local = theta_bound([label for label in paulis.labels(n) if paulis.weight(label) == 1])
    assert local.value == pytest.approx(n, abs=1e-4)
    for found in (everything, local):
        assert found.value >= found.attained - 1e-4
        count = len(found.certificate)
        eigenvalues = np.linalg.eigvalsh(np.ones((count, count)) - found.certificate)
        assert eigenvalues[-1] == pytest.approx(found.value, abs=1e-9)


def test_an_anticommuting_set_has_theta_one():
    strings = ["XI", "ZI", "YX", "YZ", "YY"]
    assert theta_bound(strings).value == pytest.approx(1, abs=1e-6)
    for seed in range(20):
        values = values_of(2, seed, eps=0)
        assert sum(values[label] ** 2 for label in strings) <= 1 + 1e-12


# Bad input


def test_impossible_values_are_refused_with_a_proof():
    with pytest.raises(InfeasibleError, match="no state has the known values") as caught:
        feasible_interval({"XI": 0.9, "ZI": 0.9}, "YI")
    assert verify_infeasibility({"XI": 0.9, "ZI": 0.9}, caught.value.certificate) < -0.1
    assert "XI: " in str(caught.value)


@pytest.mark.parametrize(
    ("known", "target", "message"),
    [
        ({"XI": 1.2}, "ZI", r"known value of XI is 1.2.*\[-1, 1\]"),
        ({"XI": 0.2}, "XI", "XI is asked for"),
        ({"XI": 0.2}, "Z", "letters"),
        ({"XB": 0.2}, "ZI", "unknown letter 'B'"),
        ({"XI": 0.2}, "II", "identity"),
    ],
)
def test_wrong_known_values_are_refused(known, target, message):
    with pytest.raises(InputError, match=message):
        feasible_interval(known, target)


def test_wrong_weights_are_refused():
    with pytest.raises(InputError, match="2 weights, but they must be of the 1 known"):
        verify_certificate({"XI": 0.2}, "ZI", [1, 2])
    with pytest.raises(InputError, match="weights"):
        verify_certificate({"XI": 0.2}, "ZI", {"YI": 1})


def test_wrong_sets_are_refused():
    with pytest.raises(InputError, match="twice"):
        theta_bound(["XI", "XI"])
    with pytest.raises(InputError, match="at most 256"):
        theta_bound(paulis.labels(5))


@pytest.mark.parametrize("solver", ["clarabel", "scs"])
def test_a_missing_solver_names_the_extra(solver, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == solver:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=rf"{solver} is not installed(?s:.*)intarsia\[quantum\]"):
        feasible_interval({"XI": 0.2}, "ZI", solver=solver)
    assert verify_certificate({"XI": 0.2}, "ZI", [0.0]) == pytest.approx(1)
