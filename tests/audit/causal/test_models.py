"""Boolean models: evaluation, the axioms of counterfactuals, abduction by enumeration, derivation steps."""

from itertools import product

import numpy as np
import pytest

from intarsia.audit.causal.bitsets import bits
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.graphs import CausalGraph
from intarsia.audit.causal.models import (
    DOES_NOT_HAPPEN,
    HAPPENS,
    MAX_HIDDEN,
    UNDETERMINED,
    BooleanModel,
    abduce,
    derivation_steps,
    draw_model,
    evaluate,
)
from intarsia.audit.causal.problems import draw_state_problem, draw_what_ifs, draw_world
from intarsia.audit.causal.streams import Stream
from intarsia.errors import InputError


@pytest.fixture(scope="module")
def models(make_graph):
    generator = np.random.default_rng(0)
    return [draw_model(make_graph(generator, 7, 0.4), Stream("models", number)) for number in range(60)]


def all_roots(model, states):
    return dict(zip(model.roots, states, strict=True))


def test_every_parent_is_one_literal(models):
    for model in models:
        for node, terms in enumerate(model.terms):
            literals = [parent for term in terms for parent, _ in term]
            assert literals == list(bits(model.parents[node]))


def test_values_are_those_of_pythons_own_precedence(models):
    for model in models:
        for states in product((0, 1), repeat=len(model.roots)):
            values = evaluate(model, all_roots(model, states))
            scope = {f"v{node}": bool(value) for node, value in enumerate(values)}
            for node, terms in enumerate(model.terms):
                if terms:
                    flat = " or ".join(
                        " and ".join(("not " if negated else "") + f"v{parent}" for parent, negated in term)
                        for term in terms
                    )
                    assert bool(values[node]) == eval(flat, {}, scope)


def test_negations_and_connectives_are_fair_coins():
    graph = CausalGraph.from_edges(3, [(0, 2), (1, 2)])
    drawn = [draw_model(graph, Stream("coins", number)).terms[2] for number in range(400)]
    negated = np.mean([negated for terms in drawn for term in terms for _, negated in term])
    joined = np.mean([len(terms) == 1 for terms in drawn])
    assert negated == pytest.approx(0.5, abs=0.08)
    assert joined == pytest.approx(0.5, abs=0.1)


def test_columns_are_worlds_side_by_side(models):
    for model in models:
        worlds = list(product((0, 1), repeat=len(model.roots)))
        columns = {
            root: sum(states[place] << number for number, states in enumerate(worlds))
            for place, root in enumerate(model.roots)
        }
        together = evaluate(model, columns, always=(1 << len(worlds)) - 1)
        for number, states in enumerate(worlds):
            assert [value >> number & 1 for value in together] == evaluate(model, all_roots(model, states))


def test_axioms_of_counterfactuals(models):
    generator = np.random.default_rng(1)
    for model in models:
        roots = all_roots(model, generator.integers(0, 2, len(model.roots)).tolist())
        facts = evaluate(model, roots)
        size = len(model.terms)
        chosen = generator.choice(size, 2, replace=False).tolist()
        other = {node: 1 - facts[node] for node in chosen}
        changed = evaluate(model, roots, other)
        # Effectiveness, composition, locality.
        assert all(changed[node] == other[node] for node in chosen)
        assert evaluate(model, roots, {node: facts[node] for node in chosen}) == facts
        graph = CausalGraph(model.parents, ())
        for node in range(size):
            if not any(graph.ancestors[node] >> one & 1 for one in chosen):
                assert changed[node] == facts[node]
        # The parents of an event determine it, whatever the roots are.
        last = max(node for node in range(size) if model.terms[node]) if any(model.terms) else None
        if last is not None:
            parents = {parent: int(generator.integers(2)) for parent in bits(model.parents[last])}
            opposite = {root: 1 - state for root, state in roots.items()}
            assert evaluate(model, roots, parents)[last] == evaluate(model, opposite, parents)[last]


def test_noise_flips_what_is_evaluated_and_nothing_else(models):
    for model in models:
        roots = dict.fromkeys(model.roots, 1)
        assigned = {0: 0}
        flipped = evaluate(model, roots, assigned, noise=[1] * len(model.terms))
        assert flipped[0] == 0
        assert all(flipped[root] == 1 for root in model.roots if root)
        for node, terms in enumerate(model.terms):
            if terms and node not in assigned:
                right = any(all(flipped[parent] != negated for parent, negated in term) for term in terms)
                assert flipped[node] == (not right)


# Abduction


def by_enumeration(model, evidence, assigned, query):
    seen = {node: set() for node in query}
    for states in product((0, 1), repeat=len(model.roots)):
        roots = all_roots(model, states)
        facts = evaluate(model, roots)
        if all(facts[node] == value for node, value in evidence.items()):
            changed = evaluate(model, roots, assigned)
            for node in query:
                seen[node].add(changed[node])
    words = {frozenset({1}): HAPPENS, frozenset({0}): DOES_NOT_HAPPEN}
    return tuple(words.get(frozenset(seen[node]), UNDETERMINED) for node in query)


def test_abduction_is_enumeration_of_worlds(models):
    generator = np.random.default_rng(2)
    answers = set()
    for model in models:
        for _ in range(5):
            size = len(model.terms)
            roots = all_roots(model, generator.integers(0, 2, len(model.roots)).tolist())
            facts = evaluate(model, roots)
            evidence = {node: facts[node] for node in range(size) if generator.random() < 0.3}
            assigned = {node: 1 - facts[node] for node in range(size - 1) if generator.random() < 0.2}
            query = tuple(range(size))
            found = abduce(model, evidence, assigned, query)
            assert found == by_enumeration(model, evidence, assigned, query)
            answers |= set(found)
    assert answers == {HAPPENS, DOES_NOT_HAPPEN, UNDETERMINED}


def test_evidence_about_the_facts_survives_the_supposition():
    # 0 -> 1, and 2 happens if 0 does and 1 does not. Event 1 tells that 0 happened; supposing 1 away keeps that.
    model = BooleanModel(((), (((0, False),),), (((0, False), (1, True)),)))
    assert abduce(model, {1: 1}, {1: 0}, (2,)) == (HAPPENS,)
    assert abduce(model, {}, {1: 0}, (2,)) == (UNDETERMINED,)


def test_too_many_hidden_roots_and_impossible_evidence_are_named():
    size = MAX_HIDDEN + 1
    wide = BooleanModel((*[()] * size, (tuple((root, False) for root in range(size)),)))
    with pytest.raises(InputError, match=r"13 root events are unknown.*at most 12[\s\S]*more root events"):
        abduce(wide, {}, {}, (size,))
    assert abduce(wide, {0: 0}, {}, (size,)) == (DOES_NOT_HAPPEN,)
    model = BooleanModel(((), (((0, False),),)))
    with pytest.raises(InputError, match="no world fits the evidence"):
        abduce(model, {0: 1, 1: 0}, {}, (1,))


def test_a_hidden_root_that_nothing_depends_on_costs_nothing():
    isolated = BooleanModel((*[()] * 30, (((0, False),),)))
    assert abduce(isolated, {0: 1}, {}, (30,)) == (HAPPENS,)


# Derivation steps and what-ifs


def test_steps_are_the_events_that_a_lazy_evaluation_visits(models):
    for model in models:
        size = len(model.terms)
        for assigned in ({}, {0: 1}, {size // 2: 0}, {1: 1, size - 2: 0}):
            visited = set()

            def visit(node, assigned=assigned, visited=visited, model=model):
                if node not in assigned and model.terms[node] and node not in visited:
                    visited.add(node)
                    for parent in bits(model.parents[node]):
                        visit(parent)

            visit(size - 1)
            assert derivation_steps(model, (size - 1,), assigned) == len(visited)


def test_what_ifs_are_opposites_outside_the_query(models):
    for number, model in enumerate(models):
        world = draw_world(model, "random", Stream(number))
        drawn = draw_what_ifs(world, (5, 6), 3, Stream(number, "what-ifs"))
        assert len({node for node, _ in drawn}) == 3
        assert all(node < 5 and state is not world.values[node] for node, state in drawn)
    with pytest.raises(InputError, match=r"6 what-ifs are asked for, but only 5 events[\s\S]*clipped"):
        draw_what_ifs(world, (5, 6), 6, Stream("too many"))
    assert len(draw_what_ifs(world, (5, 6), 6, Stream("too many"), clip=True)) == 5


def test_roots_are_true_or_fair_coins(models):
    states = [state for n, model in enumerate(models) for _, state in draw_world(model, "random", Stream(n)).roots]
    assert 0.35 < np.mean(states) < 0.65
    assert all(state for model in models for _, state in draw_world(model, "true", Stream()).roots)


def test_partial_evidence_hides_a_root_that_matters_and_never_shows_what_a_fact_question_asks():
    config = BenchmarkConfig(evidence="partial")
    graph = CausalGraph.from_edges(6, [(0, 3), (1, 3), (3, 4), (2, 4)])
    states = set()
    for number in range(80):
        world = draw_world(draw_model(graph, Stream("model", number)), "true", Stream())
        for what_ifs in (0, 2):
            key = draw_state_problem(graph, world, (4,), what_ifs, config, Stream("evidence", number, what_ifs)).key
            shown = dict(key.observed)
            assert {0, 1, 2} - set(shown)
            assert all(shown[node] == world.values[node] for node in shown)
            assert what_ifs or 4 not in shown
            assert bool(key.factual) == bool(what_ifs)
            states |= set(key.states)
    assert states == {HAPPENS, DOES_NOT_HAPPEN, UNDETERMINED}
