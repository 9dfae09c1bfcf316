"""Words added to a trained table: rows from units that are there, and nothing else moves."""

import pytest
import torch

from intarsia.compress.adding_tokens import NewWord, add_words, predict_rows
from intarsia.compress.units import TokenStyle, UnitMap, merge_segmenter
from intarsia.errors import InputError, UnknownNameError

from .lexicons import BYTE_LEVEL, LEXICON, MERGES

SEGMENTER = merge_segmenter(MERGES, TokenStyle.BYTE_LEVEL)


class Tokenizer:
    """As far as adding words asks one."""

    def __init__(self, tokens):
        self.tokens = tokens

    def get_vocab(self):
        return {token: id for id, token in enumerate(self.tokens) if token is not None}


def add(words, tokens=BYTE_LEVEL, how="assigned", **options):
    unit_map = UnitMap.from_vocabulary(tokens, LEXICON, segmenter=SEGMENTER)
    table = unit_map.term_table(120, how, seed=4)
    added = add_words(
        unit_map, table, words, Tokenizer(tokens), lexicon=LEXICON, segmenter=SEGMENTER, how=how, seed=4, **options
    )
    return unit_map, table, added


def names(unit_map, id):
    return [tuple(unit_map.names[unit] for unit in row) for row in unit_map.units[id][unit_map.mask[id]].tolist()]


@pytest.mark.parametrize("how", ["assigned", "all"])
def test_a_word_made_of_what_a_token_is_made_of_gets_its_terms(how):
    # "Ġdogs" is in the vocabulary: added again, the same terms come out, and with `all` the same row.
    same = BYTE_LEVEL.index("Ġdogs")
    before, table, added = add({15: NewWord(word="dogs")}, how=how)
    assert names(added.units, 15) == names(before, same)
    assert torch.equal(added.table.units[15], table.units[same])
    if how == "all":
        assert torch.equal(added.table.rows[15], table.rows[same])
    for name in ("units", "copies", "mask"):
        assert torch.equal(getattr(added.table, name)[:15], getattr(table, name))
    assert torch.equal(added.table.copies_of_unit, table.copies_of_unit)
    assert added.units.names == before.names


def test_sememes_and_pieces_can_be_given():
    word = NewWord(word="wolf", senses=(("animal", "breed"), ("follow",)), pieces=("dog", "s"))
    _, _, added = add({15: word})
    assert names(added.units, 15) == [
        ("shape:start lower", "piece:dog", "piece:s"),
        ("piece:dog", "piece:s", "pad:3"),
        ("piece:dog", "sememe:animal", "sememe:breed"),
        ("piece:dog", "sememe:follow", "class:verb.motion"),
    ]
    assert added.units.found[15]
    assert added.units.words[15]


def test_a_word_is_looked_up_and_split_into_known_pieces():
    _, _, added = add({15: NewWord(word="walks"), 16: NewWord(word="seek", starts_word=False)})
    assert ("piece:wal", "piece:k", "piece:s") in names(added.units, 15)
    assert {name for term in names(added.units, 15) for name in term} >= {"sememe:foot", "sememe:path"}
    # No token ends in "ek": what is left of it is the letter that some token has as a piece.
    assert names(added.units, 16)[1] == ("piece:s", "piece:e", "piece:e")
    assert not added.units.found[16]
    without = add({15: NewWord(word="walks", senses=())})[2]
    assert len(names(without.units, 15)) == 2
    # No token has a sememe of "happy", so none of its vectors was trained.
    unseen = add({15: NewWord(word="happy", pieces=("dog",))})[2]
    assert len(names(unseen.units, 15)) == 2


def test_rows_that_no_token_has_can_be_taken():
    tokens = [*BYTE_LEVEL, None, None]
    before, _, added = add({16: NewWord(word="dogs"), 17: NewWord(word="dog")}, tokens)
    assert names(added.units, 15) == [("reserved", "pad:2", "pad:3")]
    assert names(added.units, 16) == names(before, BYTE_LEVEL.index("Ġdogs"))
    assert len(added.units) == added.table.num_embeddings == 18


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({3: NewWord(word="cat")}, "token id 3 is taken"),
        ({17: NewWord(word="cat")}, r"token ids \[17\] do not follow the last row, 14"),
        ({15: NewWord(word="日")}, "'日' shares no character with the vocabulary"),
    ],
)
def test_words_that_cannot_be_added_are_refused(words, says):
    with pytest.raises(InputError, match=says):
        add(words)


def test_unknown_units_are_named_with_near_ones():
    with pytest.raises(UnknownNameError, match=r"unknown sememe 'anima'\n.*senses of 'cat'\n.*'animal'"):
        add({15: NewWord(word="cat", senses=(("anima",),))})
    with pytest.raises(UnknownNameError, match=r"unknown piece 'dogg'\n.*pieces of 'cat'\n.*'dog'"):
        add({15: NewWord(word="cat", pieces=("dogg",))})
    with pytest.raises(InputError, match="'hot dog ' is no word"):
        NewWord(word="hot dog ")


def test_a_table_of_another_map_is_refused():
    unit_map = UnitMap.from_vocabulary(BYTE_LEVEL, LEXICON, segmenter=SEGMENTER)
    other = UnitMap.from_vocabulary(BYTE_LEVEL[:5], LEXICON, segmenter=SEGMENTER).term_table(120)
    with pytest.raises(InputError, match="the table has 5 tokens"):
        add_words(unit_map, other, {15: NewWord(word="cat")}, Tokenizer(BYTE_LEVEL), segmenter=SEGMENTER)


def test_rows_of_new_words_are_predicted_from_the_rows_there_are():
    unit_map = UnitMap.from_vocabulary(BYTE_LEVEL, LEXICON, segmenter=SEGMENTER)
    matrix = torch.randn(15, 4, generator=torch.Generator().manual_seed(0))
    words = [NewWord(word="dogs"), NewWord(word="wolf", senses=(("animal", "breed"),), pieces=("dog",))]
    rows = predict_rows(unit_map, matrix, words, lexicon=LEXICON, segmenter=SEGMENTER, penalty=0.01)
    assert rows.shape == (2, 4)
    # "Ġdogs" is there: what it is made of nearly gives its row back.
    distances = (rows[0] - matrix).norm(dim=1)
    assert int(distances.argmin()) == BYTE_LEVEL.index("Ġdogs")
    with pytest.raises(UnknownNameError, match="unknown sememe 'x'"):
        predict_rows(unit_map, matrix, [NewWord(word="a", senses=(("x",),))], lexicon=None, segmenter=SEGMENTER)
