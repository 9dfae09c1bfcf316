"""The lexicon made of a WordNet release: a tiny one written here, and the installed one."""

import os
from pathlib import Path

import pytest

from intarsia.compress.units import Lexicon, Sense, build_lexicon, default_lexicon, find_wordnet
from intarsia.errors import DataError, InputError

_LICENCE = "  1 This is a licence  \n"
_DATA = {
    "noun": [
        "00000010 03 n 01 animal 0 000 | a living being that can move",
        "00000020 05 n 02 dog 0 domestic_dog 0 001 @ 00000010 n 0000 | a tame animal that can move and bark; "
        '"the dog barked all night"',
        "00000030 05 n 01 cat 0 001 @ 00000010 n 0000 | a small tame animal",
        "00000040 18 n 01 dog 1 000 | a dull person",
    ],
    "verb": ["00000010 38 v 01 move 0 000 01 + 01 00 | change place"],
    "adj": ["00000010 00 a 01 tame 0 000 | living with persons", "00000020 00 s 01 small(a) 0 000 | limited in size"],
    "adv": ["00000010 02 r 01 tamely 0 000 | in a tame manner"],
}
_INDEX = {
    "noun": ["animal n 1 0 1 0 00000010", "cat n 1 1 @ 1 0 00000030", "dog n 2 1 @ 2 1 00000040 00000020"],
    "verb": ["move v 1 0 1 1 00000010"],
    "adj": ["small a 1 0 1 1 00000020", "tame a 1 0 1 0 00000010"],
    "adv": ["tamely r 1 0 1 0 00000010"],
}
_LEXNAMES = [f"{number:02d}\t{name}\t0" for number, name in enumerate(["adj.all"] * 46)]
for _place, _name in ((2, "adv.all"), (3, "noun.Tops"), (5, "noun.animal"), (18, "noun.person"), (38, "verb.motion")):
    _LEXNAMES[_place] = f"{_place:02d}\t{_name}\t0"


@pytest.fixture
def release(tmp_path):
    for name, lines in _DATA.items():
        (tmp_path / f"data.{name}").write_text(_LICENCE + "\n".join(lines) + "\n")
        (tmp_path / f"index.{name}").write_text(_LICENCE + "\n".join(_INDEX[name]) + "\n")
    (tmp_path / "lexnames").write_text("\n".join(_LEXNAMES) + "\n")
    (tmp_path / "noun.exc").write_text("kine cow\ndogges dog\n")
    (tmp_path / "cntlist.rev").write_text("dog%1:05:00:: 2 42\nmove%2:38:00:: 1 5\nsmall%5:00:00:: 1 9\n")
    return tmp_path


def test_senses_are_ordered_by_use_and_keep_their_class(release):
    lexicon = build_lexicon(release)
    assert [sense.lexname for sense in lexicon.lookup("dog")] == ["noun.animal", "noun.person"]
    assert lexicon.lookup("dogges") == lexicon.lookup("dog")
    assert lexicon.lookup("small")[0].lexname == "adj.all"


def test_sememes_are_the_words_of_definitions_the_rarer_the_sooner(release):
    lexicon = build_lexicon(release, inventory=3)
    # Definitions of senses seen in texts use `tame`, `move` and `animal`; "bark" stands in none of the lemmas.
    assert lexicon.sememes == {"animal", "move", "tame"}
    assert set(lexicon.lookup("dog")[0].sememes) == {"animal", "move", "tame"}
    assert lexicon.lookup("dog")[1] == Sense((), "noun.person")
    assert lexicon.lookup("cat")[0].sememes == ("animal", "tame")
    # A word of the inventory is a sememe of its own.
    assert lexicon.lookup("animal")[0].sememes[0] == "animal"


def test_a_folder_of_a_release_is_a_lexicon_and_the_default_one_is_kept(release, monkeypatch, tmp_path_factory):
    assert Lexicon.read(release).senses == build_lexicon(release).senses
    monkeypatch.setenv("INTARSIA_WORDNET", str(release))
    monkeypatch.setenv("INTARSIA_CACHE", str(tmp_path_factory.mktemp("cache")))
    assert find_wordnet() == release
    made = default_lexicon()
    assert made.senses == build_lexicon(release).senses
    monkeypatch.setattr("intarsia.compress.units.wordnet.build_lexicon", None)  # not made again
    assert default_lexicon().hash == made.hash


def test_what_is_no_release_is_refused(release, monkeypatch):
    with (release / "data.noun").open("a") as file:
        file.write("rubbish\n")
    with pytest.raises(DataError, match=r"not a line of WordNet.*\n.*data.noun, line 6"):
        build_lexicon(release)
    (release / "index.adv").unlink()
    with pytest.raises(InputError, match=r"index.adv missing"):
        build_lexicon(release)
    for name in ("INTARSIA_WORDNET", "WNSEARCHDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if not Path("/usr/share/wordnet/data.noun").is_file():
        with pytest.raises(InputError, match="INTARSIA_WORDNET"):
            find_wordnet()


@pytest.mark.slow
def test_the_installed_release_gives_nearly_the_reference_lexicon():
    try:
        lexicon = default_lexicon()
    except InputError as error:
        pytest.skip(error.what)
    assert len(lexicon.sememes) == 1400
    assert lexicon.lookup("dog")[0].lexname == "noun.animal"
    folder = Path(os.environ.get("INTARSIA_DATA", Path(__file__).parents[4] / "shared" / "data")) / "sememe-lexicon"
    if not folder.is_dir():
        pytest.skip("the reference lexicon is not on this machine")
    reference = Lexicon.read(folder)
    pairs = [
        (own, other)
        for lemma, others in reference.senses.items()
        for own, other in zip(lexicon.senses.get(lemma, ()), others, strict=False)
    ]
    assert len(pairs) > 0.99 * sum(map(len, reference.senses.values()))
    assert all(own.lexname == other.lexname for own, other in pairs)
    both = [(set(own.sememes), set(other.sememes)) for own, other in pairs if own.sememes and other.sememes]
    assert sum(bool(own & other) for own, other in both) > 0.95 * len(both)
