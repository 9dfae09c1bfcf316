"""Graphs of the user's own, read from a file or made from names, and checked."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from intarsia.audit.causal.adjustment import Adjustment
from intarsia.audit.causal.bitsets import mask_of
from intarsia.audit.causal.building import Subject
from intarsia.audit.causal.graphs import CausalGraph
from intarsia.audit.causal.names import Names, check_name
from intarsia.errors import DataError, UnknownNameError

_FORM = 'write {"edges": [["rain", "wet grass"], ...], "treatments": ["rain"], "outcomes": ["wet grass"]}'
_FIELDS = {"id", "nodes", "edges", "treatments", "outcomes", "query", "field"}


def read_graphs(path: str | Path) -> list[Subject]:
    """Reads graphs from a JSON file (one graph, or a list) or a JSONL file (one a line).

    A graph has `edges` (pairs of names, cause first) and may have `id`, `nodes` (names, for those without edges),
    `treatments` and `outcomes` (needed for CP and BA), `query` (events FI and CI ask about; by default the effects that
    are no causes) and `field` (what the study is said to be of).

    Raises:
        DataError: If the file is not of this form, a graph has a cycle, an edge twice or an unknown node, treatments
            and outcomes overlap, or two graphs have one id.
    """
    subjects: list[Subject] = []
    for line, content in _contents(Path(path)):
        try:
            subjects.append(user_graph(content, name=f"user-{len(subjects):04d}"))
        except DataError as error:
            place = f", {error.where}" if error.where else ""
            raise DataError(error.what, file=f"{path}{place}", line=line, fix=error.fix) from None
    names = [subject.id for subject in subjects]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise DataError(f"two graphs have the id {twice!r}", file=path, fix="give every graph an id of its own")
    return subjects


def _contents(path: Path) -> Iterator[tuple[int | None, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError("there is no such file of graphs", file=path) from None
    is_lines = path.suffix == ".jsonl"
    numbered = enumerate(text.splitlines(), 1) if is_lines else [(1, text)]
    for line, part in numbered:
        if not part.strip():
            continue
        try:
            content = json.loads(part)
        except json.JSONDecodeError as error:
            at = line + error.lineno - 1
            raise DataError(f"not valid JSON: {error.msg}", file=path, line=at, fix=_FORM) from None
        if isinstance(content, list):
            yield from ((None, item) for item in content)
        else:
            yield (line if is_lines else None), content


def user_graph(content: Mapping[str, Any], *, name: str = "user") -> Subject:
    """Makes a graph that questions can be asked about.

    Args:
        content: The fields of a graph, as `read_graphs` has them.
        name: Its id, if `content` gives none.

    Raises:
        DataError: If something is wrong with it.
    """
    if not isinstance(content, Mapping) or "edges" not in content or not set(content) <= _FIELDS:
        raise DataError("not a graph: it needs edges", fix=_FORM)
    edges = _edges(content["edges"])
    names = _node_names(content.get("nodes", []), edges)
    order = _topological_order(names, edges)
    number = {node: place for place, node in enumerate(order)}
    graph = CausalGraph.from_edges(len(order), [(number[cause], number[effect]) for cause, effect in edges])
    query = tuple(sorted(_numbers(content.get("query", []), number, "query")))
    if not all(graph.parents[node] for node in query):
        raise DataError("an event of the query has no cause, so nothing follows for it", field="query")
    if "query" not in content:
        query = tuple(node for node in range(graph.size) if graph.parents[node] and not graph.children[node])
    return Subject(
        id=str(content.get("id", name)),
        graph=graph,
        effect=_effect(content, graph, number),
        query=query,
        group="user",
        own_names=Names(tuple(order), tuple(order), str(content.get("field", ""))),
    )


def _edges(given: Any) -> list[tuple[str, str]]:
    edges: list[tuple[str, str]] = []
    if not isinstance(given, list):
        raise DataError("edges are a list of pairs", field="edges", fix=_FORM)
    for edge in given:
        if not (isinstance(edge, list | tuple) and len(edge) == 2 and all(isinstance(end, str) for end in edge)):
            raise DataError(f"{edge!r} is not a pair of names", field="edges", fix=_FORM)
        cause, effect = edge
        if cause == effect:
            raise DataError(f"{cause!r} is its own cause", field="edges", fix="leave the edge out")
        if (cause, effect) in edges:
            raise DataError(f"the edge {cause!r} -> {effect!r} comes twice", field="edges", fix="keep one of them")
        edges.append((cause, effect))
    return edges


def _node_names(nodes: Any, edges: Sequence[tuple[str, str]]) -> list[str]:
    if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
        raise DataError("nodes are a list of names", field="nodes", fix=_FORM)
    if len(set(nodes)) < len(nodes):
        twice = next(node for place, node in enumerate(nodes) if node in nodes[:place])
        raise DataError(f"node {twice!r} comes twice", field="nodes", fix="name every node once")
    ends = list(dict.fromkeys(end for edge in edges for end in edge))
    unknown = [end for end in ends if nodes and end not in nodes]
    if unknown:
        raise DataError(f"an edge has the node {unknown[0]!r}, which is not among nodes", field="edges")
    if not ends and not nodes:
        raise DataError("the graph is empty", field="edges", fix=_FORM)
    for node in nodes or ends:
        check_name(node, "nodes")
    return list(nodes) or ends


def _topological_order(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[str]:
    """Returns causes before effects; among those that may come next, the first in the given order."""
    order: list[str] = []
    while len(order) < len(names):
        ready = [
            node
            for node in names
            if node not in order and all(cause in order for cause, effect in edges if effect == node)
        ]
        if not ready:
            raise DataError(
                f"the graph has a cycle: {' -> '.join(_cycle([n for n in names if n not in order], edges))}",
                field="edges",
                fix="leave out one of these edges",
            )
        order.append(ready[0])
    return order


def _cycle(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[str]:
    # Every node that is left has a cause that is left, so going upwards must come back to where it was.
    walk = [names[0]]
    while walk[-1] not in walk[:-1]:
        walk.append(next(cause for cause, effect in edges if effect == walk[-1] and cause in names))
    return walk[walk.index(walk[-1]) :][::-1]


def _effect(content: Mapping[str, Any], graph: CausalGraph, number: Mapping[str, int]) -> Adjustment | None:
    treatments = _numbers(content.get("treatments", []), number, "treatments")
    outcomes = _numbers(content.get("outcomes", []), number, "outcomes")
    if not treatments and not outcomes:
        return None
    if not treatments or not outcomes:
        raise DataError("a graph needs both treatments and outcomes, or neither", field="treatments", fix=_FORM)
    names = {place: node for node, place in number.items()}
    both = [names[node] for node in treatments if node in outcomes]
    if both:
        raise DataError(
            f"treatments and outcomes overlap in {both[0]!r}",
            field="outcomes",
            fix="give every node one of the two roles",
        )
    effect = Adjustment(graph, mask_of(treatments), mask_of(outcomes))
    if effect.right_set is None:
        raise DataError(
            "no set of factors gives the effect of the treatments on the outcomes by adjustment",
            field="treatments",
            fix="choose outcomes that are no causes of the treatments, or fewer treatments",
        )
    return effect


def _numbers(given: Any, number: Mapping[str, int], field: str) -> list[int]:
    if not isinstance(given, list):
        raise DataError(f"{field} is a list of names", field=field, fix=_FORM)
    for node in given:
        if node not in number:
            raise UnknownNameError("node", str(node), number, where=field)
    return [number[node] for node in given]
