"""Row schemas: one frozen dataclass each; reading, checking and writing follow from its fields."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from intarsia.errors import DataError, UnknownNameError

RowType = TypeVar("RowType", bound=type)

SCHEMAS: dict[str, type] = {}
"""The row dataclass of every schema, by the name users write."""


def schema(name: str) -> Callable[[RowType], RowType]:
    """Registers a frozen dataclass as the row schema `name`.

    The dataclass is the whole definition. Its first field is the input (what splits are cut by), fields with a default
    may be missing from a row, and a field may be a `str`, `int`, `float`, `bool`, another dataclass, a `tuple[X, ...]`
    of those, or any of them `| None`.
    """

    def register(row_type: RowType) -> RowType:
        SCHEMAS[name] = row_type
        return row_type

    return register


@schema("classification")
@dataclass(frozen=True, slots=True)
class ClassificationRow:
    """A text and the one label it has."""

    text: str
    label: str
    id: str | None = None


@schema("text-to-text")
@dataclass(frozen=True, slots=True)
class TextToTextRow:
    """A prompt and the text that should follow it."""

    prompt: str
    target: str
    id: str | None = None


@schema("scored-text")
@dataclass(frozen=True, slots=True)
class ScoredTextRow:
    """A text and a number on a scale, e.g. the similarity of the two sentences in it (STS-B, 0 to 5)."""

    text: str
    score: float
    id: str | None = None


def schema_type(name: str) -> type:
    """Returns the row dataclass of a schema.

    Raises:
        UnknownNameError: If there is no schema of that name.
    """
    if name not in SCHEMAS:
        raise UnknownNameError("schema", name, SCHEMAS)
    return SCHEMAS[name]


def from_record(schema: str, record: Mapping[str, Any], file: str | Path | None = None, line: int | None = None) -> Any:
    """Makes a row of `schema` from one record (a JSON object, or the cells of a table row by column name).

    Whole numbers are accepted where text is expected, because labels are often written as `0` and `1`; text is
    accepted where a number is expected, because tables hold only text. Fields the schema does not have are ignored.

    Args:
        schema: Name of the schema.
        record: The record.
        file: The file it comes from, for messages.
        line: Its line, counted from 1, for messages.

    Raises:
        UnknownNameError: If there is no such schema.
        DataError: If a field is missing, empty or of another type; it names file, line, field and what was expected.
    """
    return _row(schema_type(schema), record, file, line, "")


def to_record(row: Any) -> dict[str, Any]:
    """Returns a row as a JSON-able record without the optional fields that are None."""
    record = dataclasses.asdict(row)
    return {name: value for name, value in record.items() if value is not None}


def input_text(row: Any) -> str:
    """Returns the input of a row, its first field, as one line of lower-case text: equal inputs look the same here."""
    value = getattr(row, dataclasses.fields(row)[0].name)
    return " ".join(str(value).lower().split())


def _row(row_type: type, record: Mapping[str, Any], file: str | Path | None, line: int | None, path: str) -> Any:
    hints = _hints(row_type)
    values = {}
    for field in dataclasses.fields(row_type):
        name = path + field.name
        value = record.get(field.name)
        if _is_missing(value):
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                what = "is missing" if field.name not in record else "is empty"
                raise DataError(f"{field.name!r} {what}", file=file, line=line, field=name, fix=_expected(row_type))
            continue
        values[field.name] = _value(value, hints[field.name], file, line, name)
    return row_type(**values)


@cache
def _hints(row_type: type) -> dict[str, Any]:
    return typing.get_type_hints(row_type)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _value(value: Any, hint: Any, file: str | Path | None, line: int | None, path: str) -> Any:
    try:
        return _convert(value, hint, file, line, path)
    except (TypeError, ValueError):
        raise DataError(f"expected {_words(hint)}, found {_shown(value)}", file=file, line=line, field=path) from None


def _convert(value: Any, hint: Any, file: str | Path | None, line: int | None, path: str) -> Any:
    if isinstance(hint, types.UnionType):
        return _convert(value, _without_none(hint), file, line, path)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        item = typing.get_args(hint)[0]
        return tuple(_value(part, item, file, line, f"{path}[{index}]") for index, part in enumerate(value))
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise TypeError
        return _row(typing.cast(type, hint), value, file, line, f"{path}.")
    if isinstance(value, bool) is not (hint is bool):
        raise TypeError
    if hint is str and not isinstance(value, str | int):
        raise TypeError
    if hint is int and isinstance(value, float) and not value.is_integer():
        raise TypeError
    return hint(value)


def _without_none(hint: types.UnionType) -> Any:
    (inner,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    return inner


def _words(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        hint = _without_none(hint)
    if typing.get_origin(hint) is tuple:
        return "a list"
    if dataclasses.is_dataclass(hint):
        return f"an object with {', '.join(field.name for field in dataclasses.fields(hint))}"
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[hint]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _expected(row_type: type) -> str:
    names = [field.name for field in dataclasses.fields(row_type) if field.default is dataclasses.MISSING]
    return f"a row needs {' and '.join(map(repr, names))}; a field map says which columns they are read from"
