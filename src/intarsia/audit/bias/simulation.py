"""Simulated models with known beliefs: what the indices must tell apart.

A consistent model has one latent belief beta: it completes the stereotype with probability sigma(beta) and agrees with
it with probability sigma(beta). Its Delta is 1 - 2 sigma(beta) = -I, so I and Delta are never both positive.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import exp
from types import MappingProxyType

import numpy as np

from intarsia.audit.bias.association import AssociationTest, shipped_tests
from intarsia.audit.bias.gendered_words import Gender
from intarsia.audit.bias.items import call_seed, neutral_items
from intarsia.audit.bias.judgement import judgement_label, read_question
from intarsia.audit.bias.open_form import group_genders, read_open_statement, stem_attribute
from intarsia.audit.bias.templates import BLANK, TEMPLATES, Template, fill
from intarsia.audit.bias.words import Tokens, lemmas
from intarsia.errors import InputError, UnknownNameError
from intarsia.evals.call import Call
from intarsia.evals.scripted import ScriptedChat


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What a simulated model believes and how it answers.

    Attributes:
        implicit: Log-odds of completing the stereotype.
        explicit: Log-odds of agreeing with the stereotype, and of rejecting its reverse.
        judges: Log-odds of judging a neutral statement rightly.
        judge: `"beliefs"`, or `"rejects"` and `"agrees"`, whatever the statement.
        refusals: Chance to refuse a completion.
        position: Log-odds added for the word that is offered first.
    """

    implicit: float = 0.0
    explicit: float = 0.0
    judges: float = 3.0
    judge: str = "beliefs"
    refusals: float = 0.0
    position: float = 0.0


AGENTS: Mapping[str, Beliefs] = MappingProxyType(
    {
        "consistent": Beliefs(1.5, 1.5),
        "aligned-surface": Beliefs(1.5, -2.0),
        "rejects-everything": Beliefs(1.5, judge="rejects"),
        "agrees-with-everything": Beliefs(1.5, judge="agrees"),
        "noisy": Beliefs(),
        "refuses-often": Beliefs(1.5, -2.0, refusals=0.7),
    }
)
"""Models by name; only `aligned-surface` hides a bias."""


def sigma(beta: float) -> float:
    """Returns the logistic function."""
    return 1 / (1 + exp(-beta))


def simulated_model(name: str, tests: Iterable[AssociationTest] = (), *, seed: int = 0) -> ScriptedChat:
    """Returns a model with known beliefs.

    Args:
        name: One of `AGENTS`.
        tests: Association tests beside those that come with the library.
        seed: Of its draws.

    Raises:
        UnknownNameError: If there is no such model.
    """
    if name not in AGENTS:
        raise UnknownNameError("simulated model", name, AGENTS)
    return ScriptedChat(Responder(AGENTS[name], tests, seed=seed), name=f"simulated:{name}")


class Responder:
    """Answers calls of both stages and word lists from beliefs.

    Args:
        beliefs: The beliefs.
        tests: Association tests beside those that come with the library.
        seed: Of its draws.
    """

    def __init__(self, beliefs: Beliefs, tests: Iterable[AssociationTest] = (), *, seed: int = 0) -> None:
        self._beliefs = beliefs
        self._seed = seed
        known = (*shipped_tests(), *tests)
        self._sides = _sides(known)
        self._genders = _genders(known)

    def __call__(self, call: Call) -> str:
        """Answers a call.

        Raises:
            InputError: If it is no question of this audit.
        """
        said = "\n\n".join(message.content for message in call.messages)
        draws = np.random.default_rng([self._seed, call.seed or 0, call_seed(0, said)])
        asked = read_question(call.prompt)
        if asked is not None:
            return judgement_label(asked.scale, asked.wording, self._judge(asked.statement, draws))
        found = re.search(r"Words: (.+), (.+)\nSentence: (.+)", call.prompt)
        if found is not None:
            return self._complete(found[1], found[2], found[3], draws)
        attribute = stem_attribute(call.prompt)
        if attribute is not None:
            return self._continue(attribute, draws)
        led = re.search(r"one is on (.+), the other on (.+?)\. Two .* only: (.+) and (.+?)\. Who", call.prompt)
        if led is not None:
            return self._decide((led[1], led[2]), (led[3], led[4]), draws)
        listed = re.search(r"write either (.+) or (.+), whichever.*\n\n(.*)", call.prompt, re.DOTALL)
        if listed is not None:
            return self._list(listed[1], listed[2], listed[3].splitlines(), draws)
        raise InputError("a simulated model answers questions of this audit only", where=call.key)

    def _complete(self, first: str, second: str, statement: str, draws: np.random.Generator) -> str:
        if draws.random() < self._beliefs.refusals:
            return "I'm sorry, but I would rather not complete that."
        in_order, swapped = fill(statement, first, second), fill(statement, second, first)
        is_stereotype = self._direction(in_order) == 1
        # A pull towards the word offered first, which is the first blank's here.
        odds = self._beliefs.implicit + (self._beliefs.position if is_stereotype else -self._beliefs.position)
        wants_stereotype = draws.random() < sigma(odds)
        return in_order if wants_stereotype == is_stereotype else swapped

    def _continue(self, attribute: str, draws: np.random.Generator) -> str:
        if draws.random() < self._beliefs.refusals:
            return "I'm sorry, but I would rather not complete that."
        is_stereotype = draws.random() < sigma(self._beliefs.implicit)
        is_male = (self._genders[lemmas(attribute)] == "male") == is_stereotype
        return "Thomas, and everybody knows him." if is_male else "Laura, and everybody knows her."

    def _judge(self, statement: str, draws: np.random.Generator) -> int:
        if self._beliefs.judge == "beliefs":
            direction = self._direction(statement)
            odds = {1: self._beliefs.explicit, -1: -self._beliefs.explicit}.get(direction)
            if odds is None:
                odds = self._beliefs.judges if direction == 2 else -self._beliefs.judges
            agrees = draws.random() < sigma(odds)
        else:
            agrees = self._beliefs.judge == "agrees"
        return int(draws.integers(4, 6) if agrees else draws.integers(1, 3))

    def _list(self, first: str, second: str, attributes: list[str], draws: np.random.Generator) -> str:
        lines = []
        for attribute in attributes:
            is_first = self._sides.get((lemmas(first), lemmas(attribute))) == 1
            chosen = first if is_first == (draws.random() < sigma(self._beliefs.implicit)) else second
            lines.append(f"{attribute} - {chosen}")
        return "\n".join(lines)

    def _decide(self, subjects: tuple[str, str], words: tuple[str, str], draws: np.random.Generator) -> str:
        in_order = self._sides.get((lemmas(words[0]), lemmas(subjects[0]))) == 1
        wants_stereotype = draws.random() < sigma(self._beliefs.implicit)
        chosen = words if in_order == wants_stereotype else words[::-1]
        return "\n".join(f"{subject} - {word}" for subject, word in zip(subjects, chosen, strict=True))

    def _direction(self, statement: str) -> int:
        """Returns 1 for a stereotype, -1 for its reverse, 2 and -2 for true and false neutral statements."""
        for pattern, order in _patterns():
            found = pattern.fullmatch(statement)
            if found is not None:
                parts = dict(zip(order, found.groups(), strict=True))
                side = self._sides.get((lemmas(parts["1"]), lemmas(parts["x"])))
                if side is not None:
                    return side
        told = read_open_statement(statement)
        if told is not None and lemmas(told[0]) in self._genders:
            return 1 if self._genders[lemmas(told[0])] == told[1] else -1
        raise InputError("a simulated model knows statements of this audit only")


def _sides(tests: Iterable[AssociationTest]) -> dict[tuple[Tokens, Tokens], int]:
    sides: dict[tuple[Tokens, Tokens], int] = {}
    for test in tests:
        groups = (test.default_group, test.target_group)
        attributes = (test.default_attributes, test.target_attributes)
        for group, words in enumerate(groups):
            for kind, values in enumerate(attributes):
                for word in words:
                    for value in values:
                        sides[lemmas(word), lemmas(value)] = 1 if group == kind else -1
    for item in neutral_items(40):
        for place, word in enumerate(item.groups):
            for other, value in enumerate(item.attributes):
                sides[lemmas(word), lemmas(value)] = 2 if place == other else -2
    return sides


def _genders(tests: Iterable[AssociationTest]) -> dict[Tokens, Gender]:
    """Returns the gender that the stereotype ties an attribute to."""
    genders: dict[Tokens, Gender] = {}
    for test in tests:
        found = group_genders(test)
        if found is not None:
            for gender, attributes in zip(found, (test.default_attributes, test.target_attributes), strict=True):
                genders |= {lemmas(attribute): gender for attribute in attributes}
    return genders


@cache
def _patterns() -> list[tuple[re.Pattern[str], list[str]]]:
    return [_pattern(template, number) for template in TEMPLATES for number in ("plural", "singular")]


def _pattern(template: Template, number: str) -> tuple[re.Pattern[str], list[str]]:
    """Returns what finds the four parts of a filled statement, and their order in it."""
    text = template.statement("{x}", "{y}", number).replace(BLANK, "{1}", 1).replace(BLANK, "{2}", 1)
    pieces = re.split(r"\{([xy12])\}", text)
    pattern = "(.+?)".join(re.escape(piece) for piece in pieces[::2])
    return re.compile(pattern, re.IGNORECASE), pieces[1::2]
