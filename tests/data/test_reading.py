import json

import pytest

from intarsia.data import ClassificationRow, ScoredTextRow, TextToTextRow, read, read_rows, splits, write_jsonl
from intarsia.errors import ConfigError, DataError, UnknownNameError


@pytest.fixture
def rows():
    return [ClassificationRow(f"text {number}", f"label {number % 3}", str(number)) for number in range(300)]


@pytest.fixture
def file(tmp_path, rows):
    write_jsonl(tmp_path / "rows.jsonl", rows)
    return tmp_path / "rows.jsonl"


def test_fields_are_read_from_the_columns_the_map_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("premise,hypothesis,gold,number\nA.,B.,yes,17\n")
    fields = {"text": ["premise", "hypothesis"], "label": "gold", "id": "number"}
    assert read_rows(path, fields=fields) == [ClassificationRow("A.\nB.", "yes", "17")]
    fields = {"prompt": "premise", "target": "hypothesis"}
    assert read_rows(path, schema="text-to-text", fields=fields) == [TextToTextRow("A.", "B.", "a.csv:2")]
    fields = {"text": "premise", "score": "number"}
    assert read_rows(path, schema="scored-text", fields=fields) == [ScoredTextRow("A.", 17.0, "a.csv:2")]


def test_rows_of_one_of_several_data_sets_in_a_file(tmp_path):
    path = tmp_path / "a.jsonl"
    records = [{"task": task, "text": f"{task} {n}", "label": "x", "year": 2000 + n} for n in (1, 2) for task in "ab"]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    assert [row.text for row in read(path, where={"task": ["b"]})] == ["b 1", "b 2"]
    assert [row.text for row in read(path, where={"task": ["a", "b"], "year": ["2002"]})] == ["a 2", "b 2"]
    with pytest.raises(DataError, match="there are no rows"):
        read_rows(path, where={"task": ["c"]})
    with pytest.raises(DataError, match=r"no 'tsk' to choose by(.|\n)*did you mean 'task'") as error:
        read_rows(path, where={"tsk": ["a"]})
    assert error.value.where == f"{path}, line 1, field 'where'"


def test_a_row_without_the_label(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": "b"}\n{"text": "c"}\n')
    with pytest.raises(DataError, match="the row has no 'label'") as error:
        read_rows(path)
    assert error.value.where == f"{path}, line 2, field 'label'"


def test_an_empty_label(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,b\nc,\n")
    with pytest.raises(DataError, match="'label' is empty") as error:
        read_rows(path)
    assert error.value.where == f"{path}, line 3, field 'label'"


def test_one_of_two_joined_columns_is_empty(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"premise": "a", "hypothesis": null, "label": "b"}\n')
    with pytest.raises(DataError, match="'text' is empty"):
        read_rows(path, fields={"text": ["premise", "hypothesis"]})


def test_a_column_the_map_misspells_is_suggested(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Quote,Author\na,b\n")
    with pytest.raises(DataError, match=r"no 'Qoute'(.|\n)*did you mean 'Quote'"):
        read_rows(path, fields={"text": "Qoute", "label": "Author"})
    with pytest.raises(DataError, match=r"no 'text'(.|\n)*it has Quote, Author; say with a field map"):
        read_rows(path)


def test_a_field_the_schema_does_not_have_is_suggested(file):
    with pytest.raises(UnknownNameError, match=r"unknown field 'lable'(.|\n)*did you mean 'label'"):
        read(file, fields={"lable": "label"})


def test_splits_of_one_file_are_disjoint_and_together_all_of_it(file, rows):
    parts = {split: read_rows(file, split=split) for split in ("train", "dev", "test")}
    assert read_rows(file) == rows
    assert sorted((row for part in parts.values() for row in part), key=lambda row: int(row.id)) == rows
    assert 15 <= len(parts["dev"]) <= 45
    assert 40 <= len(parts["test"]) <= 80
    assert splits(file) == ["train", "dev", "test"]


def test_rows_added_to_a_file_move_no_other_row(file, tmp_path, rows):
    write_jsonl(tmp_path / "more.jsonl", [ClassificationRow("new", "x", "new"), *rows])
    for split in ("train", "dev", "test"):
        more = [row for row in read(tmp_path / "more.jsonl", split=split) if row.id != "new"]
        assert more == read_rows(file, split=split)


def test_a_folder_holds_a_file_for_each_split(tmp_path, rows):
    write_jsonl(tmp_path / "train.jsonl", rows)
    (tmp_path / "test.csv").write_text("text,label\nheld out,b\n")
    (tmp_path / "README.md").touch()
    assert splits(tmp_path) == ["train", "dev", "test"]
    assert [row.text for row in read(tmp_path, split="test")] == ["held out"]
    train, dev = read_rows(tmp_path), read_rows(tmp_path, split="dev")
    assert train + dev != rows
    assert {*train} | {*dev} == {*rows}
    assert not {*train} & {*dev}


def test_bad_folders(tmp_path):
    with pytest.raises(DataError, match="no data in this folder"):
        read(tmp_path)
    (tmp_path / "train.csv").touch()
    (tmp_path / "train.jsonl").touch()
    with pytest.raises(DataError, match="two files hold the split 'train'"):
        read(tmp_path)


def test_seed_and_limit(file, rows):
    assert read_rows(file, limit=4) == rows[:4]
    shuffled = read_rows(file, seed=1)
    assert shuffled != rows
    assert sorted(shuffled, key=lambda row: int(row.id)) == rows
    assert read_rows(file, seed=1) == shuffled
    assert read_rows(file, seed=2) != shuffled
    assert read_rows(file, seed=1, limit=7) == shuffled[:7]


def test_no_rows_left(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "only one", "label": "x"}))
    empty = [split for split in ("train", "dev", "test") if not list(read(path, split=split))]
    assert len(empty) == 2
    with pytest.raises(DataError, match=f"there are no rows in split '{empty[0]}'"):
        read_rows(path, split=empty[0])


def test_bad_arguments(file):
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        read(file, split="trian")
    with pytest.raises(ConfigError, match="limit is 0"):
        read(file, limit=0)
    with pytest.raises(UnknownNameError, match="unknown schema"):
        read(file, schema="dialog")
    with pytest.raises(UnknownNameError, match=r"unknown dataset 'reuters-r9'(.|\n)*did you mean 'reuters-r8'"):
        read("reuters-r9")
    with pytest.raises(UnknownNameError, match="unknown dataset 'reuters8'"):
        read("asset:reuters8")
