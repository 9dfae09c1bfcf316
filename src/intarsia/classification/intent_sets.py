"""Folders of intent-classification sets: a label list, texts to classify and example sentences of each set."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from intarsia.classification.labels import LabelSet
from intarsia.classification.options import label_space
from intarsia.classification.prompts import Example
from intarsia.classification.results import Item
from intarsia.data.formats import read_records
from intarsia.errors import DataError, UnknownNameError

SUBSETS = ("all", "hard", "easy")


@dataclass(frozen=True)
class IntentSet:
    """One set.

    Attributes:
        name: Its name.
        labels: All labels it has, also those that no text has.
        items: The texts.
        gold: Item id -> label.
        hard: Ids of the texts that are marked as hard.
        examples: Example sentences with their labels.
        empty: Rows that were left out because they have no text.
    """

    name: str
    labels: LabelSet
    items: tuple[Item, ...]
    gold: Mapping[str, str]
    hard: frozenset[str]
    examples: tuple[Example, ...]
    empty: int = 0

    def subset(self, kind: str) -> tuple[Item, ...]:
        """Returns `all` texts, the `hard` or the `easy` ones.

        Raises:
            UnknownNameError: If it is none of these.
        """
        if kind not in SUBSETS:
            raise UnknownNameError("subset", kind, SUBSETS)
        return tuple(item for item in self.items if kind == "all" or (item.id in self.hard) == (kind == "hard"))

    def labels_of(self, items: tuple[Item, ...], kind: str) -> LabelSet:
        """Returns the `full` list of labels, or only the `observed` ones of some texts, as the published code does."""
        return label_space(self.labels, [self.gold[item.id] for item in items], kind)

    def examples_of(self, labels: LabelSet, shots: int | None = None) -> list[Example]:
        """Returns the examples of some labels, the first `shots` of each; texts to classify are not among them."""
        hidden = {" ".join(item.text.casefold().split()) for item in self.items}
        chosen: dict[str, list[Example]] = {name: [] for name in labels.names}
        for text, label in self.examples:
            if label in chosen and " ".join(text.casefold().split()) not in hidden:
                chosen[label].append((text, label))
        return [example for of_label in chosen.values() for example in of_label[:shots]]


def read_intent_set(folder: str | Path, name: str) -> IntentSet:
    """Reads `labels.json` (set -> labels), `NAME.dev.jsonl.gz` and `NAME.demos.jsonl.gz` of a folder.

    Rows to classify have `id`, `text`, `label` and perhaps `hard`; examples have `text` and `label`.

    Raises:
        UnknownNameError: If the folder has no set of this name.
        DataError: If a file is missing, or a row cannot be used.
    """
    folder = Path(folder)
    path = folder / "labels.json"
    if not path.is_file():
        raise DataError("there are no intent sets in this folder", file=folder, fix="it should hold labels.json")
    known = json.loads(path.read_text(encoding="utf-8"))
    if name not in known:
        raise UnknownNameError("intent set", name, known, where=path)
    labels = LabelSet(tuple(known[name]))
    items, gold, hard, empty = list[Item](), dict[str, str](), set[str](), 0
    file = folder / f"{name}.dev.jsonl.gz"
    for line, row in read_records(file):
        if row.get("label") not in labels.index:
            raise DataError(f"the gold label {row.get('label')!r} is not in labels.json", file=file, line=line)
        if not row["text"].strip():
            empty += 1
            continue
        items.append(Item(str(row["id"]), row["text"]))
        gold[items[-1].id] = row["label"]
        if row.get("hard"):
            hard.add(items[-1].id)
    demos = [(row["text"], row["label"]) for _, row in read_records(folder / f"{name}.demos.jsonl.gz")]
    return IntentSet(name, labels, tuple(items), gold, frozenset(hard), tuple(demos), empty)
