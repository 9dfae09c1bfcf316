"""The result of asking a model: tables of JSON values with intervals, beside what needs no reasoning at all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from intarsia.audit.causal.answered import Answered, score_answered, unanswered
from intarsia.audit.causal.baselines import BASELINE_TASKS, responder
from intarsia.audit.causal.config import TASKS
from intarsia.audit.causal.questions import Question
from intarsia.audit.causal.scoring import score
from intarsia.audit.causal.summary import Scored, Summary, accuracy_by_complexity, compare_names, summarise
from intarsia.audit.failures import count_reasons, require_replies
from intarsia.metrics.shares import PairedTest, Share, wilson

Row = dict[str, Any]

_INVENTED = ("specific", "pseudo", "letters")
_MEASURES = ("precision", "recall", "f1", "nodes_right", "minimal")


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What a model can do, in tables of JSON values. Shares lie between 0 and 1.

    Args:
        model: The model asked.
        criterion: Rule for BA answers.
        extractor: `"rules"`, or `"model"` where a model read what the rules could not.
        questions: Questions put to the model, repetitions counted.
        unanswered: How many of them got no reply; they are in no share.
        errors: Why, with how often.
        table: Accuracy and further measures by task, level, name style and prompt style.
        by_task: The same by task.
        by_steps: Accuracy of FI and CI by derivation steps.
        by_what_ifs: Accuracy of CI by level and number of what-ifs.
        failures: Task -> kind of failure -> how many replies.
        names: McNemar's test of every two name styles, by task and for all tasks.
        extraction: By task, accuracy and unparsable replies by the rules alone and with the extracting model.
        baselines: Accuracy of answers without reasoning, by task.
    """

    model: str
    criterion: str
    extractor: str
    questions: int
    unanswered: int
    errors: Mapping[str, int]
    table: Sequence[Row]
    by_task: Sequence[Row]
    by_steps: Sequence[Row]
    by_what_ifs: Sequence[Row]
    failures: Mapping[str, Mapping[str, int]]
    names: Sequence[Row]
    extraction: Sequence[Row]
    baselines: Sequence[Row]

    def to_json(self) -> dict[str, Any]:
        """Returns the result as JSON values."""
        return asdict(self)


def audit_result(
    answered: Sequence[Answered],
    *,
    model: str,
    criterion: str = "adjustment",
    extractor: str = "rules",
    missing: int = 0,
) -> AuditResult:
    """Scores the replies and makes the tables; no model is called.

    Args:
        answered: Questions and replies.
        model: Name of the model.
        criterion: Rule for BA answers.
        extractor: `"rules"` or `"model"`.
        missing: Questions that a stopped run did not come to, beside `answered`.

    Raises:
        IntarsiaError: If there is no reply at all; it says why.
        InputError: If a question has no answer key.
        UnknownNameError: If the criterion is unknown.
    """
    scored = score_answered(answered, criterion=criterion)
    reasons = count_reasons((each.error for each in unanswered(answered)), missing)
    require_replies(len(scored), model, reasons)
    return AuditResult(
        model=model,
        criterion=criterion,
        extractor=extractor,
        questions=len(answered) + missing,
        unanswered=len(unanswered(answered)) + missing,
        errors=reasons,
        table=_rows(scored, ("task", "level", "names", "prompt")),
        by_task=_rows(scored),
        by_steps=_by_steps(scored),
        by_what_ifs=_rows([pair for pair in scored if pair[0].task == "CI"], ("level", "what_ifs")),
        failures={summary.group["task"]: dict(summary.failures) for summary in _summaries(scored)},
        names=_names(answered, criterion),
        extraction=_extraction(answered, criterion) if extractor == "model" else [],
        baselines=baseline_rows(_asked(answered), criterion),
    )


def baseline_rows(questions: Sequence[Question], criterion: str = "adjustment") -> list[Row]:
    """Returns the accuracy of every baseline on the tasks it can answer; the exact solver is none."""
    rows = []
    for name, tasks in BASELINE_TASKS.items():
        for task in tasks if name != "solver" else ():
            of_task = [question for question in questions if question.task == task]
            if of_task:
                # The most frequent state is counted over facts and counterfactuals together.
                respond = responder(name, questions)
                right = sum(score(question, respond(question), criterion=criterion).exact for question in of_task)
                rows.append({"system": f"baseline:{name}", "task": task, **_share(wilson(right, len(of_task)))})
    return rows


def _asked(answered: Iterable[Answered]) -> list[Question]:
    return [each.question for each in answered if each.reply is not None]


def _by_steps(scored: Scored) -> list[Row]:
    """Bins of both tasks together, so that their accuracies can be compared bin by bin."""
    with_steps = [(question, found) for question, found in scored if question.complexity.steps is not None]
    if not with_steps:
        return []
    rows = []
    for (least, most), _ in accuracy_by_complexity(with_steps, "steps", bins=6):
        for task in ("FI", "CI"):
            exact = [
                found.exact
                for question, found in with_steps
                if question.task == task and least <= (question.complexity.steps or 0) <= most
            ]
            if exact:
                rows.append({"task": task, "from": least, "to": most, **_share(wilson(sum(exact), len(exact)))})
    return rows


def _names(answered: Sequence[Answered], criterion: str) -> list[Row]:
    """Compares name styles problem by problem; a problem that got no reply in one style is left out in both."""
    first_time = [each for each in answered if each.epoch == 1]
    # A fixed order, whatever the order of the replies: invented names first, which the others are compared with.
    styles = sorted({each.question.names for each in first_time}, key=lambda style: (style not in _INVENTED, style))
    rows: list[Row] = []
    for first, second in combinations(styles, 2):
        both = _pairs(first_time, first) & _pairs(first_time, second)
        paired = [
            each
            for each in first_time
            if each.reply is not None and each.question.names in (first, second) and each.question.pair_id in both
        ]
        if both:
            tests = compare_names(score_answered(paired, criterion=criterion), first, second)
            rows += [_test(first, second, task, test) for task, test in tests.items()]
    return rows


def _pairs(answered: Iterable[Answered], style: str) -> set[str]:
    return {each.question.pair_id for each in answered if each.question.names == style and each.reply is not None}


def _test(first: str, second: str, task: str, test: PairedTest) -> Row:
    return {"first": first, "second": second, "task": task, **test._asdict()}


def _extraction(answered: Sequence[Answered], criterion: str) -> list[Row]:
    rules = _summaries(score_answered(answered, criterion=criterion, extraction=False))
    model = _summaries(score_answered(answered, criterion=criterion))
    return [
        {
            "task": by_rules.group["task"],
            "n": by_rules.accuracy.n,
            "rules": _share(by_rules.accuracy),
            "with_model": _share(by_model.accuracy),
            "unparsable_by_rules": by_rules.unparsable,
            "unparsable_with_model": by_model.unparsable,
        }
        for by_rules, by_model in zip(rules, model, strict=True)
    ]


def _summaries(scored: Scored, by: Sequence[str] = ("task",)) -> list[Summary]:
    """Returns the groups in the order of the paper: CP, BA, FI, CI; invented names before others."""

    def place(summary: Summary) -> tuple[int, bool]:
        task, names = summary.group.get("task"), summary.group.get("names")
        return (TASKS.index(task) if task else 0, names not in (None, *_INVENTED))

    return sorted(summarise(scored, by), key=place)


def _rows(scored: Scored, by: Sequence[str] = ("task",)) -> list[Row]:
    return [_row(summary) for summary in _summaries(scored, by)]


def _row(summary: Summary) -> Row:
    measures = {name: getattr(summary, name) for name in _MEASURES}
    return {**summary.group, **_share(summary.accuracy), "unparsable": summary.unparsable, **measures}


def _share(share: Share) -> Row:
    return {"accuracy": share.value, "low": share.low, "high": share.high, "n": share.n}
