"""The reproduction of posterior information in small: all rows and claims, and what must hold does."""

import pytest

from intarsia.errors import InputError
from intarsia.experiments import Context, registry
from intarsia.experiments._posterior_recipe import read_recipe

pytest.importorskip("clarabel", reason="the extra 'quantum' is not installed")

SLUG = "quantum-posterior-information"
CONFIG = {
    "sweep": {"states": {"2": 2, "3": 1}, "families": ["haar", "product", "stabilizer"], "orders": ["desc", "random"]},
    "interval": {"states": 4},
    "large": {"families": []},
    "climb": {"restarts": {"2": 2}, "steps": 5},
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    claims = {claim.id: claim for claim in registry.get(SLUG).claims}
    context = Context(CONFIG, 0, "tiny", tmp_path_factory.mktemp("run"), engine="serial", claims=claims)
    return registry.get(SLUG).run(context)


def test_every_study_is_there_and_every_claim_judged(outcome):
    found = {(row.system, row.dataset, row.metric): row for row in outcome.rows}
    assert found["maxent", "2 qubits", "chains without a total, %"].measured == 0
    largest = [row for row in outcome.rows if row.metric.startswith("largest") and row.system == "maxent"]
    assert [(row.dataset, row.paper) for row in largest] == [("2 qubits", 2), ("3 qubits", 3)]
    assert [claim.id for claim in outcome.claims] == [claim.id for claim in registry.get(SLUG).claims]
    held = {claim.id: claim.holds for claim in outcome.claims}
    for id in ("two-qubits", "more-qubits", "kl-is-bounded", "closed-forms", "bound-is-reached"):
        assert held[id], id
    assert len(outcome.figures) == 6
    rise = found["hill climb, sq", "2 qubits", "rise from a product, at the conjectured bound"].measured
    assert 0 <= rise < 1e-3
    assert found["hill climb, sq", "2 qubits", "best of the climbs"].measured >= 2 * 0.998**2 - 1e-3


def test_it_says_what_it_is(outcome):
    assert any("Reconstruction" in note for note in outcome.notes)
    assert all("reconstruction" in row.metric for row in outcome.rows if row.paper is not None)
    texts = {claim.id: claim.text for claim in outcome.claims}
    assert all("conjecture" in texts[id] for id in ("two-qubits", "more-qubits", "climb-finds-no-more"))


@pytest.mark.parametrize("scale", registry.scales(SLUG))
def test_recipes_are_valid(scale):
    assert read_recipe(registry.recipe(SLUG, scale)).sweep.states["2"] >= 47


def test_too_many_qubits_are_refused():
    with pytest.raises(InputError, match="states is"):
        read_recipe({"sweep": {"states": {"6": 1}}})
