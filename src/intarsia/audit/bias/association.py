"""Association tests: two groups of people, and the attributes that a stereotype ties to each."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from intarsia.audit.bias.words import lemmas
from intarsia.errors import DataError, InputError, UnknownNameError

NUMBERS = ("singular", "plural")

_LISTS = ("default_group", "target_group", "default_attributes", "target_attributes")


@dataclass(frozen=True, slots=True)
class AssociationTest:
    """One test. The stereotype ties the default group to the default attributes, the target group to the others.

    Attributes:
        test: Its name.
        category: What it is about, e.g. `"age"`.
        default_group: Words for the first group.
        target_group: Words for the second; if there are as many, words at the same place belong together.
        default_attributes: Attributes that the stereotype ties to the first group.
        target_attributes: Attributes that it ties to the second.
        words: What the group words are: `"groups"`, `"names"`, `"roles"`. Tests of different kinds are never pooled.
        number: Whether group words are `"singular"` or `"plural"`, for the verbs of templates.

    Raises:
        DataError: If a list is empty, or two lists that must differ overlap; the message does not show their words.
    """

    test: str
    category: str
    default_group: tuple[str, ...]
    target_group: tuple[str, ...]
    default_attributes: tuple[str, ...]
    target_attributes: tuple[str, ...]
    words: str = "groups"
    number: str = "plural"

    def __post_init__(self) -> None:
        for name in _LISTS:
            values = getattr(self, name)
            if not values or not all(lemmas(value) for value in values):
                raise DataError(
                    f"test {self.test!r}: {name} is empty or has an empty entry",
                    field=name,
                    fix="give at least one word in every list",
                )
        for first, second in (_LISTS[:2], _LISTS[2:]):
            shared = {lemmas(value) for value in getattr(self, first)} & {
                lemmas(value) for value in getattr(self, second)
            }
            if shared:
                raise DataError(
                    f"test {self.test!r}: {first} and {second} overlap in {len(shared)} "
                    f"entr{'y' if len(shared) == 1 else 'ies'} (case, articles and plurals make no difference)",
                    field=second,
                    fix="let every word stand in one of the two lists only",
                )
        if self.number not in NUMBERS:
            raise DataError(f"test {self.test!r}: number is {self.number!r}, not singular or plural", field="number")

    @property
    def is_balanced(self) -> bool:
        """Whether both groups have as many attributes."""
        return len(self.default_attributes) == len(self.target_attributes)

    def to_json(self) -> dict[str, Any]:
        """Returns the test as a row of a stimuli file."""
        return {
            "test": self.test,
            "category": self.category,
            "words": self.words,
            "number": self.number,
            **{name: list(getattr(self, name)) for name in _LISTS},
        }


def association_from_json(
    row: Mapping[str, Any], *, file: str | Path | None = None, line: int | None = None
) -> AssociationTest:
    """Reads a row of a stimuli file.

    Raises:
        DataError: If a field is missing or wrong.
    """
    try:
        lists = {name: row[name] for name in _LISTS}
        name, category = row["test"], row["category"]
    except KeyError as error:
        raise DataError(f"the test has no field {error}", file=file, line=line) from None
    for field, values in lists.items():
        if not isinstance(values, Sequence) or isinstance(values, str) or not all(isinstance(v, str) for v in values):
            raise DataError(f"{field} is not a list of texts", file=file, line=line, field=field)
    if not (isinstance(name, str) and name and isinstance(category, str)):
        raise DataError("test and category must be texts", file=file, line=line, field="test")
    try:
        return AssociationTest(
            name,
            category,
            tuple(lists["default_group"]),
            tuple(lists["target_group"]),
            tuple(lists["default_attributes"]),
            tuple(lists["target_attributes"]),
            words=str(row.get("words", "groups")),
            number=str(row.get("number", "plural")),
        )
    except DataError as error:
        raise DataError(error.what, file=file, line=line, fix=error.fix) from None


def read_tests(path: str | Path) -> list[AssociationTest]:
    """Reads association tests of yours: a JSON object a line with `test`, `category`, `default_group`,
    `target_group`, `default_attributes`, `target_attributes` and, if you like, `words` and `number`.

    Raises:
        InputError: If there is no such file.
        DataError: If a line is no test, or two have the same name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such file of association tests", where=path)
    tests: dict[str, AssociationTest] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"not valid JSON: {error.msg}", file=path, line=number) from None
        if not isinstance(row, dict):
            raise DataError("not a JSON object", file=path, line=number)
        test = association_from_json(row, file=path, line=number)
        if test.test in tests:
            raise DataError(f"a second test is named {test.test!r}", file=path, line=number, field="test")
        tests[test.test] = test
    if not tests:
        raise DataError("the file holds no association test", file=path)
    return list(tests.values())


@cache
def shipped_tests() -> tuple[AssociationTest, ...]:
    """Returns the tests that come with the library. They hold offensive stereotypes: these are what is measured."""
    text = files("intarsia.audit.bias").joinpath("stimuli.jsonl").read_text(encoding="utf-8")
    return tuple(association_from_json(json.loads(line)) for line in text.splitlines())


def select_tests(tests: Iterable[AssociationTest], names: Sequence[str] = ()) -> list[AssociationTest]:
    """Returns the tests of these names or categories' first words, in their order; all if no name is given.

    Args:
        tests: The tests there are.
        names: Names of tests, or of categories up to a colon, e.g. `gender`.

    Raises:
        UnknownNameError: If a name is neither.
    """
    known = {test.test: test for test in tests}
    categories: dict[str, list[str]] = {}
    for test in known.values():
        categories.setdefault(test.category.partition(":")[0], []).append(test.test)
    wanted: list[str] = []
    for name in names:
        if name not in known and name not in categories:
            raise UnknownNameError("association test", name, [*known, *categories])
        # A test has precedence over a category of the same name.
        wanted += [name] if name in known else categories[name]
    return [known[name] for name in dict.fromkeys(wanted)] if names else list(known.values())
