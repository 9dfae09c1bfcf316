"""Answers as text: writing the right one, and reading a model's.

A reply may reason first; its last block of `ANSWER:` lines counts. Nothing that stands in the block is skipped: a line
that cannot be read makes the answer unparsable, so that nonsense is never taken for "none".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from intarsia.audit.causal.adjustment import Adjustment
from intarsia.audit.causal.bitsets import bits
from intarsia.audit.causal.models import DOES_NOT_HAPPEN, HAPPENS, UNDETERMINED
from intarsia.audit.causal.problems import AdjustmentKey, PathKey, Problem, StateKey
from intarsia.errors import InputError

NONE = "none"
_MARK = re.compile(r"^(?:\d+[.)])?[\W_]*(?:final )?answers?[\W_]*?[:：]", re.IGNORECASE)
_ARROW = re.compile(r"\s*(?:[-–—=~]+>|→|⇒|➔|⟶|\$?\\(?:(?:long)?rightarrow|to)\b\$?)\s*", re.IGNORECASE)
_BACKWARD_ARROW = re.compile(r"<[-–—=]|←|⇐")
_EMPTY_BRACKETS = re.compile(r"[\s*`]*(?:\{\s*\}|\[\s*\]|\(\s*\)|∅)[\s*`.]*")
_NUMBERING = re.compile(r"^(?:[-*•+]\s+|\(?\d{1,3}[.)]\s+)")
_DECORATION = " \t`*$\"'“”‘’{}()[].,;"
_NOTHING = frozenset(
    {"none", "no path", "no paths", "no causal path", "no causal paths", "empty set", "the empty set", "empty"}
    | {"no factor", "no factors", "nothing", "no adjustment", "no adjustment needed", "no adjustment is needed"}
)
_MOST_WORDS = 8
"""A longer piece between commas is a sentence, not a name."""
_LEADING = re.compile(r"^(?:the |factors? |events? |set )+", re.IGNORECASE)
_STATE_PATTERNS = (
    (
        UNDETERMINED,
        re.compile(r"(?:can ?not|can['’]t|could not) be (?:determined|known|told)|undetermined|unknown", re.I),
    ),
    (
        DOES_NOT_HAPPEN,
        re.compile(
            r"(?:(?:does|did|do|will|would|has|had|is|was)(?: then)?(?: not|n['’]t)|never|not)(?: have)?"
            r" (?:happen(?:s|ed|ing)?|occur(?:s|red|ring)?)|(?:does|would|did)(?: not|n['’]t)|no|false",
            re.I,
        ),
    ),
    (
        HAPPENS,
        re.compile(
            r"(?:would |will |does |did |has |had )?(?:then )?(?:have )?(?:happen(?:s|ed)?|occur(?:s|red)?)|yes|true",
            re.I,
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reply says.

    Args:
        paths: The paths of a CP answer.
        chosen: The set of a BA answer.
        states: The state of every event a FI or CI answer judges.
        unknown: Names that no node carries.
        problem: Why the answer cannot be used as it is, or None.
    """

    paths: frozenset[tuple[int, ...]] = frozenset()
    chosen: int = 0
    states: tuple[tuple[int, str], ...] = ()
    unknown: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def is_parsed(self) -> bool:
        """Whether everything in the answer could be read; unknown names are read as such."""
        return self.problem is None


def canonical_answer(problem: Problem, labels: Sequence[str]) -> str:
    """Returns a right answer in the form the prompts ask for.

    Args:
        problem: A problem with its key.
        labels: Names of the nodes: factors for CP and BA, events for FI and CI.
    """
    match problem.key:
        case PathKey(paths=paths):
            return path_answer([[labels[node] for node in path] for path in paths])
        case AdjustmentKey(treatments, outcomes, minimal_sets):
            if minimal_sets:  # the empty set is a set too; no set at all is an error below
                return set_answer([labels[node] for node in minimal_sets[0]])
            right = Adjustment(problem.graph, treatments, outcomes).right_set
            if right is None:
                raise InputError("no set of factors gives this effect, so the question has no answer")
            return set_answer([labels[node] for node in bits(right)])
        case StateKey(query=query, states=states):
            return state_answer({labels[node]: state for node, state in zip(query, states, strict=True)})
        case None:
            raise InputError(f"this {problem.task} question has no answer key")


def path_answer(paths: Sequence[Sequence[str]]) -> str:
    """Writes a CP answer."""
    return "\n".join(f"ANSWER: {' -> '.join(path)}" for path in paths) if paths else f"ANSWER: {NONE}"


def set_answer(factors: Sequence[str]) -> str:
    """Writes a BA answer."""
    return f"ANSWER: {', '.join(factors) if factors else NONE}"


def state_answer(states: Mapping[str, str]) -> str:
    """Writes a FI or CI answer."""
    return "\n".join(f"ANSWER: {event}: {state}" for event, state in states.items())


def parse_answer(task: str, reply: str, labels: Sequence[str]) -> Answer:
    """Reads the answer of a reply.

    Args:
        task: CP, BA, FI or CI.
        reply: All the model said.
        labels: Names of the nodes.
    """
    nodes = _numbers(tuple(labels))
    readers = {"CP": _read_paths, "BA": _read_set, "FI": _read_states, "CI": _read_states}
    read = readers[task]
    lines = _answer_block(reply, lambda line: _could_be_answer(task, line, nodes))
    if lines is not None:
        return read(lines, nodes) if lines else Answer(problem="the answer is empty")
    # Without any mark a reply still counts if it is an answer and nothing else.
    bare = read([line for line in map(str.strip, reply.splitlines()) if line], nodes)
    if not reply.strip() or not bare.is_parsed or bare.unknown:
        return Answer(problem="there is no line that begins with ANSWER:")
    return bare


def _answer_block(reply: str, could_be_answer: Callable[[str], bool]) -> list[str] | None:
    """Returns the lines of the last block that begins with a mark, without marks; None if there is no mark."""
    blocks: list[list[str]] = []
    is_open = False
    for line in reply.splitlines():
        marked = _MARK.match(line.strip())
        text = line.strip()[marked.end() :] if marked else line
        text = NONE if _EMPTY_BRACKETS.fullmatch(text) else text
        if marked and not is_open:
            blocks.append([])
        # Text after the answer ends the block; what looks like an answer belongs to it, readable or not.
        is_open = bool(marked) or (is_open and (not _clean(text) or could_be_answer(text)))
        if is_open and _clean(text):
            blocks[-1].append(text)
    return blocks[-1] if blocks else None


def _could_be_answer(task: str, line: str, nodes: Mapping[str, int]) -> bool:
    if task == "CP" and (_ARROW.search(line) or _BACKWARD_ARROW.search(line)):
        return True
    if task == "BA":
        return all(_fold(part) in nodes for part in _split(_clean(line))) or _fold(_clean(line)) in _NOTHING
    if task in ("FI", "CI") and all(_split_state(part, nodes) for part in _state_parts(line, nodes)):
        return True
    return _fold(_clean(line)) in _NOTHING


def _read_paths(lines: Sequence[str], nodes: Mapping[str, int]) -> Answer:
    parts = [part for line in lines for part in re.split(r"[;,]", _clean(line)) if part.strip()]
    if any(_fold(_clean(part)) in _NOTHING for part in parts):
        return Answer() if len(parts) == 1 else Answer(problem="the answer says none and lists paths")
    paths: set[tuple[int, ...]] = set()
    unknown: list[str] = []
    for part in parts:
        if _BACKWARD_ARROW.search(part) or not _ARROW.search(part):
            return Answer(problem=f"not a path: {part.strip()!r}")
        names = [_fold(_clean(name)) for name in _ARROW.split(_clean(part))]
        if not all(names):
            return Answer(problem=f"not a path: {part.strip()!r}")
        unknown += [name for name in names if name not in nodes]
        # A path through an unknown name is a wrong path, not a missing one; no node has the number -1.
        paths.add(tuple(nodes.get(name, -1) for name in names))
    return Answer(paths=frozenset(paths), unknown=tuple(dict.fromkeys(unknown)))


def _read_set(lines: Sequence[str], nodes: Mapping[str, int]) -> Answer:
    cleaned = [_clean(line) for line in lines]
    if any(_fold(line) in _NOTHING for line in cleaned):
        return Answer() if len(cleaned) == 1 else Answer(problem="the answer says none and lists factors")
    if len(cleaned) > 1 and any(len(_split(line)) > 1 for line in cleaned):
        return Answer(problem="the answer gives more than one set")
    names = [name for line in cleaned for name in _split(line)]
    if any(_ARROW.search(name) or len(name.split()) > _MOST_WORDS for name in names):
        return Answer(problem=f"not a list of factors: {cleaned[0]!r}")
    chosen, unknown = 0, []
    for name in names:
        if name in nodes:
            chosen |= 1 << nodes[name]
        else:
            unknown.append(name)
    return Answer(chosen=chosen, unknown=tuple(dict.fromkeys(unknown)))


def _read_states(lines: Sequence[str], nodes: Mapping[str, int]) -> Answer:
    states: dict[int, str] = {}
    unknown: list[str] = []
    for line in lines:
        for part in _state_parts(line, nodes):
            found = _split_state(part, nodes)
            if found is None:
                return Answer(problem=f"not an event and its state: {part!r}")
            name, state = found
            if name not in nodes:
                unknown.append(name)
            elif states.setdefault(nodes[name], state) != state:
                return Answer(problem=f"{name!r} is given two states")
    return Answer(states=tuple(states.items()), unknown=tuple(dict.fromkeys(unknown)))


def _state_parts(line: str, nodes: Mapping[str, int]) -> list[str]:
    """Splits a line into its statements about single events."""
    whole = _clean(line)
    return [whole] if _split_state(whole, nodes) else [_clean(part) for part in re.split(r"[;,]| and ", whole)]


def _split_state(text: str, nodes: Mapping[str, int]) -> tuple[str, str] | None:
    """Splits "event: state" or "event state"; the event may be unknown only where a colon separates it."""
    name, colon, rest = text.rpartition(":")
    if colon:
        state = _state(_clean(rest))
        return (_fold(_clean(name)), state) if state and name.strip() and ":" not in name else None
    words = text.split()
    for cut in range(len(words) - 1, 0, -1):
        name = _fold(_clean(" ".join(words[:cut])))
        if name in nodes:
            state = _state(_clean(" ".join(words[cut:])))
            return (name, state) if state else None
    return None


def _state(text: str) -> str | None:
    return next((state for state, pattern in _STATE_PATTERNS if pattern.fullmatch(text)), None)


def _split(text: str) -> list[str]:
    """Splits a list of names at commas, semicolons and the word "and"."""
    return [_fold(_clean(part)) for part in re.split(r"[,;]|\s+and\s+|\s+&\s+", text) if _clean(part)]


def _clean(text: str) -> str:
    """Drops numbering, quotes, emphasis and brackets around a text."""
    return _NUMBERING.sub("", text.strip()).strip(_DECORATION)


def _fold(name: str) -> str:
    return " ".join(_LEADING.sub("", name.replace("_", " ")).casefold().split())


@lru_cache(maxsize=256)
def _numbers(labels: tuple[str, ...]) -> Mapping[str, int]:
    return {_fold(label): node for node, label in enumerate(labels)}
