"""The published scorer's known faults, so that nobody repairs them by accident."""

from intarsia.audit.causal.adjustment import Adjustment
from intarsia.audit.causal.graphs import CausalGraph
from intarsia.audit.causal.released import noncausal_paths, released_accepts


def test_it_looks_at_positions():
    # 1 <- 0 -> 2: the path is 1, 0, 2, and the confounder 0 stands at position 1.
    graph = CausalGraph.from_edges(3, [(0, 1), (0, 2), (1, 2)])
    assert list(noncausal_paths(graph, 1 << 1, 1 << 2)) == [(1, 0, 2)]
    assert Adjustment(graph, 1 << 1, 1 << 2).is_valid(1 << 0)
    assert not released_accepts(graph, 1 << 1, 1 << 2, 1 << 0)
    # Naming the node with the number 1, which is the treatment itself, would please it.
    assert released_accepts(graph, 1 << 1, 1 << 2, 1 << 1)


def test_it_overlooks_forbidden_nodes():
    # 0 -> 1 -> 2: adjusting for the mediator 1 removes the effect, and the published rule does not mind.
    graph = CausalGraph.from_edges(3, [(0, 1), (1, 2)])
    assert released_accepts(graph, 1 << 0, 1 << 2, 1 << 1)
    assert not Adjustment(graph, 1 << 0, 1 << 2).is_valid(1 << 1)


def test_colliders_block_by_themselves():
    # 1 -> 3 <- 2 with 2 as outcome: position 1 is a collider and not in the answer.
    graph = CausalGraph.from_edges(4, [(1, 3), (2, 3)])
    assert released_accepts(graph, 1 << 1, 1 << 2, 0)
