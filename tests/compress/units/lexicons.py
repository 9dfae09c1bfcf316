"""A lexicon and vocabularies small enough to count by hand."""

from intarsia.compress.units import Lexicon, Sense

LEXICON = Lexicon(
    {
        "dog": (Sense(("animal", "breed"), "noun.animal"), Sense(("follow",), "verb.motion")),
        "cat": (Sense(("animal", "fur"), "noun.animal"),),
        "walk": (Sense(("foot", "step"), "verb.motion"), Sense(("path", "foot"), "noun.act")),
        "goose": (Sense(("bird",), "noun.animal"),),
        "happy": (Sense(("pleasure", "show"), "adj.all"),),
        "void": (Sense((), "noun.state"),),
    },
    {"geese": ("goose",)},
)

BYTE_LEVEL = [
    "Ġdog",
    "dog",
    "ĠDog",
    "ĠDOG",
    "Ġdogs",
    "Ġwalk",
    "Ġwalking",
    "Ġgeese",
    "Ġ",
    "ĠĠ",
    ",",
    "12",
    "Ã",
    "Ã©",
    "Ġvoid",
]
MERGES = [
    ("Ġ", "d"),
    ("o", "g"),
    ("Ġd", "og"),
    ("d", "og"),
    ("Ġ", "w"),
    ("a", "l"),
    ("Ġw", "al"),
    ("i", "n"),
    ("in", "g"),
]
