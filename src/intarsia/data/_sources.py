"""What a reference stands for: a `Source` knows its splits and makes rows of their records."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from intarsia.data.catalogue import DatasetEntry, FieldMap, HubSource, catalogue, entry
from intarsia.data.formats import DATA_SUFFIXES, Record, data_suffix, read_records
from intarsia.data.hub import hub_splits, read_hub_records
from intarsia.data.sampling import split_of
from intarsia.data.schemas import from_record, input_text, schema_type
from intarsia.errors import ConfigError, DataError, UnknownNameError

CUT: Mapping[str, float] = {"dev": 0.1, "test": 0.2}
"""Shares of the splits that are cut from train where a data set of the user has none."""

Where = Mapping[str, Sequence[str]]
"""Column -> the values a record must have one of to be read."""

# The transcripts were written in Windows-1252 and read as Latin-1 once: what should be an apostrophe is a control code.
_WINDOWS_1252 = {code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}


@dataclass(frozen=True, slots=True)
class Part:
    """The records of one split as they are stored.

    Attributes:
        name: What messages call it: the file, or the data set and split.
        records: Makes an iterator over them, given whether they may be streamed.
    """

    name: str
    records: Callable[[bool], Iterator[Record]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from.

    Attributes:
        name: What messages call it.
        schema: Name of the schema of its rows.
        fields: Row field -> column or columns.
        parts: The splits as they are stored.
        cut: Shares of the splits that are cut from the part "train".
        where: Column -> values; records with another value are passed over.
        single: Whether it is one file, which is read whole if no split is asked for.
        entry: What the catalogue says about it.
    """

    name: str
    schema: str
    fields: FieldMap
    parts: Mapping[str, Part]
    cut: Mapping[str, float] = field(default_factory=dict)
    where: Where = field(default_factory=dict)
    single: bool = False
    entry: DatasetEntry | None = None

    def rows(self, split: str | None, *, streaming: bool) -> Iterator[Any]:
        """Returns an iterator over the rows of a split.

        Raises:
            UnknownNameError: If there is no such split, or the field map names a field the schema does not have.
            DataError: If the file cannot be read; while iterating, if a row is bad.
        """
        whole = split is None and self.single
        split = split or "train"
        if split not in {*self.parts, *self.cut}:
            raise UnknownNameError("split", split, {*self.parts, *self.cut}, where=self.name)
        rows = self._rows(self.parts["train" if split in self.cut else split], streaming)
        if whole or not (split in self.cut or (split == "train" and self.cut)):
            return rows
        return (row for row in rows if split_of(input_text(row), self.cut) == split)

    def _rows(self, part: Part, streaming: bool) -> Iterator[Any]:
        required = {
            field.name: field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            for field in dataclasses.fields(schema_type(self.schema))
        }
        for name in self.fields:
            if name not in required:
                raise UnknownNameError("field", name, required, where=f"field map of {self.name}")
        return self._make_rows(part.name, part.records(streaming), required)

    def _make_rows(self, file: str, records: Iterator[Record], required: Mapping[str, bool]) -> Iterator[Any]:
        where = self.entry.where if self.entry else {}
        stem = Path(file).name
        for line, record in records:
            if any(record.get(column) not in allowed for column, allowed in where.items()):
                continue
            if not _is_wanted(record, self.where, file, line):
                continue
            values = {
                name: _pick(record, self.fields.get(name, name), name, file, line)
                for name, must in required.items()
                if must or name in self.fields or name in record
            }
            if "id" in required and values.get("id") is None:
                values["id"] = f"{stem}:{line}"
            if self.entry:
                values = _tidy(values, self.entry, file, line)
                if not _long_enough(values, required, self.entry.min_words):
                    continue
            yield from_record(self.schema, values, file, line)


def find_source(ref: str | Path, schema: str | None, fields: FieldMap | None, where: Where | None = None) -> Source:
    """Returns what `ref` stands for; see `intarsia.data.read` for what it may be.

    Raises:
        UnknownNameError: If nothing is called that.
        DataError: If it is a file or folder that is missing or cannot be read.
    """
    return dataclasses.replace(_find_source(ref, schema, fields), where=where or {})


def _find_source(ref: str | Path, schema: str | None, fields: FieldMap | None) -> Source:
    text = str(ref)
    scheme, _, name = text.partition(":")
    if scheme in ("asset", "hub") and name:
        return _catalogue_source(entry(name), schema, fields, scheme)
    path = Path(ref)
    if path.is_dir():
        return _folder_source(path, schema or "classification", fields or {})
    if _looks_like_file(ref, path):
        # Opened here, so that a missing file is reported at once and not at the first row.
        part = Part(text, lambda _: read_records(path))
        part.records(False)
        return Source(text, schema or "classification", fields or {}, {"train": part}, CUT, single=True)
    if text in catalogue():
        return _catalogue_source(entry(text), schema, fields, None)
    if text.count("/") == 1:
        return _hub_source(text, schema or "classification", fields or {})
    raise UnknownNameError("dataset", text, catalogue())


def _looks_like_file(ref: str | Path, path: Path) -> bool:
    # A path is worth a message about a missing file, and not a search of the hub.
    in_folder = path.parent != Path() and path.parent.is_dir()
    return isinstance(ref, Path) or data_suffix(path) in DATA_SUFFIXES or path.exists() or in_folder


def _folder_source(folder: Path, schema: str, fields: FieldMap) -> Source:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        split = path.name.partition(".")[0]
        if data_suffix(path) in DATA_SUFFIXES and split in ("train", *CUT):
            if split in found:
                raise DataError(f"two files hold the split {split!r}: {found[split].name} and {path.name}", file=folder)
            found[split] = path
    if not found:
        raise DataError("no data in this folder", file=folder, fix="it should hold train.jsonl (or .csv, .tsv, .tab)")
    parts = {split: _file_part(path) for split, path in found.items()}
    cut = {split: share for split, share in CUT.items() if split not in found and "train" in found}
    return Source(str(folder), schema, fields, parts, cut)


def _file_part(path: Path) -> Part:
    return Part(str(path), lambda _: read_records(path))


def _catalogue_source(known: DatasetEntry, schema: str | None, fields: FieldMap | None, scheme: str | None) -> Source:
    if schema not in (None, known.schema) and fields is None:
        raise ConfigError("schema", schema, f"{known.schema!r} for {known.name}, unless fields are mapped")
    if scheme is not None and getattr(known, scheme) is None:
        other = "hub" if scheme == "asset" else "asset"
        raise DataError(f"{known.name} has no {scheme} source", fix=f"use {other}:{known.name}")
    if known.asset and scheme != "hub":
        parts = {split: _file_part(path) for split, path in known.asset.paths().items()}
        own_fields = known.fields
    elif known.hub:
        parts = _hub_parts(known.hub)
        own_fields = known.hub.fields or known.fields
    return Source(known.name, schema or known.schema, fields or own_fields, parts, known.cut, entry=known)


def _hub_source(text: str, schema: str, fields: FieldMap) -> Source:
    id, _, config = text.partition(":")
    stored = hub_splits(id, config or None)
    splits = {name: name for name in stored}
    for name in ("validation", "valid"):
        if name in stored:
            splits.setdefault("dev", name)
    cut = {split: share for split, share in CUT.items() if split not in splits and "train" in splits}
    return Source(text, schema, fields, _hub_parts(HubSource(id, splits, config or None)), cut)


def _hub_parts(hub: HubSource) -> dict[str, Part]:
    def part(stored: str) -> Part:
        read = partial(read_hub_records, hub.id, hub.config, stored)
        return Part(f"{hub.id}/{stored}", lambda streaming: read(streaming=streaming))

    return {split: part(stored) for split, stored in hub.splits.items()}


def _is_wanted(record: Mapping[str, Any], where: Where, file: str, line: int) -> bool:
    for column in where:
        if column not in record:
            what = f"the row has no {column!r} to choose by"
            raise DataError(what, file=file, line=line, field="where", fix=_near(column, record))
    # Values of tables are text.
    return all(str(record[column]) in allowed for column, allowed in where.items())


def _near(column: str, record: Mapping[str, Any]) -> str:
    near = get_close_matches(column, list(record), n=3)
    return f"did you mean {' or '.join(map(repr, near))}" if near else f"it has {', '.join(record)}"


def _pick(record: Mapping[str, Any], column: str | Sequence[str], name: str, file: str, line: int) -> Any:
    columns = [column] if isinstance(column, str) else column
    for each in columns:
        if each not in record:
            raise DataError(
                f"the row has no {each!r}",
                file=file,
                line=line,
                field=name,
                fix=f"{_near(each, record)}; say with a field map which column holds {name!r}",
            )
    if isinstance(column, str):
        return record[column]
    values = [record[each] for each in columns]
    return None if None in values else "\n".join(map(str, values))


def _tidy(values: dict[str, Any], known: DatasetEntry, file: str, line: int) -> dict[str, Any]:
    if known.asset:
        values = {
            name: " ".join(value.translate(_WINDOWS_1252).split()) if isinstance(value, str) else value
            for name, value in values.items()
        }
    if known.labels:
        if values["label"] not in known.labels:
            raise DataError(
                f"expected {' or '.join(known.labels)}, found {values['label']!r}", file=file, line=line, field="label"
            )
        values["label"] = known.labels[values["label"]]
    return values


def _long_enough(values: Mapping[str, Any], required: Mapping[str, bool], min_words: int) -> bool:
    # Some texts of the known collections are empty; the rows of a user are never dropped.
    return len(str(values[next(iter(required))]).split()) >= max(min_words, 1)
