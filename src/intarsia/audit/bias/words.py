"""Texts as tokens, so that words are compared as words: case, articles, punctuation and plurals make no difference."""

import re
from collections.abc import Sequence
from functools import cache

Tokens = tuple[str, ...]

ARTICLES = frozenset({"a", "an", "the"})
NEGATIONS = frozenset(
    ["not", "never", "neither", "nor", "no", "none", "cannot", "cant", "dont", "doesnt", "isnt", "arent", "wont"]
)

_IRREGULAR = {
    "men": "man",
    "women": "woman",
    "people": "person",
    "persons": "person",
    "children": "child",
    "wives": "wife",
    "knives": "knife",
    "lives": "life",
    "elves": "elf",
    "teeth": "tooth",
    "feet": "foot",
    "mice": "mouse",
    "folks": "folk",
}
_APOSTROPHES = re.compile("['’‘ʼ`´]")
_WORD = re.compile(r"[^\W_]+")


def tokens(text: str) -> Tokens:
    """Returns the words of a text in lower case; `didn't` is `didnt`, a hyphen separates words."""
    return tuple(_WORD.findall(_APOSTROPHES.sub("", text).casefold()))


@cache
def lemma(token: str) -> str:
    """Returns the singular of a noun, by rules and a table of irregular ones. Other words may become no words at all.

    Texts are compared by their lemmas on both sides, so it matters only that different words stay different.
    """
    if token in _IRREGULAR:
        return _IRREGULAR[token]
    if len(token) > 4 and token.endswith("ies"):
        return token[:-3] + "y"
    if len(token) > 4 and token.endswith(("sses", "xes", "ches", "shes", "zes")):
        return token[:-2]
    if len(token) > 3 and token.endswith("s") and not token.endswith(("ss", "us", "is")):
        return token[:-1]
    return token


def lemmas(text: str) -> Tokens:
    """Returns the lemmas of a text's words without articles."""
    return tuple(lemma(token) for token in tokens(text) if token not in ARTICLES)


def find_phrases(text: Sequence[str], phrases: Sequence[Tokens]) -> list[tuple[int, int]]:
    """Finds phrases in a sequence of tokens; where two overlap, the longer counts.

    Args:
        text: The tokens.
        phrases: What to find.

    Returns:
        Pairs of position and index into `phrases`, in the order of the text.
    """
    by_length = sorted(range(len(phrases)), key=lambda index: -len(phrases[index]))
    found: list[tuple[int, int]] = []
    position = 0
    while position < len(text):
        for index in by_length:
            phrase = phrases[index]
            if phrase and tuple(text[position : position + len(phrase)]) == phrase:
                found.append((position, index))
                position += len(phrase) - 1
                break
        position += 1
    return found
