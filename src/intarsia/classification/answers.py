"""Which option an answer names.

Levels, first match counts: `exact` (the option as written, behind `LABEL:`), `normalised` (the same but for case,
separators, quotes, -ise/-ize), `contained` (the only option named in a sentence, or the only one behind a word like
"is", where a name inside a longer name is no name of its own). Otherwise the answer is unmapped: text behind `LABEL:`
that is no option is not searched for elsewhere, and a sentence that names two options names none.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from intarsia.classification.labels import normalise

Level = Literal["exact", "normalised", "contained"]

_MARKER = re.compile(r"\b(?:LABELS?|CHOICES?)\b[\"'*`\s]*[:\uff1a][*\"'`]*[ \t]*", re.IGNORECASE)
_QUOTES = " \t\"'`*“”‘’"
_CUES = frozenset({"is", "be", "as", "with", "choose", "chose", "pick", "picked", "select", "selected"})
"""Words that are followed by an answer."""
_NO_WORD = re.compile(r"\W+")
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):])\s+")


class Mapped(NamedTuple):
    """An option an answer names.

    Attributes:
        label: The option.
        level: How it was found.
    """

    label: str
    level: Level


def map_answer(reply: str, options: Sequence[str], known: Sequence[str] | None = None) -> Mapped | None:
    """Returns the option a reply names, or None.

    Args:
        reply: What the model said.
        options: What it was to choose from.
        known: All labels there are; an answer that names one outside `options` is unmapped, and not taken for an
            option whose name is part of it. By default `options`.
    """
    found = _match(_answer_of(reply), known or options)
    return found if found is not None and found.label in set(options) else None


def map_answers(reply: str, options: Sequence[str], known: Sequence[str] | None = None) -> list[Mapped]:
    """Returns the options a reply lists, in its order, each once; entries that name no option are left out."""
    known = known or options
    allowed, found = set(options), dict[str, Mapped]()
    for entry in _entries(_answer_of(reply, several=True), known):
        mapped = _match(entry, known)
        if mapped is not None and mapped.label in allowed:
            found.setdefault(mapped.label, mapped)
    return list(found.values())


def _answer_of(reply: str, *, several: bool = False) -> str:
    """Returns what stands behind the last marker; without one, the whole reply."""
    markers = list(_MARKER.finditer(reply))
    if not markers:
        return reply.strip()
    rest = reply[markers[-1].end() :].strip()
    if several or not rest:
        return rest
    return rest.splitlines()[0]


def _entries(answer: str, known: Sequence[str]) -> list[str]:
    # A label with a comma in it is taken out whole before the rest is split.
    entries = []
    for name in sorted((name for name in known if re.search(r"[,;\n]", name)), key=len, reverse=True):
        place = answer.casefold().find(name.casefold())
        if place >= 0:
            entries.append((place, name))
            answer = answer[:place] + "\n" * len(name) + answer[place + len(name) :]
    for match in re.finditer(r"[^,;\n]+", answer):
        entries.append((match.start(), _BULLET.sub("", match[0])))
    return [text for _, text in sorted(entries) if text.strip()]


def _match(answer: str, known: Sequence[str]) -> Mapped | None:
    bare = answer.strip(_QUOTES)
    for name in known:
        if bare in (name, f"{name}."):
            return Mapped(name, "exact")
    plain = normalise(answer)
    for name in known:
        if plain == normalise(name):
            return Mapped(name, "normalised")
    return _contained(plain, known)


def _contained(plain: str, known: Sequence[str]) -> Mapped | None:
    rest = _words(plain)
    named, chosen = dict[str, None](), dict[str, None]()
    for name in sorted(known, key=lambda name: len(_words(name)), reverse=True):
        while (place := rest.find(_words(name))) >= 0:
            named[name] = None
            if rest[:place].rpartition(" ")[2] in _CUES:
                chosen[name] = None
            rest = f"{rest[:place]} | {rest[place + len(_words(name)) :]}"
    # Labels may be ordinary words ("text", "date"): where several occur, the one that is said to be the answer counts.
    found = list(chosen or named)
    return Mapped(found[0], "contained") if len(found) == 1 else None


@lru_cache(maxsize=8192)
def _words(text: str) -> str:
    return f" {_NO_WORD.sub(' ', normalise(text)).strip()} "
