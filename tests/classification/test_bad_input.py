"""Everything that can be wrong with what a user gives, each with a message that names it."""

import asyncio

import pytest
from classification_models import TOPICS, HashEncoder, classify, examples, items, utility_model

from intarsia.classification import Classifier, ClassifierConfig, Item, LabelSet, UnmappedError
from intarsia.errors import ConfigError, DataError, UnknownNameError
from intarsia.evals import ScriptedChat


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "there are no labels"),
        (["a", ""], "label 2 is ''"),
        (["a", " / "], "label 2 is ' / '"),
        (["lost_card", "Lost card"], "'lost_card' and 'Lost card' are the same"),
        (["recognised", "recognized"], "are the same"),
        (["a", 3], "label 2 is 3"),
    ],
)
def test_labels_that_cannot_be_used(labels, message):
    with pytest.raises(DataError, match=message):
        LabelSet.of(labels)


def test_descriptions_of_nothing_are_named():
    with pytest.raises(DataError, match="description of 'b', which is no label"):
        LabelSet(("a",), {"b": "?"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k is 0, but it must be at least 1"),
        ({"window": 1}, "window is 1, but it must be at least 2"),
        ({"window": 3, "window_keep": 3}, "window_keep is 3, but it must be below window, 3"),
        ({"shots": -1}, "shots is -1"),
        ({"votes": 0}, "votes is 0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"max_unmapped": 1.5}, "max_unmapped is 1.5"),
        ({"temperature": -1.0}, "temperature is -1.0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        ClassifierConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reducer": "itrr"}, "unknown reducer 'itrr'"),
        ({"duel": "pccot"}, "unknown duel 'pccot'"),
        ({"tournament": "kings"}, "unknown tournament 'kings'"),
        ({"method": "two stage"}, "unknown method 'two stage'"),
        ({"demonstrations": "edge"}, "unknown kind of demonstrations 'edge'"),
        ({"windows": "wide"}, "unknown kind of windows"),
        ({"prototypes": "name"}, "unknown kind of prototypes"),
    ],
)
def test_unknown_names(settings, message):
    with pytest.raises(UnknownNameError, match=message):
        ClassifierConfig(**settings)


@pytest.mark.parametrize("text", ["", "  \n "])
def test_an_empty_text_is_named(text):
    classifier = Classifier(utility_model(TOPICS), TOPICS, encoder=HashEncoder())
    with pytest.raises(DataError, match="the text 'it-7' is empty"):
        asyncio.run(classifier.classify(Item("it-7", text)))


def test_an_option_that_is_no_label_is_named():
    classifier = Classifier(utility_model(TOPICS), TOPICS, encoder=HashEncoder())
    with pytest.raises(DataError, match="option 'pink' is not among the 30 labels"):
        asyncio.run(classifier.classify(Item("x", "text", (*TOPICS[:2], "pink"))))


@pytest.mark.parametrize("kind", ["boundary", "center", "random"])
def test_a_label_without_examples_is_named_before_anything_is_asked(kind):
    model = ScriptedChat(lambda call: "LABEL: a")
    config = ClassifierConfig(demonstrations=kind)
    with pytest.raises(DataError, match="no example of the label 'topic 29'"):
        Classifier(model, TOPICS, config, examples=examples(TOPICS[:-1]), encoder=HashEncoder())
    assert not model.calls
    # Nothing is missing where none are shown.
    Classifier(model, TOPICS, ClassifierConfig(shots=0), examples=examples(TOPICS[:-1]), encoder=HashEncoder())


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "few_shot"},
        {"duel": "few_shot"},
        {"reducer": "supervised"},
        {"method": "encoder", "prototypes": "centroids"},
        {"reducer": "encoder", "prototypes": "centroids"},
    ],
)
def test_settings_that_need_examples_say_so(settings):
    with pytest.raises(ConfigError, match="examples"):
        Classifier(utility_model(TOPICS), TOPICS, ClassifierConfig(**settings))


def test_no_model_is_named_unless_none_is_asked():
    with pytest.raises(ConfigError, match="model is None"):
        Classifier(None, TOPICS)
    Classifier(None, TOPICS, ClassifierConfig(method="encoder"), encoder=HashEncoder())


def test_a_model_that_does_not_answer_stops_the_run_with_what_it_said():
    replies = iter(["Sorry, I cannot do that."] * 30 + ["What?"] * 20 + ["LABEL: topic 00"] * 1000)
    model = ScriptedChat(lambda call: next(replies))
    with pytest.raises(
        UnmappedError, match=r"\d+ of \d+ answers name no option, more than 20%.*'Sorry, I cannot do that.'"
    ):
        classify(model, TOPICS, items(200), method="direct")
    assert len(model.calls) < 40


def test_the_three_most_frequent_answers_are_shown():
    texts = ["one"] * 5 + ["two"] * 4 + ["three"] * 3 + ["four"] * 2 + ["five"] * 6
    replies = iter(texts)
    model = ScriptedChat(lambda call: next(replies))
    with pytest.raises(UnmappedError) as caught:
        classify(model, TOPICS, items(20), method="direct", concurrency=1)
    assert "'five'; 'one'; 'two'" in str(caught.value)


def test_a_few_unmapped_answers_are_wrong_answers_and_no_error():
    replies = iter(["LABEL: topic 00"] * 9 + ["hm"] + ["LABEL: topic 00"] * 15)
    found, classifier = classify(
        ScriptedChat(lambda call: next(replies)), TOPICS, items(25), method="direct", concurrency=1
    )
    assert [one.label for one in found].count(None) == 1
    assert classifier.cost.unmapped == 1


def test_options_that_do_not_fit_the_context_say_how_many_tokens_they_take():
    labels = [f"a rather long label number {place}" for place in range(500)]
    with pytest.raises(DataError, match=r"list of 500 options takes about \d{4} tokens .* reads\s+4096"):
        Classifier(utility_model(labels), labels, ClassifierConfig(context_tokens=4096))
    Classifier(utility_model(labels), labels, ClassifierConfig(context_tokens=4096, reducer="encoder"))
    with pytest.raises(DataError, match=r"the label 'xxx.* takes about \d+ tokens"):
        Classifier(utility_model(TOPICS), [*TOPICS, "x" * 30000])
