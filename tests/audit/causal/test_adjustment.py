"""The adjustment criterion against the truncated factorisation of random models, and its textbook cases."""

from itertools import product

import numpy as np
import pytest

from intarsia.audit.causal.adjustment import MAX_CANDIDATES, Adjustment
from intarsia.audit.causal.bitsets import bits, mask_of
from intarsia.audit.causal.graphs import CausalGraph
from intarsia.audit.causal.separation import d_separated
from intarsia.errors import InputError


def graph(size, *edges):
    return CausalGraph.from_edges(size, edges)


def subsets(members):
    nodes = list(bits(members))
    for case in range(1 << len(nodes)):
        yield mask_of(nodes[place] for place in bits(case))


# The proof by brute force


def random_factors(of, generator):
    """P(v = 1 | parents) for every node, as an array that broadcasts over all 2^n states."""
    size = of.size
    factors = []
    for node in range(size):
        shape = [2 if of.parents[node] >> other & 1 else 1 for other in range(size)]
        on = generator.uniform(0.1, 0.9, shape)
        axis = np.arange(2).reshape([2 if other == node else 1 for other in range(size)])
        factors.append(np.where(axis == 1, on, 1 - on))
    return factors


def multiplied(factors, size):
    table = np.ones((2,) * size)
    for factor in factors:
        table = table * factor
    return table


def largest_error(of, factors, treatments, outcomes, chosen):
    """Greatest difference of sum_z P(e | c, z) P(z) and P(e | do(c)) over all values of c and e."""
    size = of.size
    joint = multiplied(factors, size)
    truncated = multiplied([factor for node, factor in enumerate(factors) if not treatments >> node & 1], size)

    def over(table, kept):
        return table.sum(axis=tuple(node for node in range(size) if not kept >> node & 1), keepdims=True)

    c_e = treatments | outcomes
    conditional = over(joint, c_e | chosen) / over(joint, treatments | chosen)
    adjusted = over(conditional * over(joint, chosen), c_e)
    return np.abs(adjusted - over(truncated, c_e)).max()


def check_all_subsets(of, treatments, outcomes, generator):
    adjustment = Adjustment(of, treatments, outcomes)
    factors = random_factors(of, generator)
    count = 0
    for chosen in subsets(of.nodes & ~treatments & ~outcomes):
        error = largest_error(of, factors, treatments, outcomes, chosen)
        assert adjustment.is_valid(chosen) == (error < 1e-9), (of.edges, treatments, outcomes, chosen, error)
        count += 1
    return count


def test_single_treatment_and_outcome(make_graph):
    generator = np.random.default_rng(0)
    count = 0
    for _ in range(250):
        of = make_graph(generator, int(generator.integers(4, 7)), generator.choice([0.35, 0.6, 0.85]))
        treatment, outcome = generator.choice(of.size, 2, replace=False)
        count += check_all_subsets(of, 1 << int(treatment), 1 << int(outcome), generator)
    assert count > 2000


def test_joint_treatments_and_outcomes(make_graph):
    generator = np.random.default_rng(1)
    count = 0
    for _ in range(250):
        of = make_graph(generator, 6, generator.choice([0.35, 0.6]))
        c1, c2, e1, e2 = (1 << int(node) for node in generator.choice(6, 4, replace=False))
        count += check_all_subsets(of, c1 | c2, e1 | e2 if generator.random() < 0.5 else e1, generator)
    assert count > 1000


# What follows from the definitions


@pytest.fixture(scope="module")
def problems(make_graph):
    generator = np.random.default_rng(2)
    found = []
    for _ in range(300):
        of = make_graph(generator, 7, generator.choice([0.3, 0.5]))
        order = generator.permutation(7).tolist()
        found.append(Adjustment(of, mask_of(order[: generator.integers(1, 3)]), mask_of(order[3:5])))
    return found


def test_parents_of_unrelated_treatments_are_always_valid(problems):
    for problem in problems:
        above = [problem.graph.ancestors[node] & ~(1 << node) for node in bits(problem.treatments)]
        related = any(problem.treatments & ancestors for ancestors in above)
        if not related and not problem.treatment_parents & problem.outcomes:
            assert problem.is_valid(problem.treatment_parents)


def test_parents_of_a_treatment_after_another_may_be_forbidden():
    # 0 -> 1 -> 2 -> 3 and 1 -> 3: node 1 is a parent of treatment 2 and lies on a causal path from treatment 0.
    problem = Adjustment(graph(4, (0, 1), (1, 2), (2, 3), (1, 3)), 1 << 0 | 1 << 2, 1 << 3)
    assert problem.failure(problem.treatment_parents) == "forbidden_node"
    assert problem.right_set is None


def test_there_is_a_right_set_exactly_if_any_set_is_valid(problems):
    answers = set()
    for problem in problems:
        right = problem.right_set
        answers.add(right is None)
        assert (right is None) == (problem.valid_sets.count == 0)
        assert right is None or problem.is_valid(right)
    assert answers == {True, False}


def test_pearls_rule_is_stricter(problems):
    stricter = 0
    for problem in problems:
        for chosen in subsets(problem.graph.nodes & ~problem.treatments & ~problem.outcomes):
            if problem.is_backdoor_set(chosen):
                assert problem.is_valid(chosen) or problem.treatments.bit_count() > 1
            elif problem.is_valid(chosen):
                stricter += 1
    assert stricter > 50


def test_pearls_rule_for_one_treatment_never_accepts_what_is_invalid(make_graph):
    generator = np.random.default_rng(3)
    for _ in range(150):
        of = make_graph(generator, 6, 0.5)
        treatment, outcome = (1 << int(node) for node in generator.choice(6, 2, replace=False))
        problem = Adjustment(of, treatment, outcome)
        for chosen in subsets(of.nodes & ~treatment & ~outcome):
            assert problem.is_valid(chosen) or not problem.is_backdoor_set(chosen)


def test_all_sets_at_once_are_those_one_by_one(problems):
    for problem in problems:
        valid = [s for s in subsets(problem.graph.nodes & ~problem.forbidden) if problem.is_valid(s)]
        listed = problem.valid_sets
        assert sorted(map(mask_of, listed.all)) == sorted(valid)
        assert listed.count == len(valid)
        least = [s for s in valid if not any(t != s and t & s == t for t in valid)]
        assert sorted(map(mask_of, listed.minimal)) == sorted(least)
        assert {s for s in valid if problem.is_minimal(s)} == set(least)


def test_failure_names_what_is_wrong(problems):
    kinds = set()
    for problem in problems:
        for chosen in subsets(problem.graph.nodes & ~problem.treatments & ~problem.outcomes):
            failure = problem.failure(chosen)
            kinds.add(failure)
            assert (failure is None) == problem.is_valid(chosen)
            assert (failure == "forbidden_node") == bool(chosen & problem.forbidden)
            if failure == "opened_collider":
                # Without the collider's doing the path is closed: some smaller part of the set leaves it so.
                assert chosen
    assert kinds == {None, "forbidden_node", "open_backdoor_path", "opened_collider"}


def test_m_graph():
    # x = 2, y = 4; 2 <- 0 -> 3 <- 1 -> 4, 2 -> 4
    problem = Adjustment(graph(5, (0, 2), (0, 3), (1, 3), (1, 4), (2, 4)), 1 << 2, 1 << 4)
    assert problem.is_valid(0)
    assert problem.failure(1 << 3) == "opened_collider"
    assert problem.is_valid(1 << 3 | 1 << 0)
    assert not problem.is_minimal(1 << 3 | 1 << 0)
    assert problem.valid_sets.minimal == ((),)


def test_mediator_and_its_descendant_are_forbidden():
    problem = Adjustment(graph(4, (0, 1), (1, 2), (1, 3)), 1 << 0, 1 << 2)
    assert problem.is_valid(0)
    assert problem.failure(1 << 1) == problem.failure(1 << 3) == "forbidden_node"


def test_confounder_has_to_be_blocked():
    problem = Adjustment(graph(3, (0, 1), (0, 2), (1, 2)), 1 << 1, 1 << 2)
    assert problem.failure(0) == "open_backdoor_path"
    assert problem.valid_sets.minimal == ((0,),)


def test_a_descendant_of_the_treatment_off_the_causal_paths_may_be_adjusted_for():
    # Pearl's rule forbids node 1, the adjustment criterion does not.
    problem = Adjustment(graph(3, (0, 1), (0, 2)), 1 << 0, 1 << 2)
    assert problem.is_valid(1 << 1)
    assert not problem.is_backdoor_set(1 << 1)
    assert problem.is_backdoor_set(0)


def test_minimal_sets_separate(golden):
    for row in golden:
        number = {name: place for place, name in enumerate(row["nodes"])}
        of = CausalGraph.from_edges(len(number), [(number[a], number[b]) for a, b in row["edges"]])
        problem = Adjustment(of, *(mask_of(number[name] for name in row[role]) for role in ("treatments", "outcomes")))
        for members in problem.valid_sets.minimal:
            chosen = mask_of(members)
            assert d_separated(problem.proper_backdoor_parents, problem.treatments, problem.outcomes, chosen)


def test_bad_effects_are_named():
    with pytest.raises(InputError, match="overlap in node 1"):
        Adjustment(graph(3, (0, 1)), 0b11, 0b10)
    with pytest.raises(InputError, match="at least one treatment and one outcome"):
        Adjustment(graph(3, (0, 1)), 0, 0b10)
    size = MAX_CANDIDATES + 3
    with pytest.raises(InputError, match=rf"{size - 2} factors may be adjusted for.*\n.*without minimal sets"):
        _ = Adjustment(graph(size, (0, 1)), 1 << 0, 1 << 1).valid_sets


def test_products_cover_all_states():
    # The brute force above is only as good as its tables: they are distributions.
    of = graph(4, (0, 1), (1, 2), (0, 3))
    joint = multiplied(random_factors(of, np.random.default_rng(4)), 4)
    assert joint.sum() == pytest.approx(1)
    assert all(joint[state] > 0 for state in product((0, 1), repeat=4))
