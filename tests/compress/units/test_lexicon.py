"""Reading lexicons of all kinds, looking inflected words up, and what is said about bad ones."""

import gzip
import re
from types import SimpleNamespace

import pytest

from intarsia.compress.units import Lexicon, Sense
from intarsia.compress.units.inflection import base_forms
from intarsia.errors import DataError, InputError

from .lexicons import LEXICON


@pytest.mark.parametrize(
    ("form", "lemma"),
    [
        ("dog", "dog"),
        ("DOGS", "dog"),
        ("geese", "goose"),
        ("walking", "walk"),
        ("walked", "walk"),
        ("walker", "walk"),
        ("dogged", "dog"),
        ("happier", "happy"),
        ("happily", "happy"),
        ("catlike", None),
        ("ing", None),
    ],
)
def test_a_form_is_looked_up_by_its_lemma(form, lemma):
    assert LEXICON.lemma(form) == lemma
    assert bool(LEXICON.lookup(form)) == (lemma is not None)


def test_the_form_itself_comes_before_what_it_may_be_a_form_of():
    assert next(base_forms("leaves", {"leaves": ("leaf",)})) == "leaves"
    assert list(base_forms("leaves", {"leaves": ("leaf",)}))[:2] == ["leaves", "leaf"]
    assert {"make", "mak"} <= set(base_forms("making", {}))
    assert {"fly", "simple", "run"} <= {
        form for word in ("flies", "simply", "running") for form in base_forms(word, {})
    }


def test_a_saved_lexicon_is_the_same(tmp_path):
    LEXICON.save(tmp_path)
    again = Lexicon.read(tmp_path)
    assert again.senses == LEXICON.senses
    assert again.irregular == LEXICON.irregular
    assert again.hash == LEXICON.hash
    assert again.hash != Lexicon({"dog": (Sense(("animal",)),)}).hash


def test_hownet_rows_are_read_with_and_without_a_header(tmp_path):
    rows = "Dog\t1\tlivestock; human\ndog\t2\thuman,bad\ncat\t1\tlivestock\n"
    (tmp_path / "plain.tsv").write_text(rows)
    (tmp_path / "named.tsv").write_text("word\tsense\tsememes\n" + rows)
    (tmp_path / "turned.tsv.gz").write_bytes(gzip.compress(b"sense\tsememes\tword\n1\tlivestock|human\tdog\n"))
    plain, named, turned = (Lexicon.read(tmp_path / name) for name in ("plain.tsv", "named.tsv", "turned.tsv.gz"))
    assert plain.senses == named.senses
    assert plain.lookup("dogs") == (Sense(("livestock", "human")), Sense(("human", "bad")))
    assert turned.lookup("dog") == (Sense(("livestock", "human")),)
    assert plain.sememes == {"livestock", "human", "bad"}


def test_rows_of_the_same_sense_are_joined():
    lexicon = Lexicon.from_rows([("Dog", "1", ["animal"]), ("dog", "1", ["animal", "tame"]), ("dog", "2", ["bad"])])
    assert lexicon.lookup("dog") == (Sense(("animal", "tame")), Sense(("bad",)))


def test_an_openhownet_dictionary_is_read():
    class Sememe(SimpleNamespace):
        def __repr__(self):
            return self.name

    def sense(number, definition, *names):
        sememes = [Sememe(name=name, en=name.partition("|")[0]) for name in names]
        # The package gives a set: its order means nothing.
        return SimpleNamespace(No=number, Def=definition, get_sememe_list=lambda: sememes[::-1])

    dictionary = SimpleNamespace(
        get_en_words=lambda: ["dog", "hot dog"],
        get_sense=lambda word, language: [
            sense("000000000002", "{human|人:modifier={bad|坏}}", "human|人", "bad|坏"),
            sense("000000000001", "{livestock|牲畜}", "livestock|牲畜"),
        ],
    )
    assert Lexicon.from_openhownet(dictionary).senses == {"dog": (Sense(("livestock",)), Sense(("human", "bad")))}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("lemma\tpos\tsense\ttag_count\tlexname\tsememes\n", "empty"),
        ("word\tsense\tsememes\ndog\t1\n", r"a row has 2 cells.*\n.*line 2\b"),
        ("word\tsense\tsememes\n\t1\tanimal\n", r"no word.*\n.*line 2\b"),
        ("word\tsense\tmeaning\ndog\t1\tanimal\n", r"no column 'sememes' among word, sense, meaning.*\n.*line 1\b"),
        ("a\tb\nc\td\n", r"unknown columns a, b.*\n.*line 1\b"),
        ("word\tsense\tsememes\ndog\t1\tanimal\ndog\t1\tbad\n", r"sense '1' of 'dog' is there twice.*\n.*line 3\b"),
    ],
)
def test_a_malformed_table_is_refused_by_line(tmp_path, text, says):
    (tmp_path / "lexicon.tsv").write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        Lexicon.read(tmp_path / "lexicon.tsv")
    assert "lexicon.tsv" in str(caught.value)


def test_what_is_no_lexicon_is_refused(tmp_path):
    with pytest.raises(InputError, match="not found"):
        Lexicon.read(tmp_path / "none.tsv")
    with pytest.raises(InputError, match=re.escape("holds no lexicon")):
        Lexicon.read(tmp_path)
    (tmp_path / "bad.tsv.gz").write_bytes(b"plain")
    with pytest.raises(DataError, match="not a gzip file"):
        Lexicon.read(tmp_path / "bad.tsv.gz")
    (tmp_path / "bad.tsv").write_bytes(b"dog\t1\tanimal\ncaf\xe9\t1\tfood\n")
    with pytest.raises(DataError, match=r"not UTF-8 text\n.*line 2\b"):
        Lexicon.read(tmp_path / "bad.tsv")
    with pytest.raises(InputError, match="no word"):
        Lexicon({})
    (tmp_path / "lexicon.tsv").write_text("word\tsense\tsememes\ndog\t1\tanimal\n")
    (tmp_path / "irregular.tsv").write_text("form\tlemmas\ngeese\n")
    with pytest.raises(DataError, match=r"two are needed\n.*irregular.tsv, line 2"):
        Lexicon.read(tmp_path)
