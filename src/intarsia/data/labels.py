"""The labels of classification rows."""

from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

from intarsia.data.schemas import ClassificationRow
from intarsia.errors import DataError


def label_counts(rows: Iterable[ClassificationRow]) -> dict[str, int]:
    """Returns how many rows have each label, the most frequent first and equal counts in alphabetical order."""
    counts = Counter(row.label for row in rows)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def check_labels(
    rows: Iterable[ClassificationRow], known_labels: Iterable[str], *, file: str | Path | None = None
) -> Iterator[ClassificationRow]:
    """Yields `rows` unchanged while each has one of `known_labels`.

    Args:
        rows: Rows to be classified.
        known_labels: The labels seen in training.
        file: Where the rows come from, for the message.

    Raises:
        DataError: At the first row with another label; it names the row, the label and near labels.
    """
    known = set(known_labels)
    for row in rows:
        if row.label not in known:
            near = get_close_matches(row.label, sorted(known), n=3, cutoff=0.5)
            raise DataError(
                f"the label {row.label!r} was not seen in training (row {row.id})",
                file=file,
                field="label",
                fix=f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(sorted(known))}",
            )
        yield row
