"""File formats: each reader yields `(line, record)` one at a time, so a file may be larger than memory."""

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TextIO

from intarsia.errors import DataError

Record = tuple[int, dict[str, Any]]

# The csv module refuses cells above 128 KiB by default, which long documents exceed. A bound stays, so that a quote
# that is never closed gives an error and does not swallow the file.
csv.field_size_limit(1 << 24)

_ORANGE_TYPES = {"d", "discrete", "c", "continuous", "s", "string", "t", "time", "i", "ignore", "b", "basket"}


def read_records(path: Path) -> Iterator[Record]:
    """Yields every record of a file with the line it starts on.

    The format follows the name: `.jsonl`, `.csv`, `.tsv` or `.tab` (Orange: header lines for names, types and flags),
    each also with `.gz`. Tables are read with CSV quoting, as spreadsheets, pandas and Orange write them.

    Raises:
        DataError: If the file is missing, of an unknown format, not UTF-8, empty, or a line of it cannot be read.
    """
    if not path.is_file():
        raise DataError("file not found", file=path, fix=_near_files(path))
    reader = _READERS.get(data_suffix(path))
    if reader is None:
        raise DataError(f"cannot read files named {path.suffix or path.name!r}", file=path, fix=_readable())
    return _checked(path, reader)


def data_suffix(path: Path) -> str:
    """Returns what says the format in a file's name: the suffix, without a final `.gz`."""
    return path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _checked(path: Path, reader: Callable[[TextIO, Path], Iterable[Record]]) -> Iterator[Record]:
    empty = True
    try:
        opener = gzip.open if path.suffix.lower() == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            for record in reader(file, path):
                empty = False
                yield record
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text: {error.reason}", file=path, fix="save the file as UTF-8") from None
    except (gzip.BadGzipFile, EOFError):
        raise DataError("not a complete gzip file", file=path, fix="compress it again with gzip") from None
    if empty:
        raise DataError("the file has no rows", file=path)


def _json_lines(file: TextIO, path: Path) -> Iterator[Record]:
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(
                f"not valid JSON: {error.msg} at column {error.colno}",
                file=path,
                line=line,
                fix="JSONL holds one JSON object on each line",
            ) from None
        if not isinstance(record, dict):
            raise DataError(f"expected a JSON object, found {type(record).__name__}", file=path, line=line)
        yield line, record


def _comma_separated(file: TextIO, path: Path) -> Iterator[Record]:
    return _with_header(_table(file, path, ","), path)


def _tab_separated(file: TextIO, path: Path) -> Iterator[Record]:
    return _with_header(_table(file, path, "\t"), path)


def _orange(file: TextIO, path: Path) -> Iterator[Record]:
    header = [cells for _, cells in zip(range(3), csv.reader(file, delimiter="\t"), strict=False)]
    if len(header) < 3 or not {cell.lower() for cell in header[1]} <= _ORANGE_TYPES:
        raise DataError(
            "expected Orange's three header lines: names, types (discrete, continuous, string, ...) and flags",
            file=path,
            line=min(len(header), 2),
            fix="a table with one header line is read when its name ends in .tsv",
        )
    rows = ((line + 3, cells) for line, cells in _table(file, path, "\t"))
    return _named(header[0], rows, path)


def _table(file: TextIO, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(file, delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in rows:
            if cells:
                yield line, cells
            line = rows.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"not a table: {error}",
            file=path,
            line=line,
            fix='write a double quote inside a quoted cell twice (""), and quote cells that begin with one',
        ) from None


def _with_header(rows: Iterator[tuple[int, list[str]]], path: Path) -> Iterator[Record]:
    for _, header in rows:
        return _named(header, rows, path)
    return iter(())


def _named(header: list[str], rows: Iterator[tuple[int, list[str]]], path: Path) -> Iterator[Record]:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"two columns are called {twice[0]!r}", file=path, line=1)
    for line, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"expected {len(header)} columns ({', '.join(header)}), found {len(cells)}", file=path, line=line
            )
        yield line, dict(zip(header, cells, strict=True))


def _near_files(path: Path) -> str | None:
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, siblings, n=3)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else None


def _readable() -> str:
    return f"readable: {', '.join(_READERS)}, each also with .gz"


_READERS: dict[str, Callable[[TextIO, Path], Iterator[Record]]] = {
    ".jsonl": _json_lines,
    ".csv": _comma_separated,
    ".tsv": _tab_separated,
    ".tab": _orange,
}

DATA_SUFFIXES = frozenset(_READERS)
