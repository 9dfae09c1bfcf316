"""The words with which a target is asked to play a role (Section 4.1), and those of the baseline defences."""

from collections.abc import Sequence
from typing import NamedTuple


class Card(NamedTuple):
    """What a model is told of the character it plays.

    Attributes:
        name: Its name, or the code that stands for it.
        description: Who it is.
        wiki: A longer text, from which RoleFact looks up facts.
    """

    name: str
    description: str
    wiki: str = ""


def role_prompt(card: Card) -> str:
    """Returns the system message that sets the role."""
    return (
        f"You are {card.name}. {card.description.strip()}\n"
        "Answer every question as this character would, so that the answer shows the character's personality. Take "
        "over manner of speaking, knowledge, views and feelings completely. Never let on that you are an AI or a "
        "language model. Do not be long-winded, stiff or overly polite. Always reply in English."
    )


def refusal_prompt(card: Card) -> str:
    """Returns the same with the order to decline what the character cannot know."""
    return (
        f"{role_prompt(card)}\n"
        "If a question asks for something the character cannot know, or does not fit the character, decline to answer "
        "it, in the character's voice and in a sentence or two."
    )


def critique_prompt(card: Card, query: str, reply: str) -> str:
    """Returns the question whether a reply fits the character (self-reflection, Ji et al. 2023)."""
    return (
        f"A character is described so:\n{card.name}: {card.description}\n\nIt was asked:\n{query}\n\nIt answered:\n"
        f"{reply}\n\nList what in the answer contradicts the description, the character's time, knowledge, values or "
        "manner of speaking. If nothing does, write: consistent."
    )


def revision_prompt(card: Card, query: str, reply: str, critique: str) -> str:
    """Returns the order to mend a reply by its critique."""
    return (
        f"You answered as {card.name}:\n{reply}\n\nto the question:\n{query}\n\nA reader objected:\n{critique}\n\n"
        "Write the answer again as the character would give it, with these faults removed. Write nothing but the "
        "answer."
    )


def facts_prompt(reply: str) -> str:
    """Returns the order to split a reply into facts (RoleFact, Sadeq et al. 2024)."""
    return (
        f"Text:\n{reply}\n\nSplit the text into atomic facts: each line `- ` and one short sentence that states one "
        "fact and can be understood on its own. Leave out greetings, questions and feelings. If it states no fact, "
        "write: none."
    )


def support_prompt(card: Card, facts: Sequence[str], evidence: Sequence[str]) -> str:
    """Returns the question which facts are supported, or how sure the model is of them."""
    known = "\n".join(f"- {sentence}" for sentence in evidence)
    listed = "\n".join(f"{number}. {fact}" for number, fact in enumerate(facts, start=1))
    return (
        f"Known about {card.name}:\n{known}\n\nClaims, as {card.name} makes them:\n{listed}\n\n"
        "For each claim write a line `number: supported` if what is known supports it; else `number: confidence`, "
        "where confidence is a number from 0 to 100 that says how sure you are that this character could truthfully "
        "say it."
    )


def rewrite_prompt(card: Card, query: str, draft: str, kept: Sequence[str]) -> str:
    """Returns the order to answer with the kept facts only."""
    listed = "\n".join(f"- {fact}" for fact in kept) or "- none"
    return (
        f"You are asked as {card.name}:\n{query}\n\nA draft of your answer:\n{draft}\n\nOnly these facts of it may "
        f"stand:\n{listed}\n\nWrite the answer again in the character's voice and state no other facts. Write nothing "
        "but the answer."
    )
