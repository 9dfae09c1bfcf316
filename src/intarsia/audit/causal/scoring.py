"""Scoring a reply against the answer key."""

from dataclasses import dataclass

from intarsia.audit.causal.adjustment import Adjustment
from intarsia.audit.causal.answers import Answer, parse_answer
from intarsia.audit.causal.problems import AdjustmentKey, PathKey, StateKey
from intarsia.audit.causal.questions import Question
from intarsia.audit.causal.released import released_accepts
from intarsia.errors import InputError, UnknownNameError

CRITERIA = ("adjustment", "backdoor", "released")
"""Rules for BA answers: the sound and complete one, Pearl's stricter one, the published code's faulty one."""

FAILURES = (
    *("unparsable", "unknown_name", "forbidden_node", "open_backdoor_path", "opened_collider"),
    *("wrong_paths", "wrong_state", "missing_state", "rejected"),
)
"""Why an answer is wrong. `rejected`: an invalid set by a rule that gives no reason."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a reply is worth.

    Args:
        exact: Whether it is right: all paths and no other; a valid set; every event asked about.
        parsed: Whether it could be read.
        failure: One of `FAILURES`, or None if it is right.
        precision: CP: share of the given paths that are right. Like the next two, it is 1 where nothing is right and
            nothing was given.
        recall: CP: share of the right paths that were given.
        f1: CP: their harmonic mean.
        nodes_right: FI and CI: share of the events asked about that are right.
        minimal: BA: whether no member of a valid set can be left out; absent for wrong answers.
        extra: FI and CI: events judged that were not asked about; they do not count.
        unknown: Names in the answer that no node carries.
    """

    exact: bool
    parsed: bool = True
    failure: str | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    nodes_right: float | None = None
    minimal: bool | None = None
    extra: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def score(question: Question, reply: str, *, criterion: str = "adjustment") -> Score:
    """Reads a reply and scores it.

    Args:
        question: The question, with its answer key.
        reply: All the model said.
        criterion: Rule for BA answers.

    Raises:
        InputError: If the question has no answer key.
        UnknownNameError: If the criterion is unknown.
    """
    return score_answer(question, parse_answer(question.task, reply, question.labels), criterion=criterion)


def score_answer(question: Question, answer: Answer, *, criterion: str = "adjustment") -> Score:
    """Scores an answer that has been read, by the rules of this package or by another extractor.

    Raises:
        InputError: If the question has no answer key.
        UnknownNameError: If the criterion is unknown.
    """
    if criterion not in CRITERIA:
        raise UnknownNameError("criterion", criterion, CRITERIA)
    match question.problem.key:
        case None:
            raise InputError(
                "the question has no answer key, so nothing can be scored",
                where=f"question {question.id}",
                fix="score with the file that was generated, not with one whose answers were taken out",
            )
        case PathKey() as key:
            return _score_paths(key, answer)
        case AdjustmentKey() as key:
            return _score_set(question, key, answer, criterion)
        case StateKey() as key:
            return _score_states(question, key, answer)


def _score_paths(key: PathKey, answer: Answer) -> Score:
    if not answer.is_parsed:
        return Score(False, False, "unparsable", 0.0, 0.0, 0.0)
    right, given = frozenset(key.paths), answer.paths
    hits = len(right & given)
    precision = hits / len(given) if given else float(not right)
    recall = hits / len(right) if right else float(not given)
    f1 = 2 * hits / (len(given) + len(right)) if given or right else 1.0
    failure = None if given == right else "unknown_name" if answer.unknown else "wrong_paths"
    return Score(failure is None, True, failure, precision, recall, f1, unknown=answer.unknown)


def _score_set(question: Question, key: AdjustmentKey, answer: Answer, criterion: str) -> Score:
    graph = question.problem.graph
    if criterion == "released":
        # The published code makes the empty set of everything it cannot read.
        chosen = answer.chosen if answer.is_parsed and not answer.unknown else 0
        accepted = released_accepts(graph, key.treatments, key.outcomes, chosen)
        return Score(accepted, answer.is_parsed, None if accepted else "rejected", unknown=answer.unknown)
    if not answer.is_parsed:
        return Score(False, False, "unparsable")
    if answer.unknown:
        return Score(False, True, "unknown_name", unknown=answer.unknown)
    adjustment = Adjustment(graph, key.treatments, key.outcomes)
    if criterion == "backdoor":
        accepted = adjustment.is_backdoor_set(answer.chosen)
        return Score(accepted, True, None if accepted else adjustment.failure(answer.chosen) or "rejected")
    failure = adjustment.failure(answer.chosen)
    return Score(failure is None, True, failure, minimal=None if failure else adjustment.is_minimal(answer.chosen))


def _score_states(question: Question, key: StateKey, answer: Answer) -> Score:
    if not answer.is_parsed:
        return Score(False, False, "unparsable", nodes_right=0.0)
    given = dict(answer.states)
    right = [given.get(node) == state for node, state in zip(key.query, key.states, strict=True)]
    extra = tuple(question.labels[node] for node in given if node not in key.query)
    failure = None
    if not all(right):
        failure = "missing_state" if any(node not in given for node in key.query) else "wrong_state"
    return Score(all(right), True, failure, nodes_right=sum(right) / len(right), extra=extra, unknown=answer.unknown)
