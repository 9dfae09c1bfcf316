"""60 graphs with keys by brute force, reproduced field by field."""

import pytest

from intarsia.audit.causal.adjustment import Adjustment
from intarsia.audit.causal.bitsets import bits, mask_of
from intarsia.audit.causal.config import GraphConfig
from intarsia.audit.causal.generator import query_nodes, treatments_and_outcomes
from intarsia.audit.causal.graphs import CausalGraph
from intarsia.audit.causal.models import DOES_NOT_HAPPEN, HAPPENS, BooleanModel, abduce, derivation_steps, evaluate
from intarsia.audit.causal.paths import causal_paths
from intarsia.audit.causal.released import noncausal_paths, released_accepts


@pytest.fixture(scope="module")
def rows(golden):
    found = []
    for row in golden:
        number = {name: place for place, name in enumerate(row["nodes"])}
        tiers = [[number[name] for name in tier] for tier in row["tiers"]]
        graph = CausalGraph.from_edges(len(number), [(number[a], number[b]) for a, b in row["edges"]], tiers)
        treatments, outcomes = (mask_of(number[name] for name in row[role]) for role in ("treatments", "outcomes"))
        found.append((row, number, Adjustment(graph, treatments, outcomes)))
    assert len(found) == 60
    return found


def sets(names, number):
    return {frozenset(number[name] for name in members) for members in names}


def test_treatments_and_outcomes(rows):
    for row, _, effect in rows:
        shape = GraphConfig(tuple(map(len, row["tiers"])), row["path_iters"])
        assert treatments_and_outcomes(effect.graph, shape) == (effect.treatments, effect.outcomes)


def test_causal_paths(rows):
    for row, number, effect in rows:
        expected = {tuple(number[name] for name in path) for path in row["causal_paths"]}
        assert set(causal_paths(effect.graph, effect.treatments, effect.outcomes)) == expected


def test_adjustment_sets(rows):
    for row, number, effect in rows:
        valid = effect.valid_sets
        assert valid.count == row["n_valid"]
        assert set(map(frozenset, valid.minimal)) == sets(row["minimal_sets"], number)
        if "valid_sets" in row:
            assert row["valid_sets"] is None or set(map(frozenset, valid.all)) == sets(row["valid_sets"], number)
        assert effect.is_valid(0) == row["empty_valid"]
        parents = mask_of(number[name] for name in row["treatment_parents"])
        assert effect.treatment_parents == parents
        assert effect.is_valid(parents)


def test_pearls_rule(rows):
    judged = 0
    for row, _, effect in rows:
        if row["level"] == 1:
            others = list(bits(effect.graph.nodes & ~effect.treatments & ~effect.outcomes))
            cases = [mask_of(others[place] for place in bits(case)) for case in range(1 << len(others))]
            assert sum(map(effect.is_backdoor_set, cases)) == row["n_valid_classic_backdoor"]
            judged += 1
    assert judged == 20


def test_published_scorer(rows):
    judged = 0
    for row, _, effect in rows:
        if "released_scorer_accepts_parents" in row:
            ends = effect.graph, effect.treatments, effect.outcomes
            assert sum(1 for _ in noncausal_paths(*ends)) == row["n_noncausal_paths"]
            assert released_accepts(*ends, effect.treatment_parents) == row["released_scorer_accepts_parents"]
            judged += 1
    assert judged == 40


def test_facts_and_counterfactuals(rows):
    judged = 0
    for row, number, effect in rows:
        model = BooleanModel(
            tuple(
                tuple(tuple((number[p], negated) for p, negated in term) for term in row["scm"].get(name, []))
                for name in row["nodes"]
            )
        )
        assert model.parents == effect.graph.parents
        assert [row["nodes"][root] for root in model.roots] == row["roots"]
        roots = dict.fromkeys(model.roots, 1)
        assert evaluate(model, roots) == [int(row["factual"][name]) for name in row["nodes"]]
        query = query_nodes(effect.graph)
        assert [row["nodes"][node] for node in query] == row["query"]
        for case in row["counterfactuals"]:
            assigned = {number[name]: int(state) for name, state in case["do"].items()}
            values = evaluate(model, roots, assigned)
            assert values == [int(case["values"][name]) for name in row["nodes"]]
            assert derivation_steps(model, query, assigned) == case["derivation_steps"]
            states = tuple(HAPPENS if values[node] else DOES_NOT_HAPPEN for node in query)
            assert abduce(model, roots, assigned, query) == states
            judged += 1
    assert judged == 180
