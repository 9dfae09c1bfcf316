"""Directed acyclic graphs whose nodes are numbered in topological order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from math import comb

from intarsia.audit.causal.bitsets import bits, mask_of
from intarsia.errors import DataError


@dataclass(frozen=True)
class CausalGraph:
    """A directed acyclic graph; every edge leads from a smaller to a larger node number.

    Args:
        parents: For every node the set of its parents, as bits.
        tiers: The nodes, in groups without edges inside a group.

    Raises:
        DataError: If an edge does not lead from a smaller to a larger number.
    """

    parents: tuple[int, ...]
    tiers: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        for node, parents in enumerate(self.parents):
            if parents >> node:
                raise DataError(f"node {node} has a parent that does not come before it", field="edges")

    @classmethod
    def from_edges(
        cls, count: int, edges: Iterable[Sequence[int]], tiers: Sequence[Sequence[int]] | None = None
    ) -> "CausalGraph":
        """Makes a graph of `count` nodes from pairs (parent, child); without tiers every node is one of its own."""
        parents = [0] * count
        for parent, child in edges:
            parents[child] |= 1 << parent
        groups = tiers if tiers is not None else [[node] for node in range(count)]
        return cls(tuple(parents), tuple(map(tuple, groups)))

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.parents)

    @property
    def nodes(self) -> int:
        """The set of all nodes."""
        return (1 << len(self.parents)) - 1

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """All (parent, child), sorted."""
        return tuple(sorted((parent, child) for child, mask in enumerate(self.parents) for parent in bits(mask)))

    @cached_property
    def children(self) -> tuple[int, ...]:
        """For every node the set of its children."""
        return children_of(self.parents)

    @cached_property
    def ancestors(self) -> tuple[int, ...]:
        """For every node the set of its ancestors, itself included."""
        return ancestors_of(self.parents)

    @cached_property
    def descendants(self) -> tuple[int, ...]:
        """For every node the set of its descendants, itself included."""
        return descendants_of(self.children)

    @cached_property
    def roots(self) -> int:
        """The set of nodes without parents, isolated ones too."""
        return mask_of(node for node, parents in enumerate(self.parents) if not parents)


def children_of(parents: Sequence[int]) -> tuple[int, ...]:
    """Returns the sets of children for given sets of parents."""
    children = [0] * len(parents)
    for child, mask in enumerate(parents):
        for parent in bits(mask):
            children[parent] |= 1 << child
    return tuple(children)


def ancestors_of(parents: Sequence[int]) -> tuple[int, ...]:
    """Returns for every node its ancestors and itself."""
    closed: list[int] = []
    for node, mask in enumerate(parents):
        closed.append(union(closed, mask) | 1 << node)
    return tuple(closed)


def descendants_of(children: Sequence[int]) -> tuple[int, ...]:
    """Returns for every node its descendants and itself."""
    closed = [0] * len(children)
    for node in reversed(range(len(children))):
        closed[node] = union(closed, children[node]) | 1 << node
    return tuple(closed)


def union(sets: Sequence[int], members: int) -> int:
    """Returns the union of the sets of all members."""
    result = 0
    for member in bits(members):
        result |= sets[member]
    return result


@dataclass(frozen=True, slots=True)
class Motifs:
    """How many triples of each kind a graph has.

    Args:
        chains: a -> b -> c.
        forks: a <- b -> c.
        colliders: a -> b <- c, whether or not a and c are joined.
    """

    chains: int
    forks: int
    colliders: int


def count_motifs(graph: CausalGraph) -> Motifs:
    """Counts chains, forks and colliders from the degrees of the nodes."""
    degrees = [(into.bit_count(), out.bit_count()) for into, out in zip(graph.parents, graph.children, strict=True)]
    return Motifs(
        chains=sum(into * out for into, out in degrees),
        forks=sum(comb(out, 2) for _, out in degrees),
        colliders=sum(comb(into, 2) for into, _ in degrees),
    )


def canonical_form(graph: CausalGraph) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the same value for two graphs exactly if renaming nodes inside tiers makes them equal.

    Nodes are told apart by tier, then by the kinds of their parents and children as long as that tells more (Weisfeiler
    and Leman); of the orders that are left the one with the smallest parent sets is taken.
    """
    kinds = [tier for _, tier in sorted((node, place) for place, tier in enumerate(graph.tiers) for node in tier)]
    while True:
        seen = [
            (kinds[node], _kinds_of(graph.parents[node], kinds), _kinds_of(graph.children[node], kinds))
            for node in range(graph.size)
        ]
        ranks = {kind: rank for rank, kind in enumerate(sorted(set(seen)))}
        finer = [ranks[kind] for kind in seen]
        if len(ranks) == len(set(kinds)):
            break
        kinds = finer
    alike = [[node for node in range(graph.size) if finer[node] == kind] for kind in sorted(set(finer))]
    orders = product(*(permutations(nodes) for nodes in alike))
    least = min(_renumbered(graph.parents, [node for nodes in order for node in nodes]) for order in orders)
    return tuple(map(len, graph.tiers)), least


def _kinds_of(members: int, kinds: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(kinds[node] for node in bits(members)))


def _renumbered(parents: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    number = {node: place for place, node in enumerate(order)}
    return tuple(mask_of(number[parent] for parent in bits(parents[node])) for node in order)
