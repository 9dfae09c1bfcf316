"""The scoring rule for adjustment sets in the paper's published code, kept for comparison only: it is wrong.

It lists every undirected path between a treatment and an outcome and wants each that is not directed to be blocked. But
it asks whether the *position* of a node on the path is in the answer, where it should ask for the node at that
position. It also takes paths that do not begin with an edge into a treatment for backdoor paths, overlooks descendants
of colliders and forbidden factors, and reads an answer with one unknown name as the empty set.
"""

from collections.abc import Iterator
from itertools import pairwise

from intarsia.audit.causal.bitsets import bits
from intarsia.audit.causal.graphs import CausalGraph

Path = tuple[int, ...]


def released_accepts(graph: CausalGraph, treatments: int, outcomes: int, chosen: int) -> bool:
    """Returns whether the published rule calls the set `chosen` right.

    It takes as long as there are undirected paths: hundreds for 10 nodes, 10^5 and more for some graphs of 15.
    """
    return all(_is_blocked(graph, path, chosen) for path in noncausal_paths(graph, treatments, outcomes))


def noncausal_paths(graph: CausalGraph, treatments: int, outcomes: int) -> Iterator[Path]:
    """Yields the undirected simple paths between treatments and outcomes that are not directed towards the outcome."""
    for treatment in bits(treatments):
        for outcome in bits(outcomes):
            for path in _undirected_paths(graph, treatment, outcome):
                if not all(graph.parents[after] >> before & 1 for before, after in pairwise(path)):
                    yield path


def _undirected_paths(graph: CausalGraph, start: int, end: int) -> Iterator[Path]:
    neighbours = [above | below for above, below in zip(graph.parents, graph.children, strict=True)]
    stack: list[tuple[Path, int]] = [((start,), 1 << start)]
    while stack:
        path, visited = stack.pop()
        for node in bits(neighbours[path[-1]] & ~visited):
            if node == end:
                yield (*path, node)
            else:
                stack.append(((*path, node), visited | 1 << node))


def _is_blocked(graph: CausalGraph, path: Path, chosen: int) -> bool:
    for position in range(1, len(path) - 1):
        before, node, after = path[position - 1 : position + 2]
        is_collider = graph.parents[node] >> before & 1 and graph.parents[node] >> after & 1
        # The slip: `position` stands where `node` belongs.
        if bool(is_collider) != bool(chosen >> position & 1):
            return True
    return False
