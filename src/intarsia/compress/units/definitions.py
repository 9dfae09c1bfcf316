"""Sememes of a meaning that is told in words."""

import re
from itertools import zip_longest

from intarsia.compress.units.inflection import base_forms
from intarsia.compress.units.lexicon import SEMEMES, Lexicon
from intarsia.errors import InputError

_WORD = re.compile(r"[^\W\d_]+")

# Words of definitions that say how its other words hang together, not what they mean.
_FUNCTION_WORDS = """
    a about above after against all along also although am among an and another any are around as at be became
    because become been before being below between both but by can could did do does doing done down during each
    either especially etc every few for from further had has have having he her here hers him his how however i if
    in into is it its itself least less many may me might more most much must my neither no nor not now of off often
    on once one ones only onto or other others our out over own same shall she should since so some something
    someone somewhat such than that the their them themselves then there these they this those through thus to
    together too toward towards under until up upon us usually very was we were what when where whether which while
    who whom whose why will with within without would yet you your
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())


def sememes_of_definition(definition: str, lexicon: Lexicon) -> tuple[str, ...]:
    """Returns the sememes that a definition's words are or, if they are none, have in their first sense.

    Definitions name what a thing is first and then what is particular to it: sememes keep that order, the first of each
    word before any second.

    Raises:
        InputError: If no word of it is or has a sememe.
    """
    of_words = [_sememes_of_word(word, lexicon) for word in _WORD.findall(definition.lower())]
    found = [name for names in zip_longest(*of_words) for name in names if name is not None]
    if not found:
        raise InputError(
            f"the lexicon has no word of the definition {definition!r}", fix="use common words, or give sememes"
        )
    return tuple(dict.fromkeys(found))[:SEMEMES]


def _sememes_of_word(word: str, lexicon: Lexicon) -> tuple[str, ...]:
    if word in FUNCTION_WORDS:
        return ()
    for form in base_forms(word, lexicon.irregular):
        if form in lexicon.sememes:
            return (form,)
    senses = lexicon.lookup(word)
    return senses[0].sememes if senses else ()
