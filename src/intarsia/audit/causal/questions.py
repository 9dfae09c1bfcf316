"""Questions: a problem in words with everything needed to score a reply, and the JSON record it is stored as."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from intarsia.audit.causal.adjustment import Adjustment
from intarsia.audit.causal.bitsets import bits, mask_of
from intarsia.audit.causal.config import TASKS
from intarsia.audit.causal.graphs import CausalGraph, count_motifs
from intarsia.audit.causal.models import BooleanModel
from intarsia.audit.causal.paths import count_causal_paths, longest_path
from intarsia.audit.causal.problems import AdjustmentKey, Assignment, Key, PathKey, Problem, StateKey
from intarsia.errors import DataError


@dataclass(frozen=True, slots=True)
class Complexity:
    """How hard a question may be.

    Args:
        nodes: Nodes of the graph.
        edges: Its edges.
        mean_in_degree: Edges per node.
        chains: Triples a -> b -> c.
        forks: Triples a <- b -> c.
        colliders: Triples a -> b <- c.
        longest_path: Edges of the longest directed path.
        causal_paths: Directed paths from treatments to outcomes; absent where the graph has none of these.
        valid_sets: Number of valid adjustment sets; absent where they were not counted.
        smallest_set: Size of the smallest of them.
        steps: Events to evaluate; FI and CI only.
    """

    nodes: int
    edges: int
    mean_in_degree: float
    chains: int
    forks: int
    colliders: int
    longest_path: int
    causal_paths: int | None = None
    valid_sets: int | None = None
    smallest_set: int | None = None
    steps: int | None = None


def complexity(graph: CausalGraph, adjustment: Adjustment | None, *, minimal_sets: bool = True) -> Complexity:
    """Measures a graph, and what its treatments and outcomes make of it."""
    motifs = count_motifs(graph)
    counts: dict[str, Any] = {}
    if adjustment is not None:
        counts["causal_paths"] = count_causal_paths(graph, adjustment.treatments, adjustment.outcomes)
        if minimal_sets:
            counts["valid_sets"] = adjustment.valid_sets.count
            counts["smallest_set"] = min(map(len, adjustment.valid_sets.minimal), default=None)
    return Complexity(
        nodes=graph.size,
        edges=len(graph.edges),
        mean_in_degree=round(len(graph.edges) / graph.size, 4),
        chains=motifs.chains,
        forks=motifs.forks,
        colliders=motifs.colliders,
        longest_path=longest_path(graph),
        **counts,
    )


@dataclass(frozen=True, slots=True)
class Question:
    """A question of the benchmark.

    Args:
        id: Unique in its data set.
        pair_id: The same for one problem in different name styles.
        graph_id: The graph it is about.
        names: Name style.
        prompt_style: Prompt style.
        group: Shape group, or `"user"`.
        level: Nodes in every tier; 0 for a graph of the user's.
        path_iters: Passes of the generator; 0 for a graph of the user's.
        prompt: What the model is asked.
        answer: A right answer, as the prompt wants it written.
        labels: Name of every node, as the prompt calls it.
        problem: Task, graph, key.
        complexity: Its measures.
    """

    id: str
    pair_id: str
    graph_id: str
    names: str
    prompt_style: str
    group: str
    level: int
    path_iters: int
    prompt: str
    answer: str
    labels: tuple[str, ...]
    problem: Problem
    complexity: Complexity

    @property
    def task(self) -> str:
        """CP, BA, FI or CI."""
        return self.problem.task

    @property
    def what_ifs(self) -> int:
        """How many events a CI question supposes otherwise; 0 for the other tasks."""
        key = self.problem.key
        return len(key.assigned) if isinstance(key, StateKey) else 0


_PLAIN = ("id", "pair_id", "graph_id", "names", "prompt_style", "group", "level", "path_iters", "prompt", "answer")
_KEYS = (
    *("treatments", "outcomes", "paths", "minimal_sets", "terms"),
    *("observed", "assigned", "query", "states", "factual"),
)


def to_record(question: Question) -> dict[str, Any]:
    """Returns the JSON record of a question: every question has the same fields, empty where they do not apply."""
    graph, key = question.problem.graph, question.problem.key
    parts: dict[str, Any] = dict.fromkeys(_KEYS)
    match key:
        case PathKey(treatments, outcomes, paths):
            parts |= {"treatments": list(bits(treatments)), "outcomes": list(bits(outcomes)), "paths": _lists(paths)}
        case AdjustmentKey(treatments, outcomes, minimal_sets):
            parts |= {"treatments": list(bits(treatments)), "outcomes": list(bits(outcomes))}
            parts["minimal_sets"] = None if minimal_sets is None else _lists(minimal_sets)
        case StateKey():
            parts |= {
                # Numbers throughout: a column of truth values and numbers has no type in Arrow.
                "terms": [[[[node, int(not_)] for node, not_ in term] for term in terms] for terms in key.model.terms],
                "observed": [[node, int(state)] for node, state in key.observed],
                "assigned": [[node, int(state)] for node, state in key.assigned],
                "query": list(key.query),
                "states": list(key.states),
                "factual": list(key.factual),
            }
    return {
        **{name: getattr(question, name) for name in _PLAIN},
        "task": question.task,
        "evidence": question.problem.evidence,
        "what_ifs": question.what_ifs,
        "labels": list(question.labels),
        "edges": _lists(graph.edges),
        "tiers": _lists(graph.tiers),
        **parts,
        "complexity": asdict(question.complexity),
    }


def from_record(record: Mapping[str, Any], *, file: str | None = None, line: int | None = None) -> Question:
    """Reads the JSON record of a question. A record without its key can be asked but not scored.

    Args:
        record: What `to_record` returned, perhaps without the fields of the answer.
        file: Where it comes from, for the message.
        line: Its line, counted from 1.

    Raises:
        DataError: If a field is missing or its value impossible.
    """
    try:
        if record["task"] not in TASKS:
            raise DataError(f"unknown task {record['task']!r}", file=file, line=line, field="task")
        labels = tuple(record["labels"])
        graph = CausalGraph.from_edges(len(labels), record["edges"], record["tiers"])
        problem = Problem(record["task"], graph, _key(record), record["evidence"])
        measures = {item.name: record["complexity"].get(item.name) for item in fields(Complexity)}
        plain = {name: record[name] for name in _PLAIN if name != "answer"}
        answer = record.get("answer") or ""
        return Question(**plain, answer=answer, labels=labels, problem=problem, complexity=Complexity(**measures))
    except KeyError as error:
        raise DataError(
            f"the question has no field {error.args[0]!r}", file=file, line=line, fix="generate the data set anew"
        ) from None
    except (TypeError, IndexError, ValueError, AttributeError) as error:
        raise DataError(f"not a question: {error}", file=file, line=line, fix="generate the data set anew") from None


def _key(record: Mapping[str, Any]) -> Key | None:
    needed = {"CP": ("treatments", "outcomes", "paths"), "BA": ("treatments", "outcomes")}.get(
        record["task"], ("terms", "observed", "assigned", "query", "states")
    )
    if any(record.get(name) is None for name in needed):
        return None
    if record["task"] == "CP":
        return PathKey(mask_of(record["treatments"]), mask_of(record["outcomes"]), _tuples(record["paths"]))
    if record["task"] == "BA":
        listed = record.get("minimal_sets")
        minimal_sets = None if listed is None else _tuples(listed)
        return AdjustmentKey(mask_of(record["treatments"]), mask_of(record["outcomes"]), minimal_sets)
    terms = tuple(
        tuple(tuple((node, bool(negated)) for node, negated in term) for term in node_terms)
        for node_terms in record["terms"]
    )
    return StateKey(
        BooleanModel(terms),
        _assignment(record["observed"]),
        _assignment(record["assigned"]),
        tuple(record["query"]),
        tuple(record["states"]),
        tuple(record.get("factual") or ()),
    )


def _assignment(pairs: Iterable[Iterable[int]]) -> Assignment:
    return tuple((node, bool(state)) for node, state in pairs)


def _lists(rows: Iterable[Iterable[int]]) -> list[list[int]]:
    return [list(row) for row in rows]


def _tuples(rows: Iterable[Iterable[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in rows)
