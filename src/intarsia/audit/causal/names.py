"""Names for the nodes of a graph: invented words, alone or with a real noun of a science.

A factor has a name (CP and BA), and an event one of its own (FI and CI): of "xqzpwaab acid" the event is the
"generation of xqzpwaab acid" or its "elimination". Names of a graph differ even in case-insensitive reading, and none
is part of another.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from intarsia.audit.causal.streams import Stream
from intarsia.errors import DataError, InputError, UnknownNameError

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_TRIES = 100

# The prompts and the answers are made of these words.
_NAME = re.compile(r"[^\W_](?:[^\W_]|[' ]|-(?!>))*")
_RESERVED = frozenset(
    {"and", "or", "if", "not", "none", "happens", "happen", "happened", "does", "had", "answer", "has", "on"}
)


@dataclass(frozen=True)
class WordList:
    """The words of a name style.

    Args:
        name: The style they make.
        science: What a study is said to be of, e.g. `"biology"`; may be empty.
        nouns: Noun -> pair of changes (`"increase"`, `"decrease"`); an invented word is put before the noun.
        names: Complete names, used as they are instead of nouns.

    Raises:
        DataError: If there are both or neither, a word comes twice, or one cannot stand in a prompt.
    """

    name: str
    science: str = ""
    nouns: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.nouns) == bool(self.names):
            raise DataError(f"word list {self.name!r} needs either nouns or names", field="nouns")
        for kind, words in (("noun", list(self.nouns)), ("name", list(self.names))):
            _refuse_duplicates(words, f"{kind}s of word list {self.name!r}")
        for word in (*self.nouns, *self.names, *(change for pair in self.nouns.values() for change in pair)):
            check_name(word, f"word list {self.name!r}")


@dataclass(frozen=True, slots=True)
class Names:
    """What the nodes of one graph are called.

    Args:
        factors: Name of every node.
        events: Name of every node's event.
        science: What a study is said to be of, or empty.
    """

    factors: tuple[str, ...]
    events: tuple[str, ...]
    science: str = ""

    def __post_init__(self) -> None:
        for names in {self.factors, self.events}:
            clash = _clash(names)
            if clash:
                raise DataError(f"names {clash[0]!r} and {clash[1]!r}: one is part of the other", field="names")


Words = Mapping[str, WordList]


@cache
def builtin_words() -> Words:
    """Returns the word lists that come with the package: bio, che, eco and phy."""
    text = files("intarsia.audit.causal").joinpath("words.json").read_text(encoding="utf-8")
    return _parse_words(json.loads(text), "words.json")


def read_words(path: str | Path) -> Words:
    """Reads word lists of yours: JSON `{STYLE: {"field": ..., "nouns": {NOUN: [CHANGE, OPPOSITE]}}}`.

    In place of `nouns` a style may have `names`, a list of complete names.

    Raises:
        DataError: If the file is not of this form, or a word comes twice or cannot stand in a prompt.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
    except FileNotFoundError:
        raise DataError("there is no such file of words", file=path) from None
    except json.JSONDecodeError as error:
        raise DataError(f"not valid JSON: {error.msg}", file=path, line=error.lineno) from None
    return _parse_words(content, path)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # JSON readers keep the last of two equal keys; here the first would be lost without a word.
    _refuse_duplicates([key for key, _ in pairs], "words")
    return dict(pairs)


def _parse_words(content: Any, where: str | Path) -> Words:
    form = 'write {"style": {"field": "biology", "nouns": {"acid": ["increase", "decrease"]}}}'
    if not isinstance(content, dict) or not content:
        raise DataError("a file of words maps styles to word lists", file=where, fix=form)
    lists = {}
    for style, parts in content.items():
        if not isinstance(parts, dict) or not set(parts) <= {"field", "nouns", "names"}:
            raise DataError(f"style {style!r} needs field and nouns, or field and names", file=where, fix=form)
        nouns, names = parts.get("nouns", {}), parts.get("names", [])
        pairs_fit = isinstance(nouns, dict) and all(
            isinstance(pair, list) and len(pair) == 2 for pair in nouns.values()
        )
        if not pairs_fit or not isinstance(names, list):
            raise DataError(f"style {style!r}: every noun needs a pair of changes", file=where, fix=form)
        pairs = {noun: (str(pair[0]), str(pair[1])) for noun, pair in nouns.items()}
        lists[style] = WordList(style, str(parts.get("field", "")), pairs, tuple(map(str, names)))
    return MappingProxyType(lists)


def draw_names(style: str, count: int, stream: Stream, words: Words | None = None) -> Names:
    """Draws names for `count` nodes.

    Args:
        style: `"specific"` (five random letters and a code of the node's number, as published), `"pseudo"`
            (pronounceable), `"letters"` (A, B, C in random order), or a word list's.
        count: Number of nodes.
        stream: Where the random numbers come from.
        words: Word lists of yours; they come before the package's.

    Raises:
        UnknownNameError: If there is no such style.
        InputError: If the style has not enough words.
    """
    lists = {**builtin_words(), **(words or {})}
    if style in lists:
        return _from_list(lists[style], count, stream)
    if style not in _INVENTED:
        raise UnknownNameError("name style", style, [*_INVENTED, *lists])
    names = _without_clash(lambda: _INVENTED[style](count, stream), style)
    return Names(names, names)


def name_styles(words: Words | None = None) -> list[str]:
    """Returns the names of all styles."""
    return [*_INVENTED, *builtin_words(), *(style for style in words or {} if style not in builtin_words())]


def _from_list(words: WordList, count: int, stream: Stream) -> Names:
    available = words.names or tuple(words.nouns)
    if len(available) < count:
        raise InputError(
            f"word list {words.name!r} has {len(available)} words, but a graph has {count} nodes",
            fix="add words or ask for smaller graphs",
        )
    if words.names:
        names = _without_clash(lambda: tuple(stream.sample(words.names, count)), words.name)
        return Names(names, names, words.science)
    invented = _without_clash(lambda: _specific(count, stream), words.name)
    nouns = stream.sample(available, count)
    factors = tuple(f"{word} {noun}" for word, noun in zip(invented, nouns, strict=True))
    events = tuple(
        f"{stream.choose(words.nouns[noun])} of {factor}" for noun, factor in zip(nouns, factors, strict=True)
    )
    return Names(factors, events, words.science)


def _specific(count: int, stream: Stream) -> tuple[str, ...]:
    return tuple("".join(stream.choose(_LETTERS) for _ in range(5)) + _code(node) for node in range(count))


def _code(node: int) -> str:
    return _LETTERS[node // 676 % 26] + _LETTERS[node // 26 % 26] + _LETTERS[node % 26]


def _pseudo(count: int, stream: Stream) -> tuple[str, ...]:
    def syllable() -> str:
        return stream.choose(_CONSONANTS) + stream.choose(_VOWELS)

    return tuple("".join(syllable() for _ in range(3)) for _ in range(count))


def _letters(count: int, stream: Stream) -> tuple[str, ...]:
    if count > len(_LETTERS):
        raise InputError(f"style 'letters' has 26 names, but a graph has {count} nodes", fix="use another name style")
    # In random order: the alphabet would give away which factor comes first.
    return tuple(stream.shuffled(_LETTERS[:count].upper()))


_INVENTED: Mapping[str, Callable[[int, Stream], tuple[str, ...]]] = MappingProxyType(
    {"specific": _specific, "pseudo": _pseudo, "letters": _letters}
)


def _without_clash(draw: Callable[[], tuple[str, ...]], style: str) -> tuple[str, ...]:
    for _ in range(_TRIES):
        names = draw()
        clash = _clash(names)
        if not clash:
            return names
    raise InputError(
        f"name style {style!r}: {_TRIES} draws all had a name within another, such as {clash[0]!r} and {clash[1]!r}",
        fix="use words that are not part of each other",
    )


def _clash(names: Sequence[str]) -> tuple[str, ...]:
    """Returns two names of which one is part of the other, or nothing."""
    folded = [name.casefold() for name in names]
    if len(set(map(len, folded))) == 1 and len(set(folded)) == len(folded):
        return ()  # names of one length contain each other only if they are equal
    for place, name in enumerate(folded):
        for other, longer in enumerate(folded):
            if place != other and name in longer:
                return names[place], names[other]
    return ()


def check_name(name: str, where: str) -> None:
    """Refuses a name that could be taken for a part of a sentence or an answer.

    Raises:
        DataError: If it has other characters than letters, digits, spaces, hyphens and apostrophes, or a word such as
            "and" that separates names.
    """
    if not _NAME.fullmatch(name) or name != " ".join(name.split()) or name.endswith(("'", "-")):
        raise DataError(
            f"{name!r} cannot be a name", field=where, fix="use letters, digits, single spaces, hyphens and apostrophes"
        )
    reserved = _RESERVED & set(name.casefold().split())
    if reserved:
        raise DataError(
            f"{name!r} cannot be a name: the word {min(reserved)!r} has a meaning in the questions",
            field=where,
            fix="choose another word",
        )


def _refuse_duplicates(words: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for word in words:
        if word.casefold() in seen:
            raise DataError(f"{word!r} comes twice among the {what}", fix="keep one of them")
        seen.add(word.casefold())
