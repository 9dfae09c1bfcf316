"""Having a model write out what another one answered, for replies that the rules cannot read.

The published pipeline has every reply read by a second model. Which model reads moves its figures by several points,
so here the rules read first, only what they cannot read is given to a model, and both rates are reported.
"""

from intarsia.audit.causal.answers import Answer, parse_answer
from intarsia.audit.causal.config import EXTRACTORS
from intarsia.audit.causal.questions import Question
from intarsia.errors import UnknownNameError

EXTRACTION_TOKENS = 512

NO_ANSWER = "NO FINAL ANSWER"

_TEMPLATE = """\
Below are a question and somebody's reply to it. Write out the final answer of the reply in the form that the question \
asks for: nothing but lines that begin with `ANSWER:`. Do not answer the question yourself and correct nothing. If the \
reply comes to no final answer, write `{no_answer}` and nothing else.

--- Question ---
{question}

--- Reply ---
{reply}

--- Final answer of the reply ---"""


def require_extractor(extractor: str) -> None:
    """Checks the name of an extractor.

    Raises:
        UnknownNameError: If it is unknown.
    """
    if extractor not in EXTRACTORS:
        raise UnknownNameError("extractor", extractor, EXTRACTORS)


def needs_extraction(question: Question, reply: str) -> bool:
    """Whether the rules cannot read a reply that says something."""
    return bool(reply.strip()) and not parse_answer(question.task, reply, question.labels).is_parsed


def extraction_prompt(question: Question, reply: str) -> str:
    """Returns what the extracting model is asked."""
    return _TEMPLATE.format(question=question.prompt, reply=reply, no_answer=NO_ANSWER)


def read_reply(question: Question, reply: str, extracted: str | None = None) -> Answer:
    """Reads a reply by the rules; where they fail, reads what a model wrote out of it, if there is that.

    Args:
        question: The question.
        reply: All the model said.
        extracted: What the extracting model wrote.
    """
    answer = parse_answer(question.task, reply, question.labels)
    if answer.is_parsed or extracted is None:
        return answer
    return parse_answer(question.task, extracted, question.labels)
