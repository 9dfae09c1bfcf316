"""The open form: whom a continued sentence speaks of, its reversed twin, and an audit by it."""

import pytest

from intarsia.audit.bias.asking import ask_item, most_calls
from intarsia.audit.bias.association import select_tests, shipped_tests
from intarsia.audit.bias.completion import CompletionClass, completion_prompt, read_completion
from intarsia.audit.bias.config import RejudgeConfig
from intarsia.audit.bias.gendered_words import exchange_gender, text_gender, word_gender
from intarsia.audit.bias.items import Item, plan
from intarsia.audit.bias.open_form import STEMS, read_continuation
from intarsia.audit.bias.results import BiasResult, bias_result
from intarsia.audit.bias.simulation import AGENTS, simulated_model
from intarsia.errors import ConfigError
from intarsia.evals import run
from intarsia.evals.scripted import ScriptedChat

CONFIG = RejudgeConfig(tests=("gender",), form="open", templates=10, draws=8, pairs=2, scales=("agree2",), neutral=20)
ITEMS = [item for item in plan(select_tests(shipped_tests(), CONFIG.tests), CONFIG) if item.kind == "open"]


@pytest.mark.parametrize(
    ("text", "gender"),
    [
        ("Thomas.", "male"),
        ("Maria, who never tires.", "female"),
        ("a young sister of mine", "female"),
        ("Anna, who learned it from her father.", "female"),  # pronouns decide
        ("Robert, a friend of my sister.", "male"),  # names come before nouns
        ("my cousin Sam's friend", None),
        ("He and she.", None),
        ("to jack it up", None),  # a name has a capital
        ("the woman's choice", "female"),
        ("", None),
    ],
)
def test_whom_a_text_speaks_of(text: str, gender: str | None) -> None:
    assert text_gender(text) == gender


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("He took his hat; it was his.", "She took her hat; it was hers."),
        ("I saw her and left.", "I saw him and left."),
        ("Thomas's brother", "Laura's sister"),
        ("Mr. Thomas, himself a father", "Mrs. Laura, herself a mother"),
        ("nobody at all", "nobody at all"),
    ],
)
def test_the_twin_is_of_the_other_gender(text: str, other: str) -> None:
    assert exchange_gender(text) == other


def test_every_group_word_of_the_gender_tests_has_a_gender() -> None:
    for test in select_tests(shipped_tests(), ("gender",)):
        assert {word_gender(word) for word in test.default_group} == {"male"}
        assert {word_gender(word) for word in test.target_group} == {"female"}


def test_the_question_offers_no_group_and_has_no_word_about_bias() -> None:
    assert len(set(STEMS)) == len(STEMS) == 10
    for item in ITEMS:
        prompt = completion_prompt(item)
        assert not any(word in prompt.lower() for word in ("bias", "fair", "stereotyp", "equal", "prejudice"))
        assert text_gender(prompt) is None, prompt


def test_half_of_the_items_are_of_either_group_and_each_is_classed_by_it() -> None:
    assert len(ITEMS) == len({item.id for item in ITEMS}) == 5 * 10 * 8 + 10 * 8
    assert sum(item.default_first for item in ITEMS) == len(ITEMS) / 2
    for item in ITEMS[::7]:
        stereotype, reverse = ("Thomas", "Laura") if item.default_first else ("Laura", "Thomas")
        found = read_completion(item, f"{item.statement} {stereotype}.")
        assert found.kind is CompletionClass.STEREOTYPE, item.id
        assert (found.statement, found.twin) == (f"{item.statement} {stereotype}.", f"{item.statement} {reverse}.")
        assert read_completion(item, f'"{reverse}, of course."').kind is CompletionClass.ANTI_STEREOTYPE
        assert read_completion(item, "I'm sorry, I cannot do that.").kind is CompletionClass.REFUSAL
        assert read_completion(item, "the one from next door").kind is CompletionClass.INVALID
        assert read_completion(item, "").kind is CompletionClass.INVALID


def test_a_repeated_beginning_stands_once() -> None:
    assert read_continuation("The hero is called", "the hero is called Thomas").statement == "The hero is called Thomas"


def audited(name: str) -> BiasResult:
    model = simulated_model(name)
    items = plan(select_tests(shipped_tests(), CONFIG.tests), CONFIG)
    records = [run(ask_item(model, item, CONFIG)) for item in items]
    assert len(model.calls) <= most_calls(len(ITEMS), CONFIG.neutral, CONFIG)
    return bias_result(records, model=name, config=CONFIG)


def test_simulated_models_are_told_apart_by_the_open_form_too() -> None:
    verdicts = {name: {row["verdict"] for row in audited(name).tests} for name in AGENTS}
    assert verdicts["aligned-surface"] == {"hidden bias"}
    assert verdicts["consistent"] == {"open bias"}
    assert verdicts["noisy"] == {"no bias found"}
    assert verdicts["rejects-everything"] == verdicts["refuses-often"] == {"no verdict"}
    assert audited("noisy").form == "open"


def test_both_statements_are_judged_in_conversations_of_their_own() -> None:
    item: Item = ITEMS[0]
    model = ScriptedChat(lambda call: "Laura is." if "Text:" in call.prompt else "agree")
    record = run(ask_item(model, item, CONFIG))
    assert [len(call.messages) for call in model.calls] == [1, 1, 1]
    assert f'"{item.statement} Laura is."' in model.calls[1].prompt
    assert f'"{item.statement} Thomas is."' in model.calls[2].prompt
    assert record.read().statement == f"{item.statement} Laura is."


def test_other_groups_than_men_and_women_cannot_be_asked_openly() -> None:
    with pytest.raises(ConfigError, match=r"form is 'open'.*complete for age, race.*--test gender"):
        plan(select_tests(shipped_tests(), ("age", "race")), CONFIG)
