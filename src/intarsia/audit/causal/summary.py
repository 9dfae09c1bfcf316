"""Tables of scores: by task and level, by complexity, by derivation steps, and between name styles."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from intarsia.audit.causal.questions import Complexity, Question
from intarsia.audit.causal.scoring import FAILURES, Score
from intarsia.errors import InputError, UnknownNameError
from intarsia.metrics.shares import PairedTest, Share, mcnemar, wilson

Scored = Sequence[tuple[Question, Score]]

GROUPINGS: Mapping[str, Callable[[Question], Any]] = {
    "task": lambda question: question.task,
    "level": lambda question: question.level,
    "group": lambda question: question.group,
    "names": lambda question: question.names,
    "prompt": lambda question: question.prompt_style,
    "evidence": lambda question: question.problem.evidence,
    "what_ifs": lambda question: question.what_ifs,
    "steps": lambda question: question.complexity.steps,
}
"""What scores can be grouped by."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The scores of one group.

    Args:
        group: What the group's questions have in common.
        accuracy: Share of exactly right answers with its interval.
        unparsable: Share of answers that could not be read.
        precision: CP: mean precision of paths.
        recall: CP: mean recall of paths.
        f1: CP: mean F1 of paths.
        nodes_right: FI and CI: mean share of the events asked about that are right.
        minimal: BA: share of the valid sets that are minimal.
        failures: Kind of failure -> how many answers.
    """

    group: Mapping[str, Any]
    accuracy: Share
    unparsable: float
    precision: float | None
    recall: float | None
    f1: float | None
    nodes_right: float | None
    minimal: float | None
    failures: Mapping[str, int]


def summarise(scored: Scored, by: Sequence[str] = ("task",)) -> list[Summary]:
    """Returns a summary for every group of questions, in order.

    Args:
        scored: Questions with their scores.
        by: Keys of `GROUPINGS`.

    Raises:
        UnknownNameError: If a grouping is unknown.
    """
    for name in by:
        if name not in GROUPINGS:
            raise UnknownNameError("grouping", name, GROUPINGS)
    groups: dict[tuple[Any, ...], list[Score]] = {}
    for question, score in scored:
        groups.setdefault(tuple(GROUPINGS[name](question) for name in by), []).append(score)
    # None stands for "does not apply" and comes first.
    ordered = sorted(groups, key=lambda key: [(part is not None, part) for part in key])
    return [_summary(dict(zip(by, key, strict=True)), groups[key]) for key in ordered]


def _summary(group: Mapping[str, Any], scores: Sequence[Score]) -> Summary:
    failures = [score.failure for score in scores]
    return Summary(
        group=group,
        accuracy=wilson(sum(score.exact for score in scores), len(scores)),
        unparsable=sum(not score.parsed for score in scores) / len(scores),
        precision=_mean(score.precision for score in scores),
        recall=_mean(score.recall for score in scores),
        f1=_mean(score.f1 for score in scores),
        nodes_right=_mean(score.nodes_right for score in scores),
        minimal=_mean(score.minimal for score in scores),
        failures={kind: failures.count(kind) for kind in FAILURES if kind in failures},
    )


def _mean(values: Iterable[float | None]) -> float | None:
    present = [float(value) for value in values if value is not None]
    return sum(present) / len(present) if present else None


def accuracy_by_complexity(scored: Scored, measure: str, bins: int = 4) -> list[tuple[tuple[float, float], Share]]:
    """Returns accuracy in bins of a complexity measure that hold about as many questions each.

    Args:
        scored: Questions with their scores.
        measure: A field of `Complexity`, e.g. `"steps"`; questions without it are left out.
        bins: At most so many bins. Questions of equal complexity share one.

    Returns:
        For every bin the least and the largest value in it, and the accuracy.

    Raises:
        UnknownNameError: If there is no such measure.
        InputError: If no question has it, or there are no bins.
    """
    known = [item.name for item in fields(Complexity)]
    if measure not in known:
        raise UnknownNameError("complexity measure", measure, known)
    found = [(getattr(question.complexity, measure), score.exact) for question, score in scored]
    measured = sorted((value, exact) for value, exact in found if value is not None)
    if not measured or bins < 1:
        raise InputError(f"no question has the measure {measure!r}, or there are no bins", where=f"{bins} bins")
    rows: list[list[tuple[float, bool]]] = []
    last = -1
    for place, (value, exact) in enumerate(measured):
        wanted = place * bins // len(measured)
        if wanted > last and (not rows or rows[-1][-1][0] != value):
            rows.append([])
            last = wanted
        rows[-1].append((value, exact))
    return [((row[0][0], row[-1][0]), wilson(sum(exact for _, exact in row), len(row))) for row in rows]


def compare_names(scored: Scored, first: str, second: str) -> dict[str, PairedTest]:
    """Tests whether one name style is answered better than another, problem by problem.

    Args:
        scored: Questions with their scores, in both styles.
        first: A name style.
        second: Another.

    Returns:
        Task -> McNemar's test, and `"all"` for all tasks together.

    Raises:
        InputError: If a problem is there in one style only, or there is none.
    """
    right: dict[str, dict[str, tuple[str, bool]]] = {first: {}, second: {}}
    for question, score in scored:
        if question.names in right:
            right[question.names][question.pair_id] = (question.task, score.exact)
    pairs = sorted(right[first])
    single = set(pairs) ^ set(right[second])
    if single or not pairs:
        missing = f"problem {min(single)!r} is there in one style only" if single else "there is no question in them"
        raise InputError(
            f"name styles {first!r} and {second!r} cannot be compared: {missing}",
            fix="ask the same data set in both name styles",
        )
    tests = {}
    for task in sorted({right[first][pair][0] for pair in pairs}):
        of_task = [pair for pair in pairs if right[first][pair][0] == task]
        tests[task] = mcnemar([right[first][pair][1] for pair in of_task], [right[second][pair][1] for pair in of_task])
    tests["all"] = mcnemar([right[first][pair][1] for pair in pairs], [right[second][pair][1] for pair in pairs])
    return tests
