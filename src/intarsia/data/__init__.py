"""Typed rows: their schemas, where they are read from, and the catalogue of known data sets.

`read` takes a file, a folder, a name of the catalogue or a hub id and yields rows; `SCHEMAS` says what rows there are.
"""

from intarsia.data.catalogue import AssetSource, DatasetEntry, HubSource, catalogue
from intarsia.data.labels import check_labels, label_counts
from intarsia.data.reading import read, read_rows, write_jsonl
from intarsia.data.sampling import sample, split_of
from intarsia.data.schemas import (
    SCHEMAS,
    ClassificationRow,
    ScoredTextRow,
    TextToTextRow,
    from_record,
    schema,
    to_record,
)
from intarsia.data.summary import SplitSummary, describe, splits, summarize

__all__ = [
    "SCHEMAS",
    "AssetSource",
    "ClassificationRow",
    "DatasetEntry",
    "HubSource",
    "ScoredTextRow",
    "SplitSummary",
    "TextToTextRow",
    "catalogue",
    "check_labels",
    "describe",
    "from_record",
    "label_counts",
    "read",
    "read_rows",
    "sample",
    "schema",
    "split_of",
    "splits",
    "summarize",
    "to_record",
    "write_jsonl",
]
