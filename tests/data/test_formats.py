import csv
import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.data import ClassificationRow, read, read_rows, write_jsonl
from intarsia.errors import DataError

ROWS = [ClassificationRow("good, really", "pos", "1"), ClassificationRow('a "bad"\tone', "neg", "2")]
RECORDS = [{"text": row.text, "label": row.label, "id": row.id} for row in ROWS]


def write_table(path, delimiter, header_lines=()):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["label", "text", "id"])
        writer.writerows(header_lines)
        writer.writerows([row.label, row.text, row.id] for row in ROWS)
    return path


def make(path):
    if ".jsonl" in path.name:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "wt", encoding="utf-8") as file:
            file.write("\n\n".join(map(json.dumps, RECORDS)))
        return path
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(make(path.with_suffix("")).read_bytes()))
        return path
    orange = [["discrete", "string", "string"], ["class", "", "meta"]] if path.suffix == ".tab" else []
    return write_table(path, "," if path.suffix == ".csv" else "\t", orange)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.tsv", "a.tab", "a.tsv.gz", "a.CSV"])
def test_every_format_gives_the_same_rows(tmp_path, name):
    path = make(tmp_path / name.lower()).rename(tmp_path / name)
    assert read_rows(path) == ROWS
    assert read_rows(str(path)) == ROWS


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("\ufefftext,label\r\na,b\r\n".encode())
    assert read_rows(path) == [ClassificationRow("a", "b", "a.csv:2")]


def test_rows_without_id_are_named_by_file_and_first_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"two\nlines",b\n\nc,d\n')
    assert [(row.text, row.id) for row in read(path)] == [("two\nlines", "a.csv:2"), ("c", "a.csv:5")]


def test_cells_above_the_default_limit_of_the_csv_module(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\n{'a' * 200_000},b\n")
    assert len(read_rows(path)[0].text) == 200_000


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_written_rows_read_back_and_have_equal_bytes(tmp_path, name):
    assert write_jsonl(tmp_path / name, iter(ROWS)) == 2
    assert read_rows(tmp_path / name) == ROWS
    first = (tmp_path / name).read_bytes()
    write_jsonl(tmp_path / name, ROWS)
    assert (tmp_path / name).read_bytes() == first


def test_failed_writing_leaves_the_old_file(tmp_path):
    def failing():
        yield ROWS[0]
        raise KeyboardInterrupt

    write_jsonl(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(KeyboardInterrupt):
        write_jsonl(tmp_path / "a.jsonl", failing())
    assert read_rows(tmp_path / "a.jsonl") == ROWS
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


not_blank = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.builds(ClassificationRow, not_blank, not_blank, not_blank), min_size=1))
def test_any_text_survives_jsonl(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    write_jsonl(path, rows)
    assert read_rows(path) == rows


def test_files_are_streamed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": "b"}\nnot JSON\n')
    assert [row.text for row in read(path, limit=1)] == ["a"]


@pytest.mark.parametrize(
    ("name", "content", "message", "where"),
    [
        ("a.jsonl", "", "the file has no rows", "a.jsonl"),
        ("a.csv", "", "the file has no rows", "a.csv"),
        ("a.csv", "text,label\n", "the file has no rows", "a.csv"),
        ("a.tab", "text\tlabel\nstring\td\n\t\n", "the file has no rows", "a.tab"),
        ("a.jsonl", '{"text": "a", "label": "b"}\n{"text": ', "not valid JSON: Expecting value at", "a.jsonl, line 2"),
        ("a.jsonl", "[1]", "expected a JSON object, found list", "a.jsonl, line 1"),
        ("a.csv", "text,label\na,b\nc\n", "expected 2 columns (text, label), found 1", "a.csv, line 3"),
        ("a.tsv", "text\tlabel\na\tb\tc\n", "expected 2 columns (text, label), found 3", "a.tsv, line 2"),
        ("a.csv", "text,text\na,b\n", "two columns are called 'text'", "a.csv, line 1"),
        ("a.csv", 'text,label\n"a,b\nc,d\n', "not a table", "a.csv, line 2"),
        ("a.tsv", 'text\tlabel\n"a" she said\tb\n', "not a table", "a.tsv, line 2"),
        ("a.tab", "text\tlabel\na\tb\nc\td\n", "expected Orange's three header lines", "a.tab, line 2"),
        ("a.tab", "text\tlabel\n", "expected Orange's three header lines", "a.tab, line 1"),
        ("a.txt", "a", "cannot read files named '.txt'", "a.txt"),
        ("a.jsonl", b"\xff\xfe", "not UTF-8 text", "a.jsonl"),
        ("a.jsonl.gz", b"plain", "not a complete gzip file", "a.jsonl.gz"),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"text": "a", "label": "b"}' * 9, mtime=0)[:-9],
            "not a complete gzip",
            "a.jsonl.gz",
        ),
    ],
)
def test_bad_files_are_explained(tmp_path, name, content, message, where):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        list(read(path))
    assert message in error.value.what
    assert error.value.where == str(tmp_path / where)
    assert error.value.exit_code == 2


def test_missing_file_is_reported_before_the_first_row_and_suggests(tmp_path):
    (tmp_path / "train.jsonl").touch()
    with pytest.raises(DataError, match=r"file not found(.|\n)*did you mean 'train.jsonl'"):
        read(tmp_path / "trian.jsonl")
    with pytest.raises(DataError, match="file not found"):
        read(str(tmp_path / "other"))
