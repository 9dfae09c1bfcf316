"""Directed paths: how many there are, which they are, how long the longest is."""

from intarsia.audit.causal.bitsets import bits
from intarsia.audit.causal.graphs import CausalGraph

Path = tuple[int, ...]


def causal_paths(graph: CausalGraph, sources: int, targets: int) -> tuple[Path, ...]:
    """Returns every directed path from a source to a target, sorted.

    Args:
        graph: The graph.
        sources: Set of nodes a path begins at.
        targets: Set of nodes a path ends at. A path may pass through other sources and targets.
    """
    found: list[Path] = []
    for target in bits(targets):
        # Only nodes above the target are entered, so no step of the search is in vain.
        above, goal = graph.ancestors[target], 1 << target
        stack: list[Path] = [(source,) for source in bits(sources & above & ~goal)]
        while stack:
            path = stack.pop()
            for child in bits(graph.children[path[-1]] & above):
                longer = (*path, child)
                if child == target:
                    found.append(longer)
                else:
                    stack.append(longer)
    return tuple(sorted(found))


def count_causal_paths(graph: CausalGraph, sources: int, targets: int) -> int:
    """Returns how many paths `causal_paths` would list, without listing them: row sums of (I - A)^-1."""
    total = 0
    for source in bits(sources):
        ways = [0] * graph.size
        ways[source] = 1
        for node in range(source + 1, graph.size):
            ways[node] = sum(ways[parent] for parent in bits(graph.parents[node]))
        total += sum(ways[target] for target in bits(targets & ~(1 << source)))
    return total


def longest_path(graph: CausalGraph) -> int:
    """Returns the number of edges of the longest directed path of the graph."""
    depth: list[int] = []
    for parents in graph.parents:
        depth.append(1 + max((depth[parent] for parent in bits(parents)), default=-1))
    return max(depth, default=0)
