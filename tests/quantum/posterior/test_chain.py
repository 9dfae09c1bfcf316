"""Chains: reference cases, closed forms, theorems T1 to T4 as identities, failures and bad input."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from intarsia.errors import ConfigError, InputError, UnknownNameError
from intarsia.quantum import paulis, states
from intarsia.quantum.posterior import (
    ChainConfig,
    MixedStateWarning,
    NumericalWarning,
    chain,
    extrapolate,
    information,
    information_bounds,
    least_norm_state,
    maximum_entropy_state,
    posterior_chain,
)
from intarsia.quantum.posterior.spectral import Completion

_DATA = Path(os.environ.get("INTARSIA_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
_CASES = _DATA / "posterior-info-reference" / "cases.jsonl"
CASES = [json.loads(line) for line in _CASES.read_text().splitlines()] if _CASES.is_file() else []
WALK_ALL = {"stop_below": 0.0}


def haar(n, seed):
    return states.haar_state(n, np.random.default_rng(seed))


def name_of(case):
    return f"{case['n']}-{case['family']}-{case['order_kind']}"


def first(*strings):
    return [*strings, *(label for label in paulis.labels(len(strings[0])) if label not in strings)]


# Reference cases


@pytest.mark.skipif(not CASES, reason=f"{_CASES} is absent")
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_maximum_entropy_chains_are_those_of_the_reference(case):
    psi = np.array(case["psi_re"]) + 1j * np.array(case["psi_im"])
    found = posterior_chain(psi / np.linalg.norm(psi), case["order"], ChainConfig(eps=case["eps"], **WALK_ALL))
    assert [row.value for row in found.components] == pytest.approx(case["r"], abs=1e-9)
    assert [row.prediction for row in found.components] == pytest.approx(case["maxent_m"], abs=1e-6)
    for divergence, total in (("sq", "sum_sq"), ("chi2", "sum_chi2"), ("kl", "sum_kl_bits")):
        assert found.total_by(divergence) == pytest.approx(case[f"maxent_{total}"], abs=2e-6)
    # The reference leaves out steps that told nothing.
    told = [row for row in found.components if abs(row.value - row.prediction) > 1e-9]
    ladder = [float(found.n), *(row.entropy for row in told)]
    assert ladder == pytest.approx(case["entropy_ladder_bits"], abs=2e-5)


@pytest.mark.skipif(not CASES, reason=f"{_CASES} is absent")
@pytest.mark.parametrize("case", [case for case in CASES if case["n"] == 2], ids=name_of)
def test_intervals_are_those_of_the_reference(case):
    pytest.importorskip("clarabel", reason="the extra 'quantum' is not installed")
    psi = np.array(case["psi_re"]) + 1j * np.array(case["psi_im"])
    config = ChainConfig(estimator="interval", eps=case["eps"])
    found = posterior_chain(psi / np.linalg.norm(psi), case["order"], config)
    assert found.failed == 0
    assert [row.lower for row in found.components] == pytest.approx(case["interval_lo"], abs=6e-5)
    assert [row.upper for row in found.components] == pytest.approx(case["interval_hi"], abs=6e-5)
    assert found.total == pytest.approx(case["interval_sum_sq"], abs=2e-4)


# Closed forms


@pytest.mark.parametrize("order", ["desc", "asc", "weight", "random"])
@pytest.mark.parametrize("estimator", ["maxent", "interval", "least-norm"])
def test_a_pure_qubit_has_one(order, estimator):
    if estimator == "interval":
        pytest.importorskip("clarabel", reason="the extra 'quantum' is not installed")
    found = posterior_chain(haar(1, 3), order, ChainConfig(estimator=estimator, eps=1e-5, **WALK_ALL))
    assert found.total == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("t", [0.2, 0.5])
def test_two_qubits_of_schmidt_form(t):
    c, s = np.cos(2 * t), np.sin(2 * t)
    state, config = states.ghz_state(2, angle=t), ChainConfig(eps=1e-4)
    assert posterior_chain(state, first("ZZ", "ZI", "IZ", "XX", "YY"), config).total == pytest.approx(2, abs=5e-4)
    found = posterior_chain(state, first("ZI", "IZ", "ZZ", "XX", "YY"), config).total
    assert found == pytest.approx(2 - s**2 + s**4, abs=5e-4)
    found = posterior_chain(state, first("XX", "YY", "ZZ", "ZI", "IZ"), config).total
    assert found == pytest.approx(2 - c**2 + c**4, abs=5e-4)


def test_the_interval_estimator_on_schmidt_form():
    pytest.importorskip("clarabel", reason="the extra 'quantum' is not installed")
    c = np.cos(0.4)
    config = ChainConfig(estimator="interval", eps=1e-4)
    found = posterior_chain(states.ghz_state(2, angle=0.2), first("ZI", "IZ", "ZZ", "XX", "YY"), config)
    rows = {row.label: row for row in found.components}
    assert rows["ZZ"].prediction == pytest.approx(c, abs=1e-3)
    assert found.total == pytest.approx(2 - 2 * c + 2 * c**2, abs=1e-3)


def test_least_norm_exceeds_two():
    t = np.arccos(0.4) / 2
    config = ChainConfig(estimator="least-norm", eps=1e-4)
    found = posterior_chain(states.ghz_state(2, angle=t), first("ZI", "IZ", "ZZ", "XX", "YY"), config)
    assert {row.label: row for row in found.components}["ZZ"].prediction == pytest.approx(0, abs=1e-3)
    assert found.total == pytest.approx(2 + 0.4**2, abs=1e-3)


@pytest.mark.parametrize("order", ["desc", "weight", "random", "asc"])
@pytest.mark.parametrize("n", [2, 3])
def test_stabilizer_states_have_n_ones(order, n):
    psi = states.stabilizer_state(n, np.random.default_rng(n))
    found = posterior_chain(psi, order, ChainConfig(eps=1e-5, **WALK_ALL))
    told = [row.information for row in found.components]
    assert sorted(np.round(told, 3)) == [0] * (4**n - 1 - n) + [1] * n
    assert found.total_by("kl") == pytest.approx(n, abs=1e-3)


@pytest.mark.parametrize("n", [2, 3])
def test_product_states_have_n_when_single_qubits_come_first(n):
    psi = states.product_state(n, np.random.default_rng(n))
    assert posterior_chain(psi, "weight", ChainConfig(eps=1e-4)).total == pytest.approx(n, abs=2e-3)
    # Any order will do in which a qubit's own strings stand before those that contain them.
    walk = chain.order_components(paulis.expectations_of(psi), "random", seed=5)
    late = [label for label in walk if paulis.weight(label) > 1]
    for label in [label for label in walk if paulis.weight(label) == 1]:
        late.insert(next(i for i, other in enumerate(late) if _contains(other, label)), label)
    weights = [paulis.weight(label) for label in late]
    assert weights != sorted(weights)
    assert posterior_chain(psi, late, ChainConfig(eps=1e-4)).total == pytest.approx(n, abs=2e-3)


def _contains(label, single):
    return all(letter in ("I", other) for letter, other in zip(single, label, strict=True))


def test_two_commuting_values_predict_their_product():
    found = maximum_entropy_state({"ZI": 0.6, "IX": -0.5})
    assert found.converged
    zx = paulis.places(["ZX"])[0]
    assert found.expectations.reshape(-1)[zx] == pytest.approx(-0.3, abs=1e-9)


def test_what_is_determined_tells_nothing():
    state = np.array([1, 0, 0, 0])
    found = posterior_chain(state, first("ZI", "IZ", "ZZ"), ChainConfig(eps=1e-6, **WALK_ALL))
    assert all(row.information < 1e-9 for row in found.components[2:])


# Theorems


def log2_of(completion: Completion) -> np.ndarray:
    """log2 sigma, from the multipliers."""
    h = paulis.matrix_of(completion.multipliers)
    w = np.linalg.eigvalsh(h)
    return (h - np.eye(len(h)) * (w[-1] + np.log(np.exp(w - w[-1]).sum()))) / np.log(2)


def matrix(completion: Completion) -> np.ndarray:
    return paulis.matrix_of(completion.expectations) / len(completion.expectations)


@pytest.mark.parametrize("order", ["desc", "asc", "random", "weight"])
def test_t1_relative_entropies_telescope(order):
    rho = states.depolarise(states.density_matrix(haar(2, 5)), 1e-2)
    values = paulis.expectations_of(rho)
    walk = chain.order_components(values, order, seed=2)
    known, total, before = {}, 0.0, None
    for label in walk:
        known[label] = values[label]
        sigma = maximum_entropy_state(dict(known))
        assert sigma.converged
        earlier = np.eye(4) * -2 if before is None else log2_of(before)
        entropy = 2.0 if before is None else before.entropy
        divergence = float(np.trace(matrix(sigma) @ (log2_of(sigma) - earlier)).real)
        assert divergence == pytest.approx(entropy - sigma.entropy, abs=1e-6)
        total, before = total + divergence, sigma
    assert total == pytest.approx(2 - states.von_neumann_entropy(rho), abs=1e-6)
    assert matrix(before) == pytest.approx(rho, abs=1e-7)


@pytest.mark.parametrize("family", ["haar", "ghz", "w", "product", "stabilizer"])
@pytest.mark.parametrize("order", ["desc", "asc", "weight", "random"])
def test_t2_and_t3_hold_on_every_chain_and_step(family, order):
    psi = states.draw_state(family, 2, np.random.default_rng(11))
    found = posterior_chain(psi, order, ChainConfig(eps=2e-3, **WALK_ALL), seed=3)
    assert found.failed == 0
    assert found.total_by("kl") <= found.bounds.kl + 1e-7
    assert found.total <= found.bounds.sq
    before = 2.0
    for row in found.components:
        step = information("kl", row.value, row.prediction)
        assert step <= before - row.entropy + 1e-7
        assert row.information <= 2 * np.log(2) * step + 1e-12
        before = row.entropy


@pytest.mark.parametrize("order", ["desc", "asc", "weight", "random"])
def test_t4_purities_telescope_and_bound(order):
    rho = states.depolarise(states.density_matrix(haar(2, 6)), 1e-2)
    values = paulis.expectations_of(rho)
    renyi = -np.log2(np.trace(rho @ rho).real)
    known, ladder, bound, before = {}, 0.0, 0.0, np.eye(4) / 4
    for label in chain.order_components(values, order):
        known[label] = values[label]
        completion = least_norm_state(dict(known))
        assert completion.converged
        sigma = matrix(completion)
        change = sigma - before
        size = np.vdot(before, before).real
        assert np.vdot(before, change).real >= -1e-6
        ladder += np.log2(completion.purity / size)
        bound += np.log2(1 + np.vdot(change, change).real / size)
        before = sigma
    assert ladder == pytest.approx(2 - renyi, abs=1e-5)
    assert bound <= 2 - renyi + 1e-5


# Symmetry


def test_relabelled_qubits_give_the_same_total():
    psi = haar(2, 8)
    values = paulis.expectations_of(psi)
    walk = chain.order_components(values, "random", seed=1)
    swapped = psi.reshape(2, 2).T.reshape(-1)
    one = posterior_chain(psi, walk).total
    assert posterior_chain(swapped, [label[::-1] for label in walk]).total == pytest.approx(one, abs=1e-8)


_CLIFFORDS = {
    "Hadamard": np.kron(np.array([[1, 1], [1, -1]]) / np.sqrt(2), np.eye(2)),
    "phase": np.kron(np.diag([1, 1j]), np.eye(2)),
    "CNOT": np.eye(4)[[0, 1, 3, 2]],
}


@pytest.mark.parametrize("name", _CLIFFORDS)
@pytest.mark.parametrize("estimator", ["maxent", "interval"])
def test_clifford_conjugation_gives_the_same_total(name, estimator):
    if estimator == "interval":
        pytest.importorskip("clarabel", reason="the extra 'quantum' is not installed")
    gate, psi = _CLIFFORDS[name], haar(2, 9)
    walk = chain.order_components(paulis.expectations_of(psi), "random", seed=4)
    mapped, signs = [], []
    for label in walk:
        turned = gate @ paulis.pauli_matrix(label) @ gate.conj().T
        overlaps = {other: np.trace(turned @ paulis.pauli_matrix(other)).real / 4 for other in walk}
        mapped.append(max(overlaps, key=lambda other: abs(overlaps[other])))
        signs.append(overlaps[mapped[-1]])
    assert sorted(mapped) == sorted(walk)
    assert name == "Hadamard" or min(signs) == pytest.approx(-1)
    one, other = (
        posterior_chain(state, order, ChainConfig(estimator=estimator, eps=1e-2))
        for state, order in ((psi, walk), (gate @ psi, mapped))
    )
    assert other.total == pytest.approx(one.total, abs=1e-7 if estimator == "maxent" else 1e-5)
    assert [row.value for row in other.components] == pytest.approx(
        [sign * row.value for sign, row in zip(signs, one.components, strict=True)]
    )


@pytest.mark.parametrize("estimator", ["maxent", "least-norm"])
@pytest.mark.parametrize("order", ["desc", "random"])
@pytest.mark.parametrize("family", ["ghz-plain", "w-plain", "symmetric", "real", "stabilizer", "haar"])
def test_structure_does_not_change_the_chain(estimator, family, order):
    if family.endswith("plain"):
        psi = states.named_state(family.partition("-")[0], 2)
    else:
        psi = states.draw_state(family, 2, np.random.default_rng(2))
    one, other = (
        posterior_chain(psi, order, ChainConfig(estimator=estimator, eps=1e-2, structure=structure, **WALK_ALL))
        for structure in (True, False)
    )
    assert [row.prediction for row in one.components] == pytest.approx(
        [row.prediction for row in other.components], abs=1e-6
    )


# Early stop, extrapolation, failures


def test_an_early_stop_bounds_the_rest():
    psi = states.ghz_state(2)
    short, long = (posterior_chain(psi, "desc", ChainConfig(stop_below=stop)) for stop in (0.05, 0.0))
    skipped = [row for row in short.components if row.status == "skipped"]
    assert skipped
    assert all(row.prediction is None for row in skipped)
    assert long.remainder == 0
    assert short.total <= long.total <= short.total + short.remainder + 1e-9
    assert short.remainder <= 2 * np.log(2) * 0.05


def test_chi2_never_stops_early():
    found = posterior_chain(states.ghz_state(2), "desc", ChainConfig(divergence="chi2", stop_below=0.5))
    assert all(row.status == "solved" for row in found.components)


def test_extrapolation_removes_the_first_order_in_eps():
    chains = [posterior_chain(states.ghz_state(2), "desc", ChainConfig(eps=eps)) for eps in (2e-3, 1e-3)]
    assert extrapolate(*chains) == pytest.approx(2, abs=1e-5)
    assert abs(chains[1].total - 2) > 1e-3


def test_a_fit_that_fails_fails_the_rows_after_it_only(monkeypatch):
    real, calls = chain.complete, []

    def sometimes(functional, problem, start):
        calls.append(len(problem.known))
        found = real(functional, problem, start)
        if len(calls) == 3:
            return Completion(found.multipliers, found.expectations, found.spectrum, 1e-3, 200)
        return found

    monkeypatch.setattr(chain, "complete", sometimes)
    found = posterior_chain(haar(2, 1), "random")
    failed = [index for index, row in enumerate(found.components) if row.status == "failed"]
    assert failed == [calls[2]]
    assert found.total is None
    assert found.components[failed[0]].information is None
    assert all(row.cumulative is None for row in found.components[failed[0] :] if row.status != "skipped")


# Divergences and bounds


def test_divergences_of_a_bit():
    assert information("sq", 0.5, 0.2) == pytest.approx(0.09)
    assert information("chi2", 0.5, 0.2) == pytest.approx(0.09 / 0.96)
    assert information("kl", 1.0, 0.0) == pytest.approx(1)
    assert information("kl", 0.3, 0.3) == 0
    with pytest.raises(UnknownNameError, match="'kl'"):
        information("kll", 0.1, 0.2)


def test_chi2_warns_where_it_is_unstable():
    assert information("chi2", 1.0, 1.0) == 0
    with pytest.warns(NumericalWarning, match="unstable"):
        information("chi2", 0.9, 1.0)


def test_bounds_say_what_is_proved():
    found = information_bounds(3, entropy=0.5, eps=0.1)
    assert (found.kl, found.sq, found.conjecture) == pytest.approx((2.5, 2 * np.log(2) * 2.5, 3 * 0.81))
    assert information_bounds(2, pure=False).conjecture is None
    with pytest.raises(ConfigError, match="qubits"):
        information_bounds(0)


# Bad input


def test_a_state_of_another_norm_is_refused_or_divided():
    psi = haar(1, 0)
    with pytest.raises(InputError, match=r"norm 3, not 1(?s:.*)normalise=True"):
        posterior_chain(3 * psi)
    assert posterior_chain(3 * psi, normalise=True).total == pytest.approx(posterior_chain(psi).total)


def test_a_mixed_state_is_warned_about_and_can_exceed_its_entropy_bound():
    # A qubit with r = 1/2: I_post = 1/4, but n - S(rho) = 0.19. So n - S(rho) bounds I_KL only.
    rho = np.diag([0.75, 0.25])
    with pytest.warns(MixedStateWarning, match="n - S"):
        found = posterior_chain(rho, "desc", ChainConfig(eps=0))
    assert found.total == pytest.approx(0.25)
    assert found.total > found.bounds.kl
    assert found.total_by("kl") <= found.bounds.kl + 1e-9
    assert found.bounds.conjecture is None


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["XX", "XY"], "not a permutation of the 15"),
        ([*paulis.labels(2)[1:], "XX"], "IX is missing"),
        ([*paulis.labels(2), "XX"], "XX comes twice"),
        (["XQ"], "unknown letter 'Q'"),
        (["II"], "identity"),
        (["XXX"], "3 letters, the state 2 qubits"),
        ("descending", "unknown order 'descending'"),
    ],
)
def test_wrong_orders_are_refused(order, message):
    with pytest.raises(InputError, match=message):
        posterior_chain(haar(2, 0), order)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": 1.0}, "eps is 1.0, but it must be at least 0 and below 1"),
        ({"eps": -0.1}, "eps is -0.1"),
        ({"stop_below": -1.0}, "stop_below"),
        ({"estimator": "max-ent"}, "did you mean 'maxent'"),
        ({"divergence": "chi"}, "did you mean 'chi2'"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        ChainConfig(**settings)


@pytest.mark.parametrize("estimator", ["maxent", "interval"])
def test_large_states_are_refused_with_their_cost(estimator):
    with pytest.raises(InputError, match=r"(?s)6 qubits.*4095 components.*force=True"):
        posterior_chain(states.ghz_state(6), "desc", ChainConfig(estimator=estimator))
    ChainConfig(estimator=estimator, force=True).check_size(6)
