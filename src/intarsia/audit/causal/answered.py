"""Questions with what a model replied: all that a report needs, from wherever the replies come."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from intarsia.audit.causal.extraction import read_reply
from intarsia.audit.causal.questions import Question
from intarsia.audit.causal.scoring import Score, score_answer


@dataclass(frozen=True, slots=True)
class Answered:
    """A question that was put to a model.

    Args:
        question: The question.
        reply: All the model said; None if it gave no answer.
        extracted: What the extracting model made of it, where the rules could not read it.
        error: Why there is no reply.
        epoch: Which repetition, from 1.
    """

    question: Question
    reply: str | None
    extracted: str | None = None
    error: str | None = None
    epoch: int = 1


def score_answered(
    answered: Iterable[Answered], *, criterion: str = "adjustment", extraction: bool = True
) -> list[tuple[Question, Score]]:
    """Scores every reply. Questions without one are left out: `unanswered` counts them.

    Args:
        answered: Questions and replies.
        criterion: Rule for BA answers.
        extraction: Whether what a model extracted is read where the rules fail.

    Raises:
        InputError: If a question has no answer key.
        UnknownNameError: If the criterion is unknown.
    """
    return [
        (
            each.question,
            score_answer(
                each.question,
                read_reply(each.question, each.reply, each.extracted if extraction else None),
                criterion=criterion,
            ),
        )
        for each in answered
        if each.reply is not None
    ]


def unanswered(answered: Sequence[Answered]) -> list[Answered]:
    """Returns the questions to which no reply was got."""
    return [each for each in answered if each.reply is None]
