"""The rows of a recipe's tasks, drawn, reworded and cut to length."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from intarsia.data import ClassificationRow, TextToTextRow, read_rows
from intarsia.errors import DataError
from intarsia.files import read_json, write_json
from intarsia.models.prompts import clip_text
from intarsia.pipeline.recipe import TaskRecipe


@dataclass(frozen=True)
class TaskRows:
    """The rows of one task.

    Attributes:
        train: What the expert and the router learn from.
        dev: What settings are chosen on.
        test: What is reported.
        labels: The task's closed set of answers, in the order of the alphabet; empty for free text.
    """

    train: list[TextToTextRow]
    dev: list[TextToTextRow]
    test: list[TextToTextRow]
    labels: list[str]


def load_task(recipe: TaskRecipe, tokenizer: Any, seed: int) -> TaskRows:
    """Draws the rows of a task.

    Test and dev rows whose text also stands in the training rows are left out.

    Raises:
        DataError: If a split has no rows, or a test label is not among the training rows' labels.
    """
    train = draw_rows(recipe, recipe.train_split, recipe.train, tokenizer, seed, balance=recipe.balance)
    seen = {row.prompt for row in train}
    dev = draw_rows(recipe, recipe.dev_split, recipe.dev, tokenizer, seed, unseen=seen)
    test = draw_rows(recipe, recipe.test_split, recipe.test, tokenizer, seed, unseen=seen | {row.prompt for row in dev})
    labels: list[str] = []
    if recipe.schema == "classification":
        labels = sorted({row.target for row in train})
        for row in (*dev, *test):
            if row.target not in labels:
                raise DataError(
                    f"the label {row.target!r} is not in the training rows",
                    file=recipe.data,
                    field="label",
                    fix=f"known: {', '.join(labels)}; raise `train`, or list the labels to keep with `only_listed`",
                )
    return TaskRows(train, dev, test, labels)


def draw_rows(
    recipe: TaskRecipe,
    split: str,
    count: int,
    tokenizer: Any,
    seed: int,
    *,
    balance: bool = False,
    unseen: set[str] | frozenset[str] = frozenset(),
) -> list[TextToTextRow]:
    """Draws `count` rows of a split as prompts, cut to length, and answers.

    Args:
        recipe: Where they come from and how they are worded.
        split: The split to draw from.
        count: How many at most.
        tokenizer: Counts the tokens texts are cut by.
        seed: Which rows.
        balance: Whether labels are drawn evenly.
        unseen: Prompts to leave out.

    Raises:
        DataError: If no row is left, or one cannot be read.
    """
    rows = read_rows(
        recipe.data,
        schema=recipe.schema,
        split=split,
        fields=recipe.fields or None,
        where=recipe.where or None,
        seed=seed,
    )
    if recipe.only_listed:
        rows = [row for row in rows if row.label in recipe.labels]
    if balance and recipe.schema == "classification":
        rows = _alternate_labels(rows, seed)
    chosen: list[TextToTextRow] = []
    for row in rows:
        row = _as_text_to_text(row, recipe, tokenizer)
        if row.prompt and row.prompt not in unseen:
            chosen.append(row)
        if len(chosen) == count:
            break
    if not chosen:
        raise DataError(f"no rows are left for the split {split!r}", file=recipe.data)
    return chosen


def _as_text_to_text(row: ClassificationRow | TextToTextRow, recipe: TaskRecipe, tokenizer: Any) -> TextToTextRow:
    text, answer = (row.text, row.label) if isinstance(row, ClassificationRow) else (row.prompt, row.target)
    prompt = clip_text(tokenizer, text, recipe.max_text_tokens)
    if prompt and recipe.question:
        prompt = f"{prompt}\n{recipe.question}"
    return TextToTextRow(prompt=prompt, target=recipe.labels.get(answer, answer), id=row.id)


def _alternate_labels(rows: Sequence[ClassificationRow], seed: int) -> list[ClassificationRow]:
    """Orders rows so that every beginning of the list is as balanced over labels as the data allow."""
    by_label: dict[str, list[ClassificationRow]] = defaultdict(list)
    for row in rows:
        by_label[row.label].append(row)
    generator = random.Random(seed)
    places = ((turn, generator.random(), row) for same in by_label.values() for turn, row in enumerate(same))
    return [row for *_, row in sorted(places, key=lambda place: place[:2])]


def write_rows_of_task(path: Path, rows: TaskRows) -> None:
    """Keeps a task's rows, so that a resumed run has the same ones whatever became of the data."""
    write_json(path, asdict(rows))


def read_rows_of_task(path: Path) -> TaskRows:
    """Reads what `write_rows_of_task` wrote."""
    content = read_json(path)
    splits = {split: [TextToTextRow(**row) for row in content[split]] for split in ("train", "dev", "test")}
    return TaskRows(**splits, labels=content["labels"])
