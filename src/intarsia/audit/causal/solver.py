"""An exact solver that reads a prompt as a model does, and nothing else.

It shares no code with the answer keys: it reads the sentences, follows the relations by name, adjusts for what comes
before the effect, and tries all worlds one by one. So a full score of it says that the prompts tell everything needed,
that the keys are right, and that the parsers read what the prompts ask for.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from intarsia.audit.causal.answers import path_answer, set_answer, state_answer
from intarsia.audit.causal.models import DOES_NOT_HAPPEN, HAPPENS, UNDETERMINED
from intarsia.audit.causal.prompts import NOW_YOURS
from intarsia.errors import InputError

_EFFECT = re.compile(r"(?<=\. )([^.]+?) has a causal effect on ([^.]+)\.")
_CONDITION = re.compile(r"(?<=\. )([^.]+?) happens if ([^.]+)\.")
_WANTED = re.compile(r"We want to know the effect of (.+?) on (.+?)\. (List|Give)")
_OBSERVED = re.compile(r"We observed that (.+?)\.")
_SUPPOSED = re.compile(r"Suppose that (.+?)\.")
_ASKED = re.compile(r"Tell of each of these events whether it [^:]+: (.+?)\.")

Links = Mapping[str, Sequence[str]]
"""Node -> the nodes it leads to."""
Conditions = Mapping[str, Sequence[Sequence[tuple[str, bool]]]]
"""Event -> its terms; a term is a list of events and whether they have to happen."""


def solve(prompt: str) -> str:
    """Returns the answer to the question of a prompt.

    Raises:
        InputError: If the text is no prompt of this benchmark.
    """
    text = prompt.rpartition(NOW_YOURS)[2]
    wanted = _WANTED.search(text)
    if wanted:
        effects = {cause: _names(children) for cause, children in _EFFECT.findall(text)}
        solve_effect = _paths if wanted[3] == "List" else _adjustment_set
        return solve_effect(effects, _names(wanted[1]), _names(wanted[2]))
    asked = _ASKED.search(text)
    if not asked:
        raise InputError("the prompt asks nothing known", fix="give a prompt of the causal benchmark")
    conditions: dict[str, list[list[tuple[str, bool]]]] = {}
    for event, term in _CONDITION.findall(text):
        conditions.setdefault(event, []).append([_literal(part) for part in term.split(" and ")])
    observed, supposed = _OBSERVED.search(text), _SUPPOSED.search(text)
    return _states(
        conditions,
        dict(_literal(part) for part in _names(observed[1])) if observed else {},
        dict(_literal(part) for part in _names(supposed[1])) if supposed else {},
        _names(asked[1]),
    )


def _names(text: str) -> list[str]:
    return re.split(r", | and ", text)


def _literal(text: str) -> tuple[str, bool]:
    """Splits "x does not happen", "x happened", "x had not happened" into the event and its state."""
    event = re.sub(r" (?:happens|does not happen|had happened|had not happened|happened|did not happen)$", "", text)
    return event, " not happen" not in text[len(event) :]


def _paths(effects: Links, causes: Sequence[str], outcomes: Sequence[str]) -> str:
    def from_node(node: str) -> Iterator[list[str]]:
        if node in outcomes:
            yield [node]
        for child in effects.get(node, ()):
            yield from ([node, *rest] for rest in from_node(child))

    return path_answer([path for cause in causes for path in from_node(cause)])


def _adjustment_set(effects: Links, causes: Sequence[str], outcomes: Sequence[str]) -> str:
    """Gives all ancestors of causes and outcomes but those after a cause on a causal path (Perkovic et al. 2018)."""
    reversed_links: dict[str, list[str]] = {}
    for node, children in effects.items():
        for child in children:
            reversed_links.setdefault(child, []).append(node)
    before = _reached(reversed_links, [*causes, *outcomes])
    between = _reached(effects, causes, causes) & _reached(reversed_links, outcomes, causes)
    after = _reached(effects, sorted(between - {*causes}))
    return set_answer(sorted(before - after - {*causes, *outcomes}))


def _reached(links: Links, starts: Sequence[str], closed: Sequence[str] = ()) -> set[str]:
    """Returns the nodes that links lead to, the starts included, without going on to closed nodes."""
    reached, todo = set(starts), list(starts)
    while todo:
        new = set(links.get(todo.pop(), ())) - reached - {*closed}
        reached |= new
        todo += new
    return reached


def _states(
    conditions: Conditions, observed: Mapping[str, bool], supposed: Mapping[str, bool], asked: Sequence[str]
) -> str:
    named = {event for terms in conditions.values() for term in terms for event, _ in term}
    hidden = sorted((named | set(asked)) - set(conditions) - set(observed))
    seen: dict[str, set[bool]] = {event: set() for event in asked}
    for states in product((False, True), repeat=len(hidden)):
        roots = {**observed, **dict(zip(hidden, states, strict=True))}
        facts = {event: _happens(event, conditions, roots, {}) for event in observed}
        if facts == observed:
            for event in asked:
                seen[event].add(_happens(event, conditions, roots, supposed))
    words = {frozenset({True}): HAPPENS, frozenset({False}): DOES_NOT_HAPPEN}
    return state_answer({event: words.get(frozenset(states), UNDETERMINED) for event, states in seen.items()})


def _happens(event: str, conditions: Conditions, roots: Mapping[str, bool], supposed: Mapping[str, bool]) -> bool:
    known = dict(supposed)

    def state(name: str) -> bool:
        if name not in known:
            if name in conditions:
                known[name] = any(all(state(part) is needed for part, needed in term) for term in conditions[name])
            else:
                known[name] = roots[name]
        return known[name]

    return state(event)
