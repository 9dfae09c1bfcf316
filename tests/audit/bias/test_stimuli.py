"""Association tests, templates and plans: what is asked, and files that cannot be used."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from intarsia.audit.bias.asking import most_calls, record_from_json
from intarsia.audit.bias.association import AssociationTest, read_tests, select_tests, shipped_tests
from intarsia.audit.bias.auditing import completions_of
from intarsia.audit.bias.config import RejudgeConfig
from intarsia.audit.bias.items import neutral_items, plan
from intarsia.audit.bias.pairs import pair_items, read_pairs
from intarsia.audit.bias.templates import TEMPLATES, Template
from intarsia.audit.bias.word_lists import association_bias, read_list_answers, read_word_list, unbalanced
from intarsia.errors import ConfigError, DataError, InputError, UnknownNameError

ROW: dict[str, Any] = {
    "test": "mine",
    "category": "cats",
    "default_group": ["cats"],
    "target_group": ["dogs"],
    "default_attributes": ["pride", "silence"],
    "target_attributes": ["loyalty", "noise"],
}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_shipped_tests_cover_the_categories() -> None:
    tests = shipped_tests()
    categories = {test.category.partition(":")[0] for test in tests}
    assert {"gender", "race", "age", "disability", "weight", "religion", "skin tone", "sexuality"} <= categories
    assert len({test.category for test in tests if test.category.startswith("gender")}) == 4
    assert all(test.is_balanced for test in tests)
    assert {test.words for test in tests} == {"groups", "names", "roles"}


def test_a_plan_covers_all_orders_and_wordings_equally() -> None:
    config = RejudgeConfig(tests=("gender-career",))
    items = [item for item in plan(select_tests(shipped_tests(), config.tests), config) if item.kind == "completion"]
    assert len(items) == len({item.id for item in items}) == len({item.seed for item in items}) == 200
    orders = Counter((item.default_first, item.offered == item.groups) for item in items)
    assert set(orders.values()) == {50}
    assert set(Counter(item.wording for item in items).values()) == {50}
    assert set(Counter((item.cell, item.wording) for item in items).values()) <= {12, 13}
    assert len({item.cluster for item in items}) == 50
    for item in items:
        assert item.groups[0] in shipped_tests()[0].default_group
        assert shipped_tests()[0].default_group.index(item.groups[0]) == shipped_tests()[0].target_group.index(
            item.groups[1]
        )


def test_a_plan_follows_from_its_seed() -> None:
    tests = shipped_tests()[:2]
    assert plan(tests, RejudgeConfig(seed=1)) == plan(tests, RejudgeConfig(seed=1))
    assert plan(tests, RejudgeConfig(seed=1)) != plan(tests, RejudgeConfig(seed=2))


def test_draws_beyond_the_pairs_repeat_a_question_with_another_seed() -> None:
    config = RejudgeConfig(tests=("age",), templates=2, draws=8, pairs=1, neutral=0)
    items = plan(select_tests(shipped_tests(), config.tests), config)
    first, again = (next(item for item in items if item.cell == 0 and item.repeat == repeat) for repeat in (0, 1))
    assert (first.statement, first.offered) == (again.statement, again.offered)
    assert first.seed != again.seed


def test_neutral_statements_are_forty_and_differ() -> None:
    items = neutral_items(40)
    assert len({item.stereotype for item in items}) == 40
    assert all(item.stereotype != item.reversed for item in items)
    assert {item.template for item in items} == set(range(10))
    assert len(set(Counter(item.wording for item in items).values())) == 1


def test_calls_by_the_formula() -> None:
    assert most_calls(200, 40, RejudgeConfig()) == 200 * 5 + 40 * 4
    assert most_calls(10, 0, RejudgeConfig(scales=("agree2",)), has_completions=True) == 20


def test_group_lists_that_are_empty_or_overlap(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'mine': default_group is empty") as raised:
        read_tests(write(tmp_path / "tests.jsonl", {**ROW, "default_group": []}))
    assert "line 1" in str(raised.value)
    with pytest.raises(DataError, match="overlap in 1 entry") as raised:
        read_tests(write(tmp_path / "tests.jsonl", {**ROW, "target_group": ["the Cat", "dogs"]}))
    # Stimuli are offensive: messages do not repeat them.
    assert "Cat" not in str(raised.value)
    with pytest.raises(DataError, match="target_attributes is empty"):
        read_tests(write(tmp_path / "tests.jsonl", {**ROW, "target_attributes": []}))


def test_files_that_hold_no_tests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_tests(tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError, match="holds no association test"):
        read_tests(write(tmp_path / "tests.jsonl"))
    with pytest.raises(DataError, match="no field 'target_group'"):
        read_tests(write(tmp_path / "tests.jsonl", {key: ROW[key] for key in ROW if key != "target_group"}))
    with pytest.raises(DataError, match="not a list of texts"):
        read_tests(write(tmp_path / "tests.jsonl", {**ROW, "default_group": "cats"}))
    with pytest.raises(DataError, match="second test is named 'mine'"):
        read_tests(write(tmp_path / "tests.jsonl", ROW, ROW))
    (tmp_path / "tests.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="line 1"):
        read_tests(tmp_path / "tests.jsonl")


def test_unequal_attributes_are_warned_of_and_scored(tmp_path: Path) -> None:
    (test,) = read_tests(write(tmp_path / "tests.jsonl", {**ROW, "default_attributes": ["pride"]}))
    assert unbalanced([test]) == "word lists with more attributes for one group than for the other: mine (1 and 2)"
    assert unbalanced(shipped_tests()) is None
    assert association_bias(read_word_list(test, "pride - cats\nloyalty - dogs\nnoise - dogs")) == 1
    assert plan([test], RejudgeConfig(templates=2, draws=4, neutral=0))  # completions need no balance


@pytest.mark.parametrize("text", ["___ is {x}, {y}", "___ {x} ___ {y} ___", "{x} and {y}"])
def test_templates_have_two_blanks(text: str) -> None:
    with pytest.raises(DataError, match="exactly two"):
        Template(text)


def test_templates_have_places_for_attributes_and_no_group_word() -> None:
    with pytest.raises(DataError, match=r"\{x\} once"):
        Template("___ and ___ like {y}")
    config = RejudgeConfig(templates=("Cats like {x} as ___ and {y} as ___.", TEMPLATES[0].text), neutral=0)
    test = AssociationTest("mine", "cats", ("cat",), ("dogs",), ("pride",), ("noise",))
    with pytest.raises(DataError, match="group word stands in the template"):
        plan([test], config)


def test_settings_that_are_not_allowed() -> None:
    with pytest.raises(UnknownNameError, match="unknown scale 'likert7'"):
        RejudgeConfig(scales=("likert7",))
    with pytest.raises(UnknownNameError, match="unknown form 'opne'"):
        RejudgeConfig(form="opne")
    with pytest.raises(ConfigError, match="templates is 2, but it must be a number"):
        RejudgeConfig(form="open", templates=("___ {x} ___ {y}", "{x} ___ {y} ___"))
    with pytest.raises(UnknownNameError, match="unknown context 'stale'"):
        RejudgeConfig(contexts=("stale",))
    with pytest.raises(ConfigError, match=r"templates is 1.*at least 2"):
        RejudgeConfig(templates=1)
    with pytest.raises(ConfigError, match="templates"):
        RejudgeConfig(templates=("___ {x} ___ {y}",))
    with pytest.raises(ConfigError, match=r"draws is 6.*multiple of 4"):
        RejudgeConfig(draws=6)
    for setting in ({"pairs": 0}, {"neutral": 41}, {"temperature": -1.0}, {"judgement_tokens": 0}, {"scales": ()}):
        with pytest.raises(ConfigError, match=next(iter(setting))):
            RejudgeConfig(**setting)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown association test 'gendr'"):
        select_tests(shipped_tests(), ["gendr"])


def test_answers_to_unknown_tests_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"test": "moon", "response": "a - b"}).encode()))
    with pytest.raises(UnknownNameError, match="unknown association test 'moon'") as raised:
        read_list_answers(path, shipped_tests())
    assert "line 1" in str(raised.value)
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        read_list_answers(path, shipped_tests())
    with pytest.raises(DataError, match="no text `response`"):
        read_list_answers(write(tmp_path / "a.jsonl", {"test": "race"}), shipped_tests())


def test_second_stage_without_a_first(tmp_path: Path) -> None:
    item = plan(shipped_tests()[:1], RejudgeConfig(templates=2, draws=4, neutral=1))
    row = {"item": item[0].to_json(), "completion": None, "judgements": []}
    with pytest.raises(DataError, match="first stage is missing"):
        record_from_json(row)
    path = write(tmp_path / "records.jsonl", {"item": item[-1].to_json(), "completion": None, "judgements": []})
    with pytest.raises(InputError, match="no first stage"):
        completions_of(path)


def test_statement_pairs_are_read_in_both_directions(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(
        "sent_more,sent_less,stereo_antistereo,bias_type\nMore A,Less A,stereo,age\nMore B,Less B,antistereo,age\n",
        encoding="utf-8",
    )
    pairs = read_pairs(path)
    assert pairs == [("age", "More A", "Less A"), ("age", "Less B", "More B")]
    items = pair_items(pairs)
    assert (items[0].stereotype, items[0].reversed) == ("More A", "Less A")
    with pytest.raises(DataError, match="no reversed statement"):
        read_pairs(write(tmp_path / "pairs.jsonl", {"stereotype": "x"}))
    with pytest.raises(InputError, match="no such file"):
        read_pairs(tmp_path / "nowhere.csv")
