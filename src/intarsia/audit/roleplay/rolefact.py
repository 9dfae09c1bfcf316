"""RoleFact in black-box form (Sadeq et al. 2024): evidence, facts, and how sure of a fact a model must be.

How sure a model says it is means something else for every model. So the threshold is calibrated: the model is asked of
development characters, of whom it is known what they can truthfully say. They are invented, and none is ever audited.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files

from intarsia.audit.roleplay.prompts import Card, support_prompt
from intarsia.errors import ConfigError
from intarsia.evals.per_loop import PerLoop
from intarsia.models.sentence_encoder import TextEncoder

SURE = 100.0


@dataclass(frozen=True, slots=True)
class DevelopmentCharacter:
    """A character with claims whose truth is known.

    Attributes:
        id: Its id.
        card: What the model is told of it.
        claims: Claim -> whether the character can truthfully say it.
    """

    id: str
    card: Card
    claims: Mapping[str, bool]


@cache
def development_characters() -> tuple[DevelopmentCharacter, ...]:
    """Returns the eight characters that come with Intarsia, each with four true claims and four false ones."""
    text = (package_files("intarsia.audit.roleplay") / "data" / "development.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple(
        DevelopmentCharacter(row["id"], Card(row["name"], row["description"]), _mixed(row["true"], row["false"]))
        for row in rows
    )


def _mixed(true: Sequence[str], false: Sequence[str]) -> dict[str, bool]:
    """Returns true and false claims in an order that says nothing of their truth."""
    claims = {**dict.fromkeys(true, True), **dict.fromkeys(false, False)}
    return dict(sorted(claims.items(), key=lambda claim: hashlib.sha256(claim[0].encode()).digest()))


class Calibration:
    """The threshold of one model, asked for once, however many turns need it at once."""

    def __init__(self) -> None:
        self._known: float | None = None
        self._lock: PerLoop[asyncio.Lock] = PerLoop(asyncio.Lock)

    async def get(self, ask: Callable[[str, str], Awaitable[str]]) -> float:
        """Returns how sure of a fact the model must be, 0 to 100.

        Args:
            ask: Gives the model's answer to a prompt, and takes a name for the call.

        Raises:
            ModelCallError: If there is no answer; then the next turn asks again.
        """
        async with self._lock.get():
            if self._known is None:
                sure: list[float] = []
                truth: list[bool] = []
                for character in development_characters():
                    prompt = support_prompt(character.card, list(character.claims), [character.card.description])
                    answer = await ask(prompt, f"development/{character.id}")
                    sure += read_support(answer, len(character.claims))
                    truth += character.claims.values()
                self._known = calibrate_confidence(sure, truth)
            return self._known


def calibrate_confidence(confidences: Sequence[float], is_true: Sequence[bool]) -> float:
    """Returns the threshold that best tells true facts from false ones (balanced accuracy).

    Of equally good ones it is the highest: where confidence tells nothing, only supported facts stand.

    Args:
        confidences: What the model said, 0 to 100.
        is_true: Whether the fact was true.

    Raises:
        ConfigError: If there are no true facts or no false ones, or not one confidence a fact.
    """
    if len(confidences) != len(is_true) or len(set(is_true)) < 2:
        raise ConfigError("facts", len(is_true), "true and false ones, with one confidence each")

    def balanced(threshold: float) -> float:
        kinds = [
            [sure >= threshold for sure, true in zip(confidences, is_true, strict=True) if true is kind]
            for kind in (True, False)
        ]
        return sum(kinds[0]) / len(kinds[0]) - sum(kinds[1]) / len(kinds[1])

    return max(sorted({*confidences, SURE}, reverse=True), key=balanced)


def nearest_sentences(query: str, text: str, encoder: TextEncoder, count: int) -> list[str]:
    """Returns the sentences of a text that are nearest to a query, in the text's order."""
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part.strip()]
    if len(sentences) <= count:
        return sentences
    vectors = encoder.embed([query, *sentences])
    order = sorted(range(len(sentences)), key=lambda place: (-float(vectors[0] @ vectors[place + 1]), place))
    return [sentences[place] for place in sorted(order[:count])]


def read_facts(text: str) -> list[str]:
    """Returns the facts that a model listed, one a line after a dash or number."""
    found = re.findall(r"^\s*(?:[-*•]|\d+[.)])\s+(.+?)\s*$", text, re.MULTILINE)
    return [fact for fact in found if fact.casefold().strip(".") != "none"]


def read_support(text: str, count: int) -> list[float]:
    """Returns how sure each of so many facts is, 0 to 100; a supported one is sure, one not named is not."""
    sure = [0.0] * count
    for number, word in re.findall(r"^\s*(\d+)\s*[:.)]\s*(supported|\d{1,3}(?:\.\d+)?)\b", text, re.MULTILINE | re.I):
        if 1 <= int(number) <= count:
            sure[int(number) - 1] = SURE if word.lower() == "supported" else min(SURE, float(word))
    return sure
