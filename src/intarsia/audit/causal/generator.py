"""Random causal graphs in tiers, as the published generator draws them."""

from intarsia.audit.causal.bitsets import mask_of
from intarsia.audit.causal.config import GraphConfig
from intarsia.audit.causal.graphs import CausalGraph
from intarsia.audit.causal.streams import Stream, threshold

Edge = tuple[int, int]


def draw_graph(config: GraphConfig, stream: Stream) -> CausalGraph:
    """Draws a graph; edges lead from earlier to later tiers, and an edge drawn twice counts once.

    Args:
        config: Its shape and the probabilities of its motifs.
        stream: Where the random numbers come from.
    """
    tiers = _number_tiers(config.tiers)
    chain = threshold(config.chain)
    fork = chain + threshold(config.fork)
    collider = fork + threshold(config.collider)
    edges: set[Edge] = set()
    for _ in range(config.path_iters):
        for tier, nodes in enumerate(tiers):
            for node in nodes:
                draw = stream.fraction()
                if draw < chain:
                    edges.update(_chain(tiers, tier, node, stream))
                elif draw < fork and tier < len(tiers) - 1:
                    edges.update((node, _node_of(tiers[tier + 1 :], stream)) for _ in range(2))
                elif fork <= draw < collider and tier > 0:
                    edges.update((_node_of(tiers[:tier], stream), node) for _ in range(2))
    return CausalGraph.from_edges(config.size, edges, tiers)


def _number_tiers(sizes: tuple[int, ...]) -> list[list[int]]:
    tiers, first = [], 0
    for size in sizes:
        tiers.append(list(range(first, first + size)))
        first += size
    return tiers


def _chain(tiers: list[list[int]], tier: int, node: int, stream: Stream) -> tuple[Edge, Edge]:
    """Draws a chain of three tiers: the node begins it in the first tier, ends it in the last, else is its middle."""
    if 0 < tier < len(tiers) - 1:
        before, after = _node_of(tiers[:tier], stream), _node_of(tiers[tier + 1 :], stream)
        return (before, node), (node, after)
    others = tiers[1:] if tier == 0 else tiers[:-1]
    first, second = sorted(stream.sample(range(len(others)), 2))
    x, y = stream.choose(others[first]), stream.choose(others[second])
    return ((node, x), (x, y)) if tier == 0 else ((x, y), (y, node))


def _node_of(tiers: list[list[int]], stream: Stream) -> int:
    return stream.choose(stream.choose(tiers))


def treatments_and_outcomes(graph: CausalGraph, config: GraphConfig) -> tuple[int, int]:
    """Returns the sets of treatments and outcomes: the tiers at the configured distance."""
    treatment, outcome = config.treatment_and_outcome_tier
    return mask_of(graph.tiers[treatment]), mask_of(graph.tiers[outcome])


def query_nodes(graph: CausalGraph) -> tuple[int, ...]:
    """Returns the events FI and CI ask about: those of the last tier that have a parent."""
    return tuple(node for node in graph.tiers[-1] if graph.parents[node])
