"""d-separation: for one set of given nodes, or for all sets at once.

Both follow Shachter's Bayes ball: information climbs to parents and falls to children, stops at given nodes, and turns
upwards at a collider only if the collider or a descendant of it is given.
"""

from collections.abc import Sequence

from intarsia.audit.causal.bitsets import bits, everywhere, switch
from intarsia.audit.causal.graphs import ancestors_of, children_of, union


def d_separated(parents: Sequence[int], x: int, y: int, given: int) -> bool:
    """Returns whether the sets `x` and `y` are d-separated by `given`; the three are disjoint.

    Args:
        parents: The graph: for every node the set of its parents.
        x: First set of nodes.
        y: Second set of nodes.
        given: The nodes conditioned on.
    """
    return not connected(parents, x, given) & y


def connected(parents: Sequence[int], x: int, given: int, *, through_colliders: bool = True) -> int:
    """Returns the nodes that are d-connected to `x` by a path that is open given `given`.

    Args:
        parents: The graph.
        x: Where paths begin.
        given: The nodes conditioned on.
        through_colliders: Whether paths with a collider count.
    """
    children = children_of(parents)
    opened = union(ancestors_of(parents), given) if through_colliders else 0
    climbed, fell = x, 0  # nodes reached from a child (or where the path begins), and from a parent
    to_climb, to_fall = x, 0
    while to_climb | to_fall:
        if to_climb:
            node = to_climb & -to_climb
            to_climb ^= node
            up = down = not node & given
        else:
            node = to_fall & -to_fall
            to_fall ^= node
            up, down = bool(node & opened), not node & given
        index = node.bit_length() - 1
        new_up = parents[index] & ~climbed if up else 0
        new_down = children[index] & ~fell if down else 0
        climbed, fell = climbed | new_up, fell | new_down
        to_climb, to_fall = to_climb | new_up, to_fall | new_down
    return (climbed | fell) & ~given


def separating_sets(parents: Sequence[int], x: int, y: int, candidates: Sequence[int]) -> int:
    """Returns which subsets of the candidates d-separate `x` from `y`, all subsets in one pass.

    Args:
        parents: The graph: for every node the set of its parents.
        x: First set of nodes.
        y: Second set of nodes.
        candidates: Nodes outside `x` and `y` that may be given.

    Returns:
        A column over the candidates: bit i is set if the candidates that are bits of i separate x from y.
    """
    size, count = len(parents), len(candidates)
    always = everywhere(count)
    children = children_of(parents)
    given = [0] * size
    for index, node in enumerate(candidates):
        given[node] = switch(index, count)
    passes = [always & ~column for column in given]
    opened = given.copy()
    for node in reversed(range(size)):
        for child in bits(children[node]):
            opened[node] |= opened[child]
    climbed = [always if x >> node & 1 else 0 for node in range(size)]
    fell = [0] * size
    changed = True
    while changed:
        before = climbed.copy(), fell.copy()
        for node in reversed(range(size)):
            for child in bits(children[node]):
                climbed[node] |= climbed[child] & passes[child] | fell[child] & opened[child]
        for node in range(size):
            for parent in bits(parents[node]):
                fell[node] |= (climbed[parent] | fell[parent]) & passes[parent]
        changed = before != (climbed, fell)
    reached = 0
    for node in bits(y):
        reached |= climbed[node] | fell[node]
    return always & ~reached
