"""What is asked: completions of an association test in all orders, and neutral statements to judge as a control."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np

from intarsia.audit.bias.association import AssociationTest
from intarsia.audit.bias.config import CELLS, RejudgeConfig
from intarsia.audit.bias.judgement import Wording
from intarsia.audit.bias.open_form import STEMS, require_genders
from intarsia.audit.bias.templates import TEMPLATES, Template, fill
from intarsia.engine import stable_key
from intarsia.errors import DataError

Kind = Literal["completion", "open", "neutral", "pair"]

NEUTRAL = "neutral"
"""Name of the control where the name of a test stands."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question of the first stage with all that scoring needs, or a statement that is only judged.

    Attributes:
        id: Unique in a run.
        kind: `"completion"` and `"open"` have two stages; `"neutral"` statements and `"pair"`s of given statements are
            only judged.
        test: Name of the association test, `"neutral"`, or the category of a given pair.
        category: What the test is about.
        words: What its group words are: groups, names, roles.
        template: Which wording, from 0; None for a given pair.
        statement: The statement with two blanks; of an open item the beginning, of a given pair the stereotype.
        groups: The default group's word and the target group's.
        attributes: The first in the statement and the second; an open item has the first only.
        default_first: Whether the first attribute is the one that the stereotype ties to the default group.
        offered: The group words in the order they are offered; none of an open item.
        pair: Which attribute pair of the test, from 0.
        cell: Which order of group words and attributes, 0 to 3.
        repeat: Which repetition of the same question, from 0.
        seed: Of sampling; each item has its own, so that no cache takes one draw for another.
        twin: The reversed statement of a given pair.
    """

    id: str
    kind: Kind
    test: str
    category: str
    words: str
    template: int | None
    statement: str
    groups: tuple[str, str]
    attributes: tuple[str, str]
    default_first: bool
    offered: tuple[str, ...]
    pair: int
    cell: int
    repeat: int
    seed: int
    twin: str | None = None

    @property
    def has_first_stage(self) -> bool:
        """Whether something is completed; other items are only judged."""
        return self.kind in ("completion", "open")

    @property
    def target(self) -> str:
        """What the stereotype would have the model write: the filled statement, or for an open item the group."""
        return self.groups[0 if self.default_first else 1] if self.kind == "open" else self.stereotype

    @property
    def stereotype(self) -> str:
        """The statement filled as the stereotype has it; of a neutral one, the true form."""
        return self._filled(stereotype=True)

    @property
    def reversed(self) -> str:
        """The same with the two groups exchanged; of a neutral statement, the false form."""
        return self._filled(stereotype=False)

    def _filled(self, *, stereotype: bool) -> str:
        if self.kind == "pair":
            return self.statement if stereotype else str(self.twin)
        words = self.groups if self.default_first == stereotype else self.groups[::-1]
        return fill(self.statement, *words)

    @property
    def wording(self) -> Wording:
        """How its judgements are asked for: all four ways are as frequent, in every order of the words too."""
        number = self.cell + self.pair + (self.template or 0) if self.has_first_stage else self.pair
        return Wording(bool(number & 1), bool(number & 2))

    @property
    def cluster(self) -> str:
        """What varies together: wording and attribute pair."""
        return f"{self.template}/{self.pair}"

    def to_json(self) -> dict[str, Any]:
        """Returns the item as JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def item_from_json(row: Mapping[str, Any], *, where: str | None = None) -> Item:
    """Reads what `Item.to_json` gave.

    Raises:
        DataError: If it is something else.
    """
    try:
        pairs = {name: tuple(row[name]) for name in ("groups", "attributes", "offered")}
        return Item(**{**row, **pairs})
    except (KeyError, TypeError) as error:
        raise DataError(f"not an item of a re-judge run: {error}", file=where) from None


def plan(tests: Iterable[AssociationTest], config: RejudgeConfig) -> list[Item]:
    """Returns all items of a run, in a fixed order: completions by test, template and draw, then neutral statements.

    Raises:
        DataError: If a template is not usable, or has a group word of a test in it.
        ConfigError: If the form is open and a test has other groups than men and women.
    """
    tests = list(tests)
    if config.form == "open":
        require_genders(tests)
    else:
        for test in tests:
            for template in config.wordings():
                template.require_free_of([*test.default_group, *test.target_group])
    items = [item for test in tests for item in _completions(test, config)]
    return items + neutral_items(config.neutral, config.seed)


def _completions(test: AssociationTest, config: RejudgeConfig) -> Iterable[Item]:
    """Returns the items of a test: all orders of words and attributes; of the open form, half for either attribute."""
    is_open = config.form == "open"
    wordings: Sequence[str | Template] = STEMS[: int(config.templates)] if is_open else config.wordings()  # type: ignore[arg-type]
    chosen = _choices(test, config.pairs, config.seed)
    for index, wording in enumerate(wordings):
        for cell, pair, repeat in _draws(config):
            words, attributes = chosen[pair]
            default_first = cell < CELLS // 2
            x, y = attributes if default_first else attributes[::-1]
            id = f"{test.test}/{'open/' if is_open else ''}t{index + 1:02}/p{pair + 1}/c{cell + 1}/r{repeat + 1}"
            offered = words if cell % 2 == 0 else words[::-1]
            yield Item(
                id=id,
                kind="open" if is_open else "completion",
                test=test.test,
                category=test.category,
                words=test.words,
                template=index,
                statement=wording.replace("{x}", x)
                if isinstance(wording, str)
                else wording.statement(x, y, test.number),
                groups=words,
                attributes=(x, y),
                default_first=default_first,
                offered=() if is_open else offered,
                pair=pair,
                cell=cell,
                repeat=repeat,
                seed=call_seed(config.seed, id),
            )


def _draws(config: RejudgeConfig) -> Iterable[tuple[int, int, int]]:
    """Returns order, attribute pair and repetition of each draw: all orders of all pairs before anything repeats."""
    for draw in range(config.draws):
        yield draw % CELLS, draw // CELLS % config.pairs, draw // (CELLS * config.pairs)


def _choices(test: AssociationTest, pairs: int, seed: int) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Returns group words and attributes of each pair; nothing comes a second time before all came once."""
    generator = np.random.default_rng([seed, call_seed(0, test.test)])
    first = _cycle(test.default_attributes, pairs, generator)
    second = _cycle(test.target_attributes, pairs, generator)
    groups = _cycle(test.default_group, pairs, generator)
    if len(test.default_group) == len(test.target_group):
        partner = dict(zip(test.default_group, test.target_group, strict=True))
        others = [partner[word] for word in groups]
    else:
        others = _cycle(test.target_group, pairs, generator)
    return list(zip(zip(groups, others, strict=True), zip(first, second, strict=True), strict=True))


def _cycle(values: Sequence[str], count: int, generator: np.random.Generator) -> list[str]:
    order = [values[index] for index in generator.permutation(len(values))]
    return [order[index % len(order)] for index in range(count)]


def neutral_items(count: int, seed: int = 0) -> list[Item]:
    """Returns neutral statements: true of things rather than people, in the same wordings as the tests."""
    items = []
    for index, row in enumerate(_neutral_rows()[:count]):
        words, (x, y) = tuple(row["words"]), row["attributes"]
        id = f"{NEUTRAL}/n{index + 1:02}"
        template = index % len(TEMPLATES)
        items.append(
            Item(
                id=id,
                kind="neutral",
                test=NEUTRAL,
                category=NEUTRAL,
                words="things",
                template=template,
                statement=TEMPLATES[template].statement(x, y),
                groups=words,
                attributes=(x, y),
                default_first=True,
                offered=words,
                pair=index,
                cell=0,
                repeat=0,
                seed=call_seed(seed, id),
            )
        )
    return items


def call_seed(seed: int, *parts: str) -> int:
    """Returns a seed that follows from a run's seed and a name, the same on every machine."""
    return int(stable_key([seed, *parts])[:8], 16) % 2**31


@cache
def _neutral_rows() -> tuple[Any, ...]:
    text = files("intarsia.audit.bias").joinpath("neutral.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())
