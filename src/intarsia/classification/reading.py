"""Files of texts, labels and examples."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from intarsia.classification.labels import LabelSet
from intarsia.classification.prompts import Example
from intarsia.classification.results import Item
from intarsia.data.formats import read_records
from intarsia.errors import DataError

_PLAIN = (".txt", "")


def read_texts(path: str | Path) -> list[Item]:
    """Reads texts: JSONL, CSV or TSV with `text` and perhaps `id`, or a `.txt` file with one text a line.

    A row without an id is known by file and line.

    Raises:
        DataError: If the file cannot be read, a row has no text, or two rows have the same id.
    """
    path = Path(path)
    items: dict[str, Item] = {}
    for line, record in _records(path, "text"):
        text, given = record.get("text"), record.get("id")
        if not isinstance(text, str) or not text.strip():
            problem = "is missing" if text is None else "is empty" if isinstance(text, str) else "is no text"
            raise DataError(f"'text' {problem}", file=path, line=line, field="text", fix='write {"text": "..."}')
        id = f"{path.name}:{line}" if given is None or given == "" else str(given)
        if id in items:
            raise DataError(
                f"the id {id!r} comes twice", file=path, line=line, field="id", fix="give each text its own"
            )
        items[id] = Item(id, text)
    if not items:
        raise DataError("there are no texts", file=path)
    return list(items.values())


def read_labels(path: str | Path) -> LabelSet:
    """Reads labels: a `.txt` file with one a line (a tab and a description may follow), a JSON list or object
    (label -> description), or JSONL, CSV or TSV with `label` and perhaps `description`.

    Raises:
        DataError: If the file cannot be read, or holds no labels, an empty one, or the same one twice.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".json":
            return LabelSet.of(_json_labels(path))
        if path.suffix.lower() in _PLAIN:
            lines = [line.partition("\t") for line in _lines(path) if line.strip()]
            return _described((name.strip(), text.strip()) for name, _, text in lines)
        rows = [record for _, record in read_records(path)]
        return _described((record.get("label", ""), record.get("description") or "") for record in rows)
    except DataError as error:
        if error.where and str(path) in error.where:
            raise
        raise DataError(error.what, file=path, fix=error.fix) from None


def read_examples(ref: str | Path) -> list[Example]:
    """Reads examples: any classification data that `intarsia.data.read` takes.

    Raises:
        DataError: If they cannot be read.
    """
    from intarsia.data.reading import read_rows

    return [(row.text, row.label) for row in read_rows(ref, schema="classification", split=None)]


def _json_labels(path: Path) -> list[str] | dict[str, str]:
    try:
        content = json.loads("\n".join(_lines(path)))
    except json.JSONDecodeError as error:
        raise DataError(f"not valid JSON: {error.msg}", file=path, line=error.lineno) from None
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    if isinstance(content, dict) and all(isinstance(text, str) for text in content.values()):
        return content
    raise DataError("labels are a list of texts, or an object with a description of each", file=path)


def _described(rows: Iterable[tuple[Any, Any]]) -> LabelSet:
    pairs = list(rows)
    descriptions: Mapping[str, str] = {str(name): str(text) for name, text in pairs if text}
    return LabelSet(tuple(str(name) for name, _ in pairs), descriptions)


def _records(path: Path, field: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    if path.suffix.lower() in _PLAIN:
        return [(number, {field: line}) for number, line in enumerate(_lines(path), start=1) if line.strip()]
    return read_records(path)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError("file not found", file=path)
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text: {error.reason}", file=path, fix="save the file as UTF-8") from None
