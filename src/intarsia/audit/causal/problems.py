"""A problem: a task on a graph with its answer key, before it has any words.

The key of an adjustment problem is the graph itself, because there are many right answers; it is judged by the
criterion.
"""

from dataclasses import dataclass

from intarsia.audit.causal.adjustment import Adjustment
from intarsia.audit.causal.bitsets import bits
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.graphs import CausalGraph, union
from intarsia.audit.causal.models import MAX_HIDDEN, BooleanModel, abduce, derivation_steps, evaluate
from intarsia.audit.causal.paths import Path, causal_paths
from intarsia.audit.causal.streams import Stream
from intarsia.errors import InputError

Assignment = tuple[tuple[int, bool], ...]
"""Events and their states, by number."""


@dataclass(frozen=True, slots=True)
class PathKey:
    """Answer key of CP.

    Args:
        treatments: Set of causes.
        outcomes: Set of effects.
        paths: Every directed path from a cause to an effect.
    """

    treatments: int
    outcomes: int
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class AdjustmentKey:
    """Answer key of BA; whether a set is right follows from the graph.

    Args:
        treatments: Set of causes.
        outcomes: Set of effects.
        minimal_sets: The minimal valid sets, or None if they were not asked for.
    """

    treatments: int
    outcomes: int
    minimal_sets: tuple[tuple[int, ...], ...] | None


@dataclass(frozen=True, slots=True)
class StateKey:
    """Answer key of FI and CI.

    Args:
        model: The structural model.
        observed: What is told about the facts.
        assigned: What is supposed to be otherwise; empty for FI.
        query: The events asked about.
        states: Their states.
        factual: Their factual states, which copying the facts would answer; absent in FI.
    """

    model: BooleanModel
    observed: Assignment
    assigned: Assignment
    query: tuple[int, ...]
    states: tuple[str, ...]
    factual: tuple[str, ...] = ()


Key = PathKey | AdjustmentKey | StateKey


@dataclass(frozen=True, slots=True)
class Problem:
    """A question without words.

    Args:
        task: CP, BA, FI or CI.
        graph: The causal graph.
        key: The answer key, or None where it was withheld.
        evidence: `"full"` or `"partial"`.
    """

    task: str
    graph: CausalGraph
    key: Key | None
    evidence: str = "full"


def path_problem(graph: CausalGraph, treatments: int, outcomes: int) -> Problem:
    """Asks for all causal paths."""
    return Problem("CP", graph, PathKey(treatments, outcomes, causal_paths(graph, treatments, outcomes)))


def adjustment_problem(adjustment: Adjustment, *, minimal_sets: bool = True) -> Problem:
    """Asks for a valid adjustment set."""
    listed = adjustment.valid_sets.minimal if minimal_sets else None
    return Problem("BA", adjustment.graph, AdjustmentKey(adjustment.treatments, adjustment.outcomes, listed))


def state_problem(
    graph: CausalGraph,
    model: BooleanModel,
    observed: Assignment,
    assigned: Assignment,
    query: tuple[int, ...],
    *,
    evidence: str = "full",
) -> Problem:
    """Asks whether events happen, or would happen if others were as assigned.

    Raises:
        InputError: If the evidence leaves too many roots open, or fits no world.
    """
    states = abduce(model, dict(observed), dict(assigned), query)
    factual = abduce(model, dict(observed), {}, query) if assigned else ()
    key = StateKey(model, observed, assigned, query, states, factual)
    return Problem("CI" if assigned else "FI", graph, key, evidence)


def steps(problem: Problem) -> int | None:
    """Returns the derivation steps of a FI or CI problem; None for the others."""
    key = problem.key
    return derivation_steps(key.model, key.query, dict(key.assigned)) if isinstance(key, StateKey) else None


@dataclass(frozen=True, slots=True)
class World:
    """What happens in fact.

    Args:
        model: The structural model.
        roots: The state of every root.
        values: The state of every event.
    """

    model: BooleanModel
    roots: Assignment
    values: tuple[bool, ...]


def draw_world(model: BooleanModel, root_states: str, stream: Stream) -> World:
    """Draws the states of the roots (all true, or fair coins) and works out everything else."""
    roots = tuple((root, root_states == "true" or stream.below(2) == 1) for root in model.roots)
    values = evaluate(model, {root: int(state) for root, state in roots})
    return World(model, roots, tuple(map(bool, values)))


def draw_what_ifs(
    world: World, query: tuple[int, ...], count: int, stream: Stream, *, clip: bool = False
) -> Assignment:
    """Draws events outside the query that are to be otherwise than in fact.

    Raises:
        InputError: If there are fewer than `count`, unless `clip` takes all there are.
    """
    candidates = [node for node in range(len(world.values)) if node not in query]
    if count > len(candidates) and not clip:
        raise InputError(
            f"{count} what-ifs are asked for, but only {len(candidates)} events can be changed",
            fix="ask for fewer, or let questions be clipped",
        )
    drawn = stream.sample(candidates, min(count, len(candidates)))
    return tuple((node, not world.values[node]) for node in sorted(drawn))


def draw_evidence(world: World, graph: CausalGraph, hidden_from: tuple[int, ...], stream: Stream) -> Assignment:
    """Draws partial evidence: hides about half of the roots, at least one that matters, and shows some other events.

    Args:
        world: What happens in fact.
        graph: The graph of the model.
        hidden_from: Events that are never shown.
        stream: Where the random numbers come from.
    """
    used = [root for root, _ in world.roots if graph.children[root]]
    hidden = [root for root in used if stream.below(2)][:MAX_HIDDEN] or [stream.choose(used)]
    shown = {root: state for root, state in world.roots if root not in hidden}
    informative = list(bits(union(graph.descendants, sum(1 << root for root in hidden)) & ~graph.roots))
    for node in informative:
        if node not in hidden_from and stream.below(3) == 0:
            shown[node] = world.values[node]
    return tuple(sorted(shown.items()))


def draw_state_problem(
    graph: CausalGraph,
    world: World,
    query: tuple[int, ...],
    what_ifs: int,
    config: BenchmarkConfig,
    stream: Stream,
) -> Problem:
    """Draws a FI problem (`what_ifs` 0) or a CI problem on a world."""
    assigned = draw_what_ifs(world, query, what_ifs, stream, clip=config.clip) if what_ifs else ()
    observed = world.roots
    if config.evidence == "partial":
        # What is asked for is never shown; in a counterfactual question, the facts about it may be.
        observed = draw_evidence(world, graph, () if assigned else query, stream)
    return state_problem(graph, world.model, observed, assigned, query, evidence=config.evidence)
