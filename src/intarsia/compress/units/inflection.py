"""From an inflected English form to the words it may be a form of."""

from collections.abc import Iterator, Mapping, Sequence

# Ending and what may stand in its place, the likelier first.
_ENDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ies", ("y",)),
    ("es", ("", "e")),
    ("s", ("",)),
    ("ied", ("y",)),
    ("ed", ("", "e")),
    ("ing", ("", "e")),
    ("ier", ("y",)),
    ("er", ("", "e")),
    ("iest", ("y",)),
    ("est", ("", "e")),
    ("ily", ("y",)),
    ("ly", ("", "le")),
)
_SHORTEST_STEM = 2
_DOUBLED = frozenset("bdgklmnprstvz")


def base_forms(word: str, irregular: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yields what a lower-case word may be a form of: itself, irregular bases, then bases by regular endings.

    Args:
        word: The form.
        irregular: Irregular forms and their bases.
    """
    yield word
    yield from irregular.get(word, ())
    for ending, replacements in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < _SHORTEST_STEM:
            continue
        for replacement in replacements:
            yield stem + replacement
        # "running", "bigger": the consonant before the ending was doubled.
        if ending[0] in "ei" and len(stem) > _SHORTEST_STEM and stem[-1] == stem[-2] and stem[-1] in _DOUBLED:
            yield stem[:-1]
