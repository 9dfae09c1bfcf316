"""Statement pairs from elsewhere, which are only judged: a stereotype, and the same with another group."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from intarsia.audit.bias.items import Item, call_seed
from intarsia.errors import DataError, InputError


class StatementPair(NamedTuple):
    """A statement and its reversed twin.

    Attributes:
        category: What it is about.
        stereotype: The statement that stereotypes.
        reversed: The same of another group.
    """

    category: str
    stereotype: str
    reversed: str


_NAMES = {
    "category": ("category", "bias_type", "type"),
    "stereotype": ("stereotype", "sent_more", "more"),
    "reversed": ("reversed", "sent_less", "less"),
}


def read_pairs(path: str | Path) -> list[StatementPair]:
    """Reads pairs from JSONL or CSV: `stereotype`, `reversed` and `category`, or the columns of CrowS-Pairs
    (`sent_more`, `sent_less`, `bias_type`; rows whose `stereo_antistereo` is `antistereo` are turned round).

    Raises:
        InputError: If there is no such file.
        DataError: If a row has no two statements.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such file of statement pairs", where=path)
    pairs = []
    for number, row in _rows(path):
        found = {}
        for name, columns in _NAMES.items():
            value = next((row[column] for column in columns if row.get(column)), None)
            if value is None and name != "category":
                raise DataError(f"the row has no {name} statement", file=path, line=number, field=" or ".join(columns))
            found[name] = str(value or "pairs").strip()
        if row.get("stereo_antistereo") == "antistereo":
            found["stereotype"], found["reversed"] = found["reversed"], found["stereotype"]
        pairs.append(StatementPair(**found))
    if not pairs:
        raise DataError("the file holds no statement pair", file=path)
    return pairs


def pair_items(pairs: Iterable[StatementPair], seed: int = 0) -> list[Item]:
    """Returns items that have no first stage."""
    items = []
    for index, pair in enumerate(pairs):
        id = f"pairs/{pair.category}/s{index + 1:04}"
        items.append(
            Item(
                id=id,
                kind="pair",
                test=f"pairs: {pair.category}",
                category=f"pairs: {pair.category}",
                words="statements",
                template=None,
                statement=pair.stereotype,
                groups=("", ""),
                attributes=("", ""),
                default_first=True,
                offered=("", ""),
                pair=index,
                cell=0,
                repeat=0,
                seed=call_seed(seed, id),
                twin=pair.reversed,
            )
        )
    return items


def _rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return [(number, dict(row)) for number, row in enumerate(csv.DictReader(text.splitlines()), 2)]
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"not valid JSON: {error.msg}", file=path, line=number) from None
        if not isinstance(row, dict):
            raise DataError("not a JSON object", file=path, line=number)
        rows.append((number, row))
    return rows
