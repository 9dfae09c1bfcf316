"""Reading rows from anywhere, and writing them."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from intarsia.data._sources import Where, find_source
from intarsia.data.catalogue import FieldMap
from intarsia.data.sampling import sample
from intarsia.data.schemas import to_record
from intarsia.errors import DataError
from intarsia.files import atomic_file


def read(
    ref: str | Path,
    *,
    schema: str | None = None,
    split: str | None = None,
    fields: FieldMap | None = None,
    where: Where | None = None,
    limit: int | None = None,
    seed: int | None = None,
) -> Iterator[Any]:
    """Yields the rows of a data set, one at a time.

    Args:
        ref: One of:

            - a file: `.jsonl`, `.csv`, `.tsv` or Orange's `.tab`, also with `.gz`;
            - a folder with files named after splits (`train.jsonl`, `dev.csv`, ...);
            - a name of the catalogue, `reuters-r8`: from the installed texts if the entry names some, else from the
              hub. `asset:reuters-r8` and `hub:20newsgroups` insist on one of the two;
            - a hub id, `owner/name` or `owner/name:config`.
        schema: What the rows are: a key of `SCHEMAS`. By default that of the catalogue, or "classification".
        split: "train", "dev" or "test". Where a data set lacks one, it is cut from train by the hash of the text, so
            the splits share no text. By default "train", and all rows of a single file.
        fields: For each field of the schema, the column it is read from, or several that are joined by line breaks.
            By default columns are called like the fields.
        where: For a column, the values (as text) a row must have one of; other rows are passed over. It makes several
            data sets of a file that holds several.
        limit: How many rows to yield at most.
        seed: Shuffles the rows before `limit` is applied; see `intarsia.data.sample`.

    Raises:
        UnknownNameError: If nothing is called `ref`, or there is no such schema, split or field.
        DataError: If a file cannot be read, or a row lacks a field or a column of `where`, or has another type; it
            names file, line and field.
        ConfigError: If the limit is below 1.
    """
    source = find_source(ref, schema, fields, where)
    streaming = limit is not None and seed is None
    return sample(source.rows(split, streaming=streaming), limit=limit, seed=seed)


def read_rows(
    ref: str | Path,
    *,
    schema: str | None = None,
    split: str | None = None,
    fields: FieldMap | None = None,
    where: Where | None = None,
    limit: int | None = None,
    seed: int | None = None,
) -> list[Any]:
    """Returns the rows of a data set as a list; the arguments are those of `read`.

    Raises:
        DataError: As `read`, and if there is no row.
    """
    rows = list(read(ref, schema=schema, split=split, fields=fields, where=where, limit=limit, seed=seed))
    if not rows:
        raise DataError(f"there are no rows in {f'split {split!r}' if split else 'it'}", file=ref)
    return rows


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> int:
    """Writes rows as one JSON object a line, atomically; compressed if the name ends in `.gz`.

    Equal rows give equal bytes, compressed or not.

    Returns:
        The number of rows.
    """
    path = Path(path)
    count = 0
    with atomic_file(path) as temporary, temporary.open("wb") as raw:
        file = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
        for row in rows:
            file.write(f"{json.dumps(to_record(row), ensure_ascii=False)}\n".encode())
            count += 1
        if file is not raw:
            file.close()
    return count
