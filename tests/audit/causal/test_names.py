"""Names: unique, unambiguous, from one's own words too."""

import json
import re

import pytest

from intarsia.audit.causal.building import generate_questions
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.names import Names, WordList, builtin_words, draw_names, name_styles, read_words
from intarsia.audit.causal.streams import Stream
from intarsia.errors import DataError, InputError, UnknownNameError

PATTERNS = {
    "specific": r"[a-z]{8}",
    "pseudo": r"(?:[bdfgklmnprstvz][aeiou]){3}",
    "letters": r"[A-Z]",
    "bio": r"[a-z]{8} [a-z ]+",
}


@pytest.mark.parametrize("style", ["specific", "pseudo", "letters", "bio", "che", "eco", "phy"])
def test_no_name_is_part_of_another(style):
    for number in range(40):
        names = draw_names(style, 16, Stream(style, number))
        for labels in (names.factors, names.events):
            folded = [label.casefold() for label in labels]
            assert not [(a, b) for i, a in enumerate(folded) for j, b in enumerate(folded) if i != j and a in b]
        if style in PATTERNS:
            assert all(re.fullmatch(PATTERNS[style], name) for name in names.factors)


def test_events_of_a_science_are_changes_of_its_factors():
    names = draw_names("bio", 10, Stream(0))
    assert names.science == "biology"
    for factor, event in zip(names.factors, names.events, strict=True):
        change, of, rest = event.partition(" of ")
        assert of
        assert rest == factor
        assert change in builtin_words()["bio"].nouns[factor.partition(" ")[2]]
    assert draw_names("specific", 10, Stream(0)).events == draw_names("specific", 10, Stream(0)).factors


def test_specific_names_end_in_the_code_of_the_number():
    assert [name[5:] for name in draw_names("specific", 3, Stream(0)).factors] == ["aaa", "aab", "aac"]


def test_letters_do_not_tell_the_order():
    assert {draw_names("letters", 5, Stream(number)).factors[0] for number in range(60)} == set("ABCDE")


def test_every_science_has_thirty_nouns_with_two_changes():
    for words in builtin_words().values():
        assert len(words.nouns) == 30
        assert all(first != second for first, second in words.nouns.values())


def test_words_of_ones_own(tmp_path):
    content = {
        "law": {"field": "law", "nouns": {f"case {c}": ["start", "end"] for c in "abcdefgh"}},
        "cities": {"names": ["Rome", "Oslo", "Lima", "Bern", "Kyiv"]},
    }
    (tmp_path / "words.json").write_text(json.dumps(content))
    words = read_words(tmp_path / "words.json")
    assert name_styles(words)[-2:] == ["law", "cities"]
    config = BenchmarkConfig(levels=(1,), graphs=1, names=("law", "cities"))
    found = list(generate_questions(config, words=words))
    assert "a recent study in law." in found[0].prompt
    assert set(found[1].labels) == set(content["cities"]["names"])
    assert re.match(r"(start|end) of \w{8} case [a-h]$", found[4].labels[0])


def test_too_few_words_are_named():
    words = {"short": WordList("short", names=("one", "two", "three"))}
    with pytest.raises(InputError, match="word list 'short' has 3 words, but a graph has 5 nodes"):
        draw_names("short", 5, Stream(0), words)
    with pytest.raises(InputError, match=r"26 names, but a graph has 27 nodes[\s\S]*another name style"):
        draw_names("letters", 27, Stream(0))
    nested = {"nested": WordList("nested", names=("stone", "one"))}
    with pytest.raises(InputError, match="a name within another"):
        draw_names("nested", 2, Stream(0), nested)


def test_an_unknown_style_is_named():
    with pytest.raises(UnknownNameError, match=r"unknown name style 'biology'[\s\S]*bio"):
        draw_names("biology", 5, Stream(0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "maps styles to word lists"),
        ('{"a": {"nuons": {}}}', "style 'a' needs field and nouns"),
        ('{"a": {"nouns": {"acid": ["increase"]}}}', "every noun needs a pair of changes"),
        ('{"a": {"names": ["x", "X"]}}', "'X' comes twice among the names of word list 'a'"),
        ('{"a": {"nouns": {"acid": ["up", "down"], "acid": ["on", "off"]}}}', "'acid' comes twice"),
        ('{"a": {"names": ["salt and pepper"]}}', "the word 'and' has a meaning in the questions"),
        ('{"a": {"names": ["a, b"]}}', "'a, b' cannot be a name"),
        ('{"a": {"names": ["a -> b"]}}', "cannot be a name"),
        ('{"a": {"names": ["wet_grass"]}}', "'wet_grass' cannot be a name"),
        ('{"a": {}}', "needs either nouns or names"),
        ('{"a": ', "not valid JSON"),
    ],
)
def test_bad_words_are_named(tmp_path, text, message):
    (tmp_path / "words.json").write_text(text)
    with pytest.raises(DataError, match=re.escape(message)):
        read_words(tmp_path / "words.json")


def test_a_missing_file_of_words_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no such file of words[\s\S]*nowhere.json"):
        read_words(tmp_path / "nowhere.json")


def test_names_within_each_other_are_refused():
    with pytest.raises(DataError, match="'rain' and 'rainbow'"):
        Names(("rain", "rainbow"), ("rain", "rainbow"))
