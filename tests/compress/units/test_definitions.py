"""Sememes of meanings told in words."""

import pytest

from intarsia.compress.units.definitions import sememes_of_definition
from intarsia.errors import InputError

from .lexicons import LEXICON


def test_words_give_themselves_or_what_they_are_made_of_in_their_order():
    # "fur" is a sememe; "dogs" and "walks" are not, so their first senses speak, one sememe of each before a second.
    assert sememes_of_definition("A Dog with fur, that walks", LEXICON) == ("animal", "fur", "foot", "breed")
    assert sememes_of_definition("birds", LEXICON) == ("bird",)
    assert sememes_of_definition("a dog and a cat", LEXICON) == ("animal", "breed", "fur")


@pytest.mark.parametrize("definition", ["", "what is this", "void"])
def test_a_definition_that_says_nothing_is_refused(definition):
    with pytest.raises(InputError, match=f"the lexicon has no word of the definition {definition!r}"):
        sememes_of_definition(definition, LEXICON)
