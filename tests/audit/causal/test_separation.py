"""d-separation against the moralised ancestral graph and networkx; all subsets at once against one at a time."""

import networkx
import numpy as np

from intarsia.audit.causal.bitsets import bits, mask_of
from intarsia.audit.causal.graphs import CausalGraph, union
from intarsia.audit.causal.separation import connected, d_separated, separating_sets


def separated_in_moral_graph(graph, x, y, given):
    """Lauritzen's criterion: in the moralised graph of the ancestors every path is cut by the given nodes."""
    kept = union(graph.ancestors, x | y | given)
    neighbours = {node: set() for node in bits(kept)}
    for node in bits(kept):
        family = [*bits(graph.parents[node]), node]
        for one in family:
            neighbours[one] |= {other for other in family if other != one}
    reached, todo = set(bits(x)), list(bits(x))
    while todo:
        for other in neighbours[todo.pop()] - reached:
            if not given >> other & 1:
                reached.add(other)
                todo.append(other)
    return not reached & set(bits(y))


def test_all_subsets_of_small_graphs(make_graph):
    generator = np.random.default_rng(0)
    for _ in range(120):
        graph = make_graph(generator, int(generator.integers(2, 7)), generator.choice([0.3, 0.6]))
        x, y = (1 << int(node) for node in generator.choice(graph.size, 2, replace=False))
        others = list(bits(graph.nodes & ~x & ~y))
        column = separating_sets(graph.parents, x, y, others)
        for case in range(1 << len(others)):
            given = mask_of(others[place] for place in bits(case))
            expected = separated_in_moral_graph(graph, x, y, given)
            assert d_separated(graph.parents, x, y, given) == expected
            assert bool(column >> case & 1) == expected


def test_agrees_with_networkx_on_larger_graphs_and_sets(make_graph):
    generator = np.random.default_rng(1)
    for _ in range(150):
        graph = make_graph(generator, 12, 0.25)
        roles = generator.choice(4, size=12, p=[0.15, 0.15, 0.3, 0.4])
        x, y, given = (mask_of(np.flatnonzero(roles == role).tolist()) for role in range(3))
        if not x or not y:
            continue
        peer = networkx.DiGraph(list(graph.edges))
        peer.add_nodes_from(range(12))
        expected = networkx.is_d_separator(peer, set(bits(x)), set(bits(y)), set(bits(given)))
        assert d_separated(graph.parents, x, y, given) == expected


def test_a_descendant_of_a_collider_opens_the_path():
    graph = CausalGraph.from_edges(4, [(0, 2), (1, 2), (2, 3)])
    assert d_separated(graph.parents, 1 << 0, 1 << 1, 0)
    assert not d_separated(graph.parents, 1 << 0, 1 << 1, 1 << 3)
    assert not connected(graph.parents, 1 << 0, 1 << 3, through_colliders=False) & 1 << 1
