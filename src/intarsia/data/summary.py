"""What a data set holds, in numbers."""

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.data._sources import find_source
from intarsia.data.catalogue import FieldMap
from intarsia.data.labels import label_counts
from intarsia.data.reading import read_rows
from intarsia.data.schemas import input_text


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """One split in numbers.

    Attributes:
        split: Its name; "all" for a file that is not split.
        rows: How many rows it has.
        words: Median number of words of the inputs.
        longest: Number of words of the longest input.
        labels: Rows a label, the most frequent first; None if rows have no labels.
    """

    split: str
    rows: int
    words: float
    longest: int
    labels: dict[str, int] | None


def splits(ref: str | Path, *, schema: str | None = None, fields: FieldMap | None = None) -> list[str]:
    """Returns the splits a data set can be read in, train first; the arguments are those of `read`.

    Raises:
        UnknownNameError: If nothing is called `ref`.
        DataError: If it is a file or folder that is missing or cannot be read.
    """
    source = find_source(ref, schema, fields)
    order = ["train", "dev", "test"]
    return sorted({*source.parts, *source.cut}, key=lambda name: (order.index(name) if name in order else 3, name))


def summarize(split: str, rows: Sequence[Any]) -> SplitSummary:
    """Returns the numbers of one split.

    Args:
        split: Its name.
        rows: Its rows, at least one.
    """
    lengths = [len(input_text(row).split()) for row in rows]
    has_labels = any(field.name == "label" for field in dataclasses.fields(rows[0]))
    return SplitSummary(
        split=split,
        rows=len(rows),
        words=statistics.median(lengths),
        longest=max(lengths),
        labels=label_counts(rows) if has_labels else None,
    )


def describe(
    ref: str | Path,
    *,
    schema: str | None = None,
    split: str | None = None,
    fields: FieldMap | None = None,
    head: int = 3,
    seed: int | None = None,
) -> tuple[list[SplitSummary], list[Any]]:
    """Reads a data set and returns the numbers of its splits, and its first rows.

    Args:
        ref: As for `read`; a data set of the hub is downloaded.
        schema: As for `read`.
        split: The one split to read; by default every split, and a single file as it is.
        fields: As for `read`.
        head: How many rows to return.
        seed: Shuffles the rows before the first are taken.

    Raises:
        IntarsiaError: As `read`.
    """
    single = split is None and find_source(ref, schema, fields).single
    names = [None] if single else [split] if split else splits(ref, schema=schema, fields=fields)
    summaries: list[SplitSummary] = []
    first: list[Any] = []
    for name in names:
        rows = read_rows(ref, schema=schema, split=name, fields=fields, seed=seed)
        summaries.append(summarize(name or "all", rows))
        first = first or rows[:head]
    return summaries, first
