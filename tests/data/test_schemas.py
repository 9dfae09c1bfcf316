from dataclasses import FrozenInstanceError, dataclass

import pytest

from intarsia.data import SCHEMAS, ClassificationRow, ScoredTextRow, TextToTextRow, from_record, schema, to_record
from intarsia.errors import DataError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Turn:
    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class DialogueRow:
    turns: tuple[Turn, ...]
    head: tuple[int, ...] = ()
    done: bool = False


@pytest.fixture
def dialogue(monkeypatch):
    monkeypatch.setattr("intarsia.data.schemas.SCHEMAS", dict(SCHEMAS))
    schema("dialogue")(DialogueRow)


def test_rows_are_frozen():
    row = ClassificationRow("a", "b")
    with pytest.raises(FrozenInstanceError):
        row.label = "c"


@pytest.mark.parametrize(
    ("name", "record", "row"),
    [
        ("classification", {"text": "a", "label": "b", "more": 1}, ClassificationRow("a", "b")),
        ("classification", {"text": "a", "label": 1, "id": 7}, ClassificationRow("a", "1", "7")),
        ("text-to-text", {"prompt": "a", "target": "b", "id": None}, TextToTextRow("a", "b")),
        ("scored-text", {"text": "a", "score": "2.5"}, ScoredTextRow("a", 2.5)),
        ("scored-text", {"text": "a", "score": 2}, ScoredTextRow("a", 2.0)),
    ],
)
def test_from_record(name, record, row):
    assert from_record(name, record) == row


def test_record_of_a_row_reads_back():
    row = ClassificationRow("a", "b", "1")
    assert from_record("classification", to_record(row)) == row
    assert to_record(ClassificationRow("a", "b")) == {"text": "a", "label": "b"}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "a"}, "'label' is missing"),
        ({"text": "a", "label": None}, "'label' is empty"),
        ({"text": "a", "label": "  "}, "'label' is empty"),
        ({"text": "a", "label": ["b"]}, "expected text, found ['b']"),
        ({"text": "a", "label": 1.5}, "expected text, found 1.5"),
        ({"text": "a", "label": True}, "expected text, found True"),
    ],
)
def test_bad_rows_name_file_line_field_and_what_was_expected(record, message):
    with pytest.raises(DataError) as error:
        from_record("classification", record, "rows.jsonl", 3)
    assert error.value.what == message
    assert error.value.where == "rows.jsonl, line 3, field 'label'"


@pytest.mark.parametrize("score", ["high", True, None])
def test_a_number_is_expected(score):
    with pytest.raises(DataError, match=r"expected a number|is empty"):
        from_record("scored-text", {"text": "a", "score": score})


def test_unknown_schema_suggests():
    with pytest.raises(UnknownNameError, match="did you mean 'classification'"):
        from_record("clasification", {})


@pytest.mark.usefixtures("dialogue")
def test_a_new_schema_is_only_a_dataclass():
    row = from_record("dialogue", {"turns": [{"speaker": "A", "text": "hi"}], "head": [1, 2.0], "done": True})
    assert row == DialogueRow((Turn("A", "hi"),), (1, 2), True)
    assert from_record("dialogue", to_record(row)) == row


@pytest.mark.usefixtures("dialogue")
@pytest.mark.parametrize(
    ("record", "where", "message"),
    [
        ({"turns": [{"speaker": "A", "text": "hi"}, {"speaker": "B"}]}, "field 'turns[1].text'", "'text' is missing"),
        ({"turns": "hi"}, "field 'turns'", "expected a list, found 'hi'"),
        ({"turns": ["hi"]}, "field 'turns[0]'", "expected an object with speaker, text, found 'hi'"),
        ({"turns": [], "head": [1.5]}, "field 'head[0]'", "expected a whole number, found 1.5"),
        ({"turns": [], "done": "yes"}, "field 'done'", "expected true or false, found 'yes'"),
    ],
)
def test_nested_fields_are_named_in_full(record, where, message):
    with pytest.raises(DataError) as error:
        from_record("dialogue", record)
    assert (error.value.where, error.value.what) == (where, message)
