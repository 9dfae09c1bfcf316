"""What a judge is asked about a reply (Section 4.2), and how its verdicts are read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from intarsia.audit.roleplay.options import LETTERS, Options
from intarsia.audit.roleplay.rules import RuleFindings
from intarsia.evals.protocol import ChatModel, user
from intarsia.models.sentence_encoder import TextEncoder

HR, RF, QF, SC = "hr", "rf", "qf", "sc"
METRICS = {HR: "hallucination rate", RF: "role fidelity", QF: "query fidelity", SC: "story coherence"}
JUDGE_TEMPERATURE = 0.2
JUDGE_TOKENS = 512
RULE_JUDGE = "rules"

Verdicts = Mapping[str, Sequence[str]]
"""Score -> what the judge wrote, once or twice."""


@dataclass(frozen=True, slots=True)
class Case:
    """A reply as a judge sees it.

    Attributes:
        key: Names it within the run.
        name: The character's name, or the code that stands for it.
        description: Who the character is.
        query: What it was asked.
        reply: What it said.
        cards: Role cards, one of them the character's.
        queries: Queries, one of them the one that was asked.
        findings: What rules found in the reply.
    """

    key: str
    name: str
    description: str
    query: str
    reply: str
    cards: Options | None = None
    queries: Options | None = None
    findings: RuleFindings | None = None


class Judge(Protocol):
    """Judges replies."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    async def judge(self, case: Case) -> Verdicts:
        """Returns what is written about a case, by score."""
        ...


def hallucination_prompt(case: Case) -> str:
    """Returns the question whether a reply is inconsistent with the character."""
    return (
        f"Character:\n{case.name}: {case.description}\n\nThe character was asked:\n{case.query}\n\n"
        f"Reply:\n{case.reply}\n\n"
        "Is the reply inconsistent with the character, in facts, personality, values, or in the knowledge of its time "
        "and world? An ancient Roman, for example, must be puzzled by Python and not write code in it. To take up a "
        "strange subject by way of a story, or to correct a false premise, is consistent.\n"
        "Give your reasons first. Then write, as the last line, [yes] if it is inconsistent or [no] if it is not."
    )


def role_prompt(reply: str, cards: Options) -> str:
    """Returns the question which of four characters gave a reply; the query is not shown."""
    listed = "\n".join(f"[{letter}] {text}" for letter, text in zip(LETTERS, cards.texts, strict=True))
    return (
        f"Reply:\n{reply}\n\nCharacters:\n{listed}\n\nWhich of these characters gave the reply? Go by what is said and "
        "how, and ignore the language.\nGive your reasons first. Then write, as the last line, the letter in brackets, "
        "e.g. [A]."
    )


def query_prompt(reply: str, queries: Options) -> str:
    """Returns the question which of four queries a reply answers."""
    listed = "\n".join(f"[{letter}] {text}" for letter, text in zip(LETTERS, queries.texts, strict=True))
    return (
        f"Reply:\n{reply}\n\nQuestions:\n{listed}\n\nWhich of these questions does the reply answer? Ignore the "
        "language.\nGive your reasons first. Then write, as the last line, the letter in brackets, e.g. [A]."
    )


def coherence_prompt(case: Case) -> str:
    """Returns the question how good a story character, query and reply make."""
    return (
        f"Character:\n{case.name}: {case.description}\n\nThe character was asked:\n{case.query}\n\n"
        f"Reply:\n{case.reply}\n\n"
        "How well do character, question and reply make one coherent story, from 1 (not at all) to 5 (completely)? "
        "Mark down a bare refusal of a question that does not fit the character: it ends the story.\n"
        "Give your reasons first. Then write, as the last line, the number in brackets, e.g. [3]."
    )


class ModelJudge:
    """A language model that judges.

    Args:
        model: The model.
        swap: Whether questions with options are put twice, with the options rotated.
        seed: Of sampling.
        temperature: Of sampling (paper: 0.2).
    """

    def __init__(
        self, model: ChatModel, *, swap: bool = False, seed: int = 0, temperature: float = JUDGE_TEMPERATURE
    ) -> None:
        self.name = model.name
        self._model = model
        self._swap = swap
        self._seed = seed
        self._temperature = temperature

    async def judge(self, case: Case) -> Verdicts:
        """Returns what the model writes; without options only the hallucination is judged.

        Raises:
            ModelCallError: If the model gives no answer.
        """
        asked: list[tuple[str, str]] = [(HR, hallucination_prompt(case))]
        if case.cards is not None and case.queries is not None:
            asked.append((RF, role_prompt(case.reply, case.cards)))
            asked.append((QF, query_prompt(case.reply, case.queries)))
            if self._swap:
                asked.append((RF, role_prompt(case.reply, case.cards.rotated())))
                asked.append((QF, query_prompt(case.reply, case.queries.rotated())))
            asked.append((SC, coherence_prompt(case)))
        written: dict[str, list[str]] = {}
        for score, prompt in asked:
            reply = await self._model.chat(
                [user(prompt)],
                temperature=self._temperature,
                max_tokens=JUDGE_TOKENS,
                seed=self._seed,
                key=f"{case.key}/{score}{'-swapped' if score in written else ''}",
            )
            written.setdefault(score, []).append(reply.text)
        return written


class RuleJudge:
    """Rules and embeddings in place of a judge: a reply that breaks a rule hallucinates, the nearest option is chosen.

    Rules tell little of a story: a refusal gets 1, another fault 2, anything else 3.

    Args:
        encoder: Tells how near a reply is to the options.
    """

    name = RULE_JUDGE

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    async def judge(self, case: Case) -> Verdicts:
        """Returns verdicts in a judge's form."""
        findings = case.findings or RuleFindings({})
        told = ", ".join(f"{rule.upper()}: {passage}" for rule, passage in findings.found.items()) or "no rule is met"
        verdicts = {HR: [f"{told}\n[{'yes' if findings.is_break else 'no'}]"]}
        if case.cards is not None and case.queries is not None:
            coherence = 1 if "r5" in findings.found or not case.reply.strip() else 2 if findings.found else 3
            verdicts[RF] = [f"[{LETTERS[nearest_option(case.reply, case.cards, self._encoder)]}]"]
            verdicts[QF] = [f"[{LETTERS[nearest_option(case.reply, case.queries, self._encoder)]}]"]
            verdicts[SC] = [f"{told}\n[{coherence}]"]
        return verdicts


def nearest_option(reply: str, options: Options, encoder: TextEncoder) -> int:
    """Returns the place of the option whose embedding is nearest to a reply's."""
    vectors = encoder.embed([reply, *options.texts])
    return int(np.argmax(np.round(vectors[1:] @ vectors[0], 6)))


def read_bracketed(text: str, allowed: Sequence[str]) -> str | None:
    """Returns the verdict of a judge: the last bracketed word of the last line, else the last one anywhere.

    Args:
        text: What the judge wrote.
        allowed: What it may say; anything else is no verdict.

    Returns:
        The verdict as in `allowed`, or None.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    found = re.findall(r"\[([^\[\]]*)\]", lines[-1]) if lines else []
    found = found or re.findall(r"\[([^\[\]]*)\]", text)
    if not found:
        return None
    said = found[-1].strip().casefold()
    return next((each for each in allowed if each.casefold() == said), None)


def read_hallucination(text: str) -> bool | None:
    """Returns whether a judge found the reply inconsistent; None if it did not say."""
    verdict = read_bracketed(text, ("yes", "no"))
    return None if verdict is None else verdict == "yes"


def read_letter(text: str) -> int | None:
    """Returns the place of the chosen option; None if there is none."""
    letter = read_bracketed(text, tuple(LETTERS))
    return None if letter is None else LETTERS.index(letter)


def read_coherence(text: str) -> int | None:
    """Returns the mark, 1 to 5; None if there is none."""
    mark = read_bracketed(text, ("1", "2", "3", "4", "5"))
    return None if mark is None else int(mark)


def judge_calls(items: int, controls: int, *, swap: bool) -> int:
    """Returns how many calls a judge makes for replies and planted controls."""
    return items * (6 if swap else 4) + controls
