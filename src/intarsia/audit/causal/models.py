"""Boolean structural causal models: drawing, evaluating, intervening, and abduction from partial evidence.

Every event with parents has terms: it happens if all literals of at least one term hold. Values are columns (see
`bitsets`), so the same few lines evaluate one world, all worlds that fit some evidence, or many noisy copies of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from intarsia.audit.causal.bitsets import bits, everywhere, mask_of, switch
from intarsia.audit.causal.graphs import CausalGraph
from intarsia.audit.causal.streams import Stream
from intarsia.errors import InputError

Literal = tuple[int, bool]
"""A parent, and whether it is negated."""
Term = tuple[Literal, ...]

HAPPENS, DOES_NOT_HAPPEN, UNDETERMINED = "happens", "does not happen", "cannot be determined"
STATES = (HAPPENS, DOES_NOT_HAPPEN, UNDETERMINED)

MAX_HIDDEN = 12
"""Most unknown root events of a question with partial evidence: 2^12 worlds."""


@dataclass(frozen=True)
class BooleanModel:
    """A structural model over events in topological order.

    Args:
        terms: For every event its terms; a root has none.
    """

    terms: tuple[tuple[Term, ...], ...]

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """For every event the set of events its terms name."""
        return tuple(mask_of(parent for term in terms for parent, _ in term) for terms in self.terms)

    @cached_property
    def roots(self) -> tuple[int, ...]:
        """The events without terms."""
        return tuple(node for node, terms in enumerate(self.terms) if not terms)


def draw_model(graph: CausalGraph, stream: Stream) -> BooleanModel:
    """Draws a model on a graph: fair coins for each negation and each connective; AND binds tighter than OR."""
    return BooleanModel(tuple(_draw_terms(list(bits(parents)), stream) for parents in graph.parents))


def _draw_terms(parents: Sequence[int], stream: Stream) -> tuple[Term, ...]:
    terms: list[list[Literal]] = []
    for place, parent in enumerate(parents):
        literal = (parent, stream.below(2) == 1)
        if place and stream.below(2):
            terms[-1].append(literal)  # AND: the term goes on
        else:
            terms.append([literal])
    return tuple(map(tuple, terms))


def evaluate(
    model: BooleanModel,
    roots: Mapping[int, int],
    assigned: Mapping[int, int] | None = None,
    *,
    always: int = 1,
    noise: Sequence[int] | None = None,
) -> list[int]:
    """Returns the value of every event.

    Args:
        model: The model.
        roots: Column of every root.
        assigned: Columns of events set from outside (`do`); their terms are not looked at.
        always: The column that is true everywhere: 1 for a single world.
        noise: For every event a column that is true where evaluating it goes wrong.
    """
    do = assigned or {}
    values: list[int] = []
    for node, terms in enumerate(model.terms):
        if node in do:
            values.append(do[node])
        elif not terms:
            values.append(roots[node])
        else:
            value = 0
            for term in terms:
                holds = always
                for parent, negated in term:
                    holds &= ~values[parent] if negated else values[parent]
                value |= holds
            values.append(value ^ noise[node] if noise is not None else value)
    return values


def abduce(
    model: BooleanModel, evidence: Mapping[int, int], assigned: Mapping[int, int], query: Sequence[int]
) -> tuple[str, ...]:
    """Answers a counterfactual: keeps the worlds that fit the evidence, changes them, and reads off the query.

    Args:
        model: The model.
        evidence: The known factual values (0 or 1), of roots or of any other events.
        assigned: What is set differently; empty for a question about the facts.
        query: The events asked about.

    Returns:
        One of `STATES` for every event of the query.

    Raises:
        InputError: If more than `MAX_HIDDEN` roots that matter are unknown, or no world fits the evidence.
    """
    used = 0
    for mask in model.parents:
        used |= mask
    # An unknown root that nothing depends on and nobody asks about may have any value.
    relevant = used | mask_of(query)
    hidden = [root for root in model.roots if root not in evidence and relevant >> root & 1]
    if len(hidden) > MAX_HIDDEN:
        raise InputError(
            f"{len(hidden)} root events are unknown, and the worlds of at most {MAX_HIDDEN} are enumerated",
            fix="state more root events in the evidence",
        )
    always = everywhere(len(hidden))
    roots = {root: always if evidence.get(root) else 0 for root in model.roots}
    roots |= {root: switch(index, len(hidden)) for index, root in enumerate(hidden)}
    facts = evaluate(model, roots, always=always)
    fitting = always
    for node, value in evidence.items():
        fitting &= facts[node] if value else ~facts[node]
    if not fitting:
        raise InputError("no world fits the evidence", fix="give evidence that the model can produce")
    changed = evaluate(model, roots, {node: always if value else 0 for node, value in assigned.items()}, always=always)
    return tuple(_state(changed[node] & fitting, fitting) for node in query)


def _state(true_worlds: int, worlds: int) -> str:
    if not true_worlds:
        return DOES_NOT_HAPPEN
    return HAPPENS if true_worlds == worlds else UNDETERMINED


def derivation_steps(model: BooleanModel, query: Sequence[int], assigned: Mapping[int, int] | None = None) -> int:
    """Returns how many events must be evaluated: those with terms, not assigned, that the query names or needs."""
    do = assigned or {}
    todo = seen = mask_of(query)
    steps = 0
    while todo:
        node = todo.bit_length() - 1
        todo ^= 1 << node
        if node not in do and model.terms[node]:
            steps += 1
            new = model.parents[node] & ~seen
            seen, todo = seen | new, todo | new
    return steps
