"""Narrator Mode (Section 3.3): a global outline, a local plot before each reply, and a check of the reply.

What is said to the model and what is made of its answers, without asking it: `defences` and `narrator` do that, the one
for audits, the other for applications.
"""

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from intarsia.audit.roleplay.prompts import Card, role_prompt
from intarsia.errors import ConfigError
from intarsia.evals.protocol import Message, system, user


@dataclass(frozen=True, slots=True)
class NarratorConfig:
    """Which parts of Narrator Mode are on.

    Attributes:
        outline: Whether a global outline is written once for each role.
        plot: Whether a local plot is written before each reply.
        verify: Whether each reply is checked and mended.
        max_revisions: How often a reply is mended at most.

    Raises:
        ConfigError: If `max_revisions` is negative.
    """

    outline: bool = True
    plot: bool = True
    verify: bool = True
    max_revisions: int = 2

    def __post_init__(self) -> None:
        if self.max_revisions < 0:
            raise ConfigError("max_revisions", self.max_revisions, "at least 0")


@dataclass(frozen=True, slots=True)
class Draft:
    """What the model wrote for a turn, taken apart.

    Attributes:
        plot: The local plot; empty if there is none.
        reply: What the character says.
        is_formatted: Whether the sections were marked as asked.
    """

    plot: str
    reply: str
    is_formatted: bool


@dataclass(frozen=True, slots=True)
class Narration:
    """A finished turn.

    Attributes:
        reply: What the character says; it alone is scored.
        plot: The local plot.
        checks: How often the reply was checked.
        revisions: How often it was mended.
        passed: Whether the last check passed; None if nothing was checked.
        format_failures: Answers of the model whose sections were not marked as asked.
    """

    reply: str
    plot: str = ""
    checks: int = 0
    revisions: int = 0
    passed: bool | None = None
    format_failures: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """A role with its outline, ready for turns.

    Attributes:
        card: The character.
        config: Which parts are on.
        outline: The global outline; empty if it is off.
    """

    card: Card
    config: NarratorConfig = field(default_factory=NarratorConfig)
    outline: str = ""

    def system_prompt(self) -> str:
        """Returns the system message; with all parts off it is that of a plain role."""
        parts = [role_prompt(self.card)]
        if self.config.outline:
            parts.append(f"The outline of your story, which holds in every turn:\n{self.outline.strip()}")
        if self.config.plot:
            parts.append(_PLOT)
        return "\n\n".join(parts)

    def messages(self, conversation: Sequence[Message]) -> list[Message]:
        """Returns what the model is asked for a turn.

        Args:
            conversation: The turns so far without system messages; the last is the user's.
        """
        return [system(self.system_prompt()), *conversation]

    def read(self, text: str) -> Draft:
        """Takes apart what the model wrote for a turn."""
        return read_draft(text) if self.config.plot else Draft("", text.strip(), True)

    def check(self, query: str, draft: Draft) -> Generator[list[Message], str, Narration]:
        """Checks and mends a draft: yields what to ask, is sent the answers, and returns the finished turn."""
        failures = int(not draft.is_formatted)
        if not self.config.verify:
            return Narration(draft.reply, draft.plot, format_failures=failures)
        reply, revisions = draft.reply, 0
        for check in range(1, self.config.max_revisions + 2):
            answer = yield [
                system(self.system_prompt()),
                user(_verification(query, draft.plot, reply, self.config.outline)),
            ]
            passed, revised = read_verdict(answer)
            failures += passed is None
            # An answer without a verdict cannot ask for a change.
            if passed is not False or check > self.config.max_revisions:
                return Narration(reply, draft.plot, check, revisions, passed, failures)
            if revised:
                reply, revisions = revised, revisions + 1
            else:
                failures += 1
        raise AssertionError("unreachable")


_PLOT = (
    "Before the character speaks, a narrator sets the scene. First write, between <plot> and </plot>, a short plot: "
    "where the question is asked and by whom, what the character does and feels, and what in the character's life or "
    "world makes the coming answer natural, also where the question is foreign or improper to the character. Where the "
    "question does not fit the character, do not deny it but complete the story: build a bridge from what was asked to "
    'what the character lives and knows, without phrases such as "I am not" or "I can\'t". Then, on a new line, write '
    "what the character says between <reply> and </reply>. The reply must agree with the plot"
    " and hold nothing but the character's words."
)


def outline_messages(card: Card) -> list[Message]:
    """Returns the question for the global outline."""
    return [
        system(role_prompt(card)),
        user(
            "Step out of the conversation for a moment and be its narrator. Write an outline that will govern all "
            "later turns, in four short sections:\n"
            "1. Background: origins, events of the life, the world the character lives in and what it cannot know.\n"
            "2. Personality and traits.\n"
            "3. Rules of interaction: how the character deals with others, its limits and its freedoms.\n"
            "4. Emotional range: how it shows joy, anger, grief, wonder.\n"
            "Write the outline only."
        ),
    ]


def read_draft(text: str) -> Draft:
    """Takes plot and reply out of an answer.

    Where the reply is not marked, what follows the last "Response:" counts, else the whole answer.
    """
    plots = re.findall(r"<plot>(.*?)(?:</plot>|(?=<reply>)|\Z)", text, re.DOTALL | re.IGNORECASE)
    plot = plots[-1].strip() if plots else ""
    reply = _last_reply(text)
    if reply:
        return Draft(plot, reply, bool(plots))
    before, mark, after = text.rpartition("Response:")
    if mark and after.strip():
        return Draft(plot or before.strip(), after.strip(), False)
    return Draft(plot, text.strip(), False)


def read_verdict(text: str) -> tuple[bool | None, str]:
    """Returns whether a check passed (None if there is no verdict) and the mended reply, if there is one."""
    verdicts = re.findall(r"<verdict>\s*(pass|revise)\b", text, re.IGNORECASE)
    passed = verdicts[-1].lower() == "pass" if verdicts else None
    return passed, _last_reply(text)


def _last_reply(text: str) -> str:
    # The end mark is missing where the answer was cut off.
    replies = re.findall(r"<reply>(.*?)(?:</reply>|\Z)", text, re.DOTALL | re.IGNORECASE)
    return str(replies[-1]).strip() if replies else ""


def _verification(query: str, plot: str, reply: str, has_outline: bool) -> str:
    conditions = []
    if has_outline:
        conditions.append("it keeps to the outline")
    if plot:
        conditions.append("it agrees with the plot")
    conditions.append("it answers the question without breaking the role")
    listed = "\n".join(f"({letter}) {condition}" for letter, condition in zip("abc", conditions, strict=False))
    scene = f"The plot:\n{plot}\n\n" if plot else ""
    return (
        f"You are the narrator and check the character's reply.\n\nThe question:\n{query}\n\n{scene}The reply:\n"
        f"{reply}\n\nIs it right in every point?\n{listed}\n"
        "Write <verdict>pass</verdict> if so. Else write <verdict>revise</verdict> and, between <reply> and </reply>, "
        "the reply as the character should give it."
    )
