"""Graphs, paths, motifs and truth tables against brute force."""

from itertools import combinations, pairwise, permutations, product

import numpy as np
import pytest

from intarsia.audit.causal.bitsets import bits, everywhere, mask_of, minimal, supersets, switch
from intarsia.audit.causal.config import GraphConfig
from intarsia.audit.causal.generator import draw_graph
from intarsia.audit.causal.graphs import CausalGraph, canonical_form, count_motifs
from intarsia.audit.causal.paths import causal_paths, count_causal_paths, longest_path
from intarsia.audit.causal.streams import Stream
from intarsia.errors import DataError


def adjacency(graph):
    matrix = np.zeros((graph.size, graph.size), dtype=int)
    for parent, child in graph.edges:
        matrix[parent, child] = 1
    return matrix


@pytest.fixture(scope="module")
def graphs(make_graph):
    generator = np.random.default_rng(0)
    return [make_graph(generator, size, density) for size in (2, 4, 7, 10) for density in (0.2, 0.5, 0.9)]


def test_number_of_paths_is_the_entry_of_the_inverse(graphs):
    for graph in graphs:
        inverse = np.rint(np.linalg.inv(np.eye(graph.size) - adjacency(graph))).astype(int)
        for source in range(graph.size):
            for target in range(graph.size):
                expected = inverse[source, target] if source != target else 0
                assert count_causal_paths(graph, 1 << source, 1 << target) == expected
                assert len(causal_paths(graph, 1 << source, 1 << target)) == expected


def test_paths_follow_edges_and_are_listed_once(graphs):
    for graph in graphs:
        paths = causal_paths(graph, 0b11, graph.nodes & ~0b11)
        assert len(set(paths)) == len(paths) == count_causal_paths(graph, 0b11, graph.nodes & ~0b11)
        assert all(edge in graph.edges for path in paths for edge in pairwise(path))
        assert max(map(len, paths), default=1) - 1 <= longest_path(graph)


def test_longest_path_is_the_last_power_that_is_not_zero(graphs):
    for graph in graphs:
        power, length = adjacency(graph), 0
        while power.any():
            length += 1
            power = power @ adjacency(graph)
        assert longest_path(graph) == length


def test_motifs_are_the_triples(graphs):
    for graph in graphs:
        edges = set(graph.edges)
        nodes = range(graph.size)
        motifs = count_motifs(graph)
        assert motifs.chains == sum((a, b) in edges and (b, c) in edges for a in nodes for b in nodes for c in nodes)
        pairs = list(combinations(nodes, 2))
        assert motifs.forks == sum((b, a) in edges and (b, c) in edges for b in nodes for a, c in pairs)
        assert motifs.colliders == sum((a, b) in edges and (c, b) in edges for b in nodes for a, c in pairs)


def test_ancestors_and_descendants_are_the_closure(graphs):
    for graph in graphs:
        reach = np.linalg.matrix_power(np.eye(graph.size, dtype=int) + adjacency(graph), graph.size) > 0
        for node in range(graph.size):
            assert list(bits(graph.descendants[node])) == np.flatnonzero(reach[node]).tolist()
            assert list(bits(graph.ancestors[node])) == np.flatnonzero(reach[:, node]).tolist()


def test_an_edge_to_an_earlier_node_is_refused():
    with pytest.raises(DataError, match="node 0 has a parent that does not come before it"):
        CausalGraph.from_edges(2, [(1, 0)])


def test_switches_supersets_and_minimal_sets():
    count = 5
    for index in range(count):
        assert switch(index, count) == mask_of(case for case in range(1 << count) if case >> index & 1)
    generator = np.random.default_rng(1)
    for _ in range(50):
        chosen = {int(case) for case in generator.integers(1 << count, size=generator.integers(0, 6))}
        closed = {case for case in range(1 << count) if any(case & one == one for one in chosen)}
        least = {one for one in chosen if not any(other != one and one & other == other for other in chosen)}
        assert supersets(mask_of(chosen), count) == mask_of(closed)
        assert minimal(mask_of(chosen), count) == mask_of(least)
    assert everywhere(0) == 1
    assert everywhere(3) == 255


def test_drawn_graphs_have_edges_to_later_tiers_only_and_the_expected_density():
    for level, expected in ((1, 6.2), (2, 17.0), (3, 28.0)):
        counts = []
        for index in range(400):
            config = GraphConfig((level,) * 5, 3 + index % 4)
            graph = draw_graph(config, Stream("density", level, index))
            tier_of = {node: place for place, tier in enumerate(graph.tiers) for node in tier}
            assert all(tier_of[parent] < tier_of[child] for parent, child in graph.edges)
            counts.append(len(graph.edges))
        # Published generator, mean over 3 to 6 passes; the standard error of the mean is below 0.4.
        assert np.mean(counts) == pytest.approx(expected, abs=1.2)


def test_single_motifs():
    def drawn(**only):
        probabilities = {"chain": 0.0, "fork": 0.0, "collider": 0.0, **only}
        return draw_graph(GraphConfig((2, 2, 2, 2), 1, **probabilities), Stream("motifs"))

    everyone, chains, forks, colliders = range(8), drawn(chain=1.0), drawn(fork=1.0), drawn(collider=1.0)
    # Inner nodes are the middle of a chain.
    assert all(chains.parents[node] and chains.children[node] for node in everyone if node not in (0, 1, 6, 7))
    assert all(forks.children[node].bit_count() >= 1 for node in everyone if node not in (6, 7))
    assert all(colliders.parents[node].bit_count() >= 1 for node in everyone if node not in (0, 1))
    assert not drawn().edges
    # The first motif that applies is drawn: in the first tier no collider, in the last no fork.
    assert not any(forks.parents[node] for node in forks.tiers[0])


def test_canonical_form_is_that_of_every_renaming_and_of_no_other_graph():
    generator = np.random.default_rng(3)
    tiers = [[0, 1], [2, 3, 4], [5, 6]]

    def renamed(graph):
        order = np.concatenate([generator.permutation(tier) for tier in tiers]).tolist()
        number = {old: new for new, old in enumerate(order)}
        return CausalGraph.from_edges(7, [(number[a], number[b]) for a, b in graph.edges], tiers)

    graphs = []
    for number in range(60):
        graph = draw_graph(GraphConfig((2, 3, 2), 1), Stream("forms", number))
        assert canonical_form(graph) == canonical_form(renamed(graph))
        graphs.append(graph)
    for one, other in combinations(graphs, 2):
        orders = product(*(permutations(tier) for tier in tiers))
        alike = any(
            {(order[a], order[b]) for a, b in one.edges} == set(other.edges) for order in (sum(o, ()) for o in orders)
        )
        assert alike == (canonical_form(one) == canonical_form(other))
