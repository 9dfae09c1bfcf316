"""What the model is asked. The wordings are ours; their structure is that of the published code.

Every question over options has the blocks `OPTIONS:` and `TEXT:`, so `read_question` can tell what was asked.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from intarsia.classification.labels import LabelSet

ONE_LINE = "End with one line: `LABEL: ` and the option, spelled as above."
STEPS = "Think step by step: say what the text is about, weigh the options that could fit, and verify your choice."

Example = tuple[str, str]
"""A text and its label."""


class Asked(NamedTuple):
    """A question over options, read back from its prompt.

    Attributes:
        options: The options in the order shown.
        text: The text to classify.
        most: How many options to name.
        worst: Whether the least likely ones are asked for.
    """

    options: tuple[str, ...]
    text: str
    most: int = 1
    worst: bool = False


def pick_one(
    labels: LabelSet, options: Sequence[str], text: str, *, steps: bool = False, examples: Sequence[Example] = ()
) -> str:
    """Asks for the one option that fits best."""
    ask = "Which one of the options is the topic of the text? Take the most likely one."
    return _question(labels, options, text, f"{ask} {STEPS}" if steps else ask, ONE_LINE, examples)


def pick_one_laxly(labels: LabelSet, options: Sequence[str], text: str) -> str:
    """Asks again, after an answer that named no option: more than one may fit, and a guess is welcome."""
    ask = (
        "At least two of the options could be the topic of the text. Choose the likelier one, or either of them if you "
        "are not sure."
    )
    return _question(labels, options, text, ask, ONE_LINE)


def pick_several(labels: LabelSet, options: Sequence[str], text: str, count: int) -> str:
    """Asks for the `count` options that fit best, best first."""
    ask = f"Which {count} of the options are the most likely topics of the text? List the most likely one first."
    answer = f"End with one line: `LABELS: ` and up to {count} options, spelled as above, separated by commas."
    return _question(labels, options, text, ask, answer)


def strike_out(labels: LabelSet, options: Sequence[str], text: str, count: int) -> str:
    """Asks for up to `count` options that cannot be the topic."""
    ask = f"Which options can be ruled out as the topic of the text? Name at most {count}, the least likely one first."
    answer = "End with one line: `LABELS: ` and the options to rule out, spelled as above, separated by commas."
    return _question(labels, options, text, ask, answer)


def shared_aspects(labels: LabelSet, pair: Sequence[str], examples: Sequence[Example]) -> str:
    """First turn of a pairwise contrastive chain of thought: what two labels have in common."""
    parts = ["This is about classifying texts by topic, and about two topics that are easily confused."]
    parts.append(f"TOPICS:\n{labels.lines(pair)}")
    if examples:
        parts.append("EXAMPLES:\n" + _examples(examples))
    parts.append(
        "The two topics are often mistaken for each other because texts of both have something in common. "
        "Which aspects do they share?"
    )
    return "\n\n".join(parts)


CONTRASTS = (
    "Leave aside what the two topics share. Which points set them apart? Name the key contrasts between them concisely."
)
"""Second turn: what sets the two labels apart."""


def decide(labels: LabelSet, pair: Sequence[str], text: str) -> str:
    """Third turn: which of the two labels fits, given what they share and what sets them apart."""
    ask = "Mind the shared aspects and the contrasts. Which of the two options is the topic of the text?"
    return _question(labels, pair, text, ask, ONE_LINE)


def compare(
    labels: LabelSet, pair: Sequence[str], text: str, *, steps: bool = False, examples: Sequence[Example] = ()
) -> str:
    """Asks which of two labels fits, in one question."""
    ask = "Which of the two options is the topic of the text?"
    return _question(labels, pair, text, f"{ask} {STEPS}" if steps else ask, ONE_LINE, examples)


def read_question(prompt: str, labels: LabelSet) -> Asked | None:
    """Returns what a prompt asks; None for the turns of a chain of thought that show no text."""
    match = re.search(r"^OPTIONS:\n(.*?)\n\n(?:.*?^)?TEXT: ([^\n]*)$", prompt, re.MULTILINE | re.DOTALL)
    if match is None:
        return None
    known = {labels.lines([name]): name for name in labels.names}
    count = re.match(r"Which (\d+) of the options", prompt)
    worst = re.match(r"Which options can be ruled out .*? at most (\d+)", prompt)
    number = int((count or worst or ["", "1"])[1])
    return Asked(tuple(known[line] for line in match[1].splitlines()), match[2], number, worst is not None)


def _question(
    labels: LabelSet, options: Sequence[str], text: str, ask: str, answer: str, examples: Sequence[Example] = ()
) -> str:
    parts = [ask, f"OPTIONS:\n{labels.lines(options)}"]
    if examples:
        parts.append("EXAMPLES:\n" + _examples(examples))
    return "\n\n".join([*parts, f"TEXT: {text}", answer])


def _examples(examples: Sequence[Example]) -> str:
    return "\n".join(f"Sentence: {text}\nTopic: {label}" for text, label in examples)
