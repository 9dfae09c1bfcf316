"""Identities of the two stages: oracles, fixed utilities, random models, call counts, equivariance, concurrency."""

import asyncio
import random

import pytest
from classification_models import (
    TOPICS,
    HashEncoder,
    classify,
    examples,
    fixed_utility,
    items,
    options_of,
    oracle,
    utility_model,
)

from intarsia.classification import Classifier, ClassifierConfig, Item, estimate_calls, evaluate
from intarsia.classification.config import DUELS, METHODS, REDUCERS, TOURNAMENTS
from intarsia.evals import ModelCallError, ScriptedChat

ASKING = ("itr", "cbwr", "self_consistency", "remove", "one_shot")
"""Reducers that ask the model, and so can be as good as it is."""


def ranking(text, labels=TOPICS):
    return sorted(labels, key=lambda label: -fixed_utility(text, label))


@pytest.mark.parametrize("tournament", TOURNAMENTS)
@pytest.mark.parametrize("reducer", ASKING)
def test_an_oracle_is_right_about_everything(reducer, tournament):
    texts = items(12)
    gold = {text.text: random.Random(text.id).choice(TOPICS) for text in texts}
    found, _ = classify(oracle(TOPICS, gold), TOPICS, texts, reducer=reducer, tournament=tournament)
    scores = evaluate(found, {text.id: gold[text.text] for text in texts}, TOPICS)
    assert scores.accuracy.value == scores.top.value == scores.macro_f1 == scores.adjusted_rand == 1


@pytest.mark.parametrize("duel", DUELS)
@pytest.mark.parametrize("reducer", ASKING)
def test_fixed_utilities_gain_and_lose_nothing(reducer, duel):
    texts = items(6)
    found, _ = classify(utility_model(TOPICS), TOPICS, texts, shown=examples(TOPICS), reducer=reducer, duel=duel)
    direct, _ = classify(utility_model(TOPICS), TOPICS, texts, method="direct")
    for text, one, other in zip(texts, found, direct, strict=True):
        assert one.label == other.label == ranking(text.text)[0]


def test_iterative_top_reduction_returns_the_best_in_their_order():
    texts = items(10)
    for text, one in zip(texts, classify(utility_model(TOPICS), TOPICS, texts)[0], strict=True):
        assert list(one.candidates) == ranking(text.text)[:5]


@pytest.mark.parametrize("windows", ["diverse", "similar"])
@pytest.mark.parametrize("count", [6, 16, 17, 18, 28, 29, 30, 77, 150])
def test_windows_keep_the_best_with_the_stated_number_of_questions(count, windows):
    labels = [f"name {place}" for place in range(count)]
    (one,), _ = classify(
        utility_model(labels), labels, items(1), reducer="cbwr", windows=windows, duel="zero_shot", tournament="king"
    )
    stage_one = max(0, -(-(count - 16) // 13)) + 1
    assert one.calls == stage_one + 4
    assert one.candidates[0] == one.label == ranking("text number 0", labels)[0]
    assert len(one.candidates) == 5


def test_a_random_model_finds_k_of_n_and_decides_evenly():
    labels = [f"name {place}" for place in range(12)]
    texts = items(1500)
    flat = utility_model(labels, lambda text, label: 0.0, noise=True)
    found, _ = classify(flat, labels, texts, duel="zero_shot")
    scores = evaluate(found, {text.id: labels[0] for text in texts}, labels)
    assert scores.top.low < 5 / 12 < scores.top.high
    assert scores.accuracy.low < 1 / 12 < scores.accuracy.high


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("tournament", TOURNAMENTS)
@pytest.mark.parametrize("reducer", ASKING)
@pytest.mark.parametrize("duel", ["pc_cot", "zero_shot"])
def test_calls_are_those_announced(reducer, tournament, both, duel):
    settings = {"reducer": reducer, "tournament": tournament, "both_orders": both, "duel": duel}
    texts = items(3)
    found, classifier = classify(utility_model(TOPICS), TOPICS, texts, **settings)
    expected = estimate_calls(len(TOPICS), len(texts), ClassifierConfig(**settings))
    assert {one.calls for one in found} == {expected.per_text}
    cost = classifier.cost
    assert cost.calls == expected.per_text * len(texts)
    assert cost.pair_calls <= expected.pairs
    assert cost.pair_calls + cost.cache_hits == (
        2 * len(texts) * len(found[0].duels) * (1 + both) if duel == "pc_cot" else 0
    )
    assert cost.pair_calls == 2 * len(classifier.pairs)


def test_pairs_are_asked_about_once_even_at_the_same_time():
    labels = ["a", "b"]
    model = ScriptedChat(lambda call: "LABEL: a" if options_of(call) else "shared")
    _, classifier = classify(model, labels, items(10), concurrency=10)
    asked = [tuple(message.content for message in call.messages) for call in model.calls]
    first_turns = [call for call in asked if len(call) == 1]
    assert len(first_turns) == len(set(first_turns)) == len(classifier.pairs)
    assert classifier.cost.pair_calls == 2 * len(classifier.pairs)


def test_a_pair_is_discussed_in_three_turns_and_the_text_comes_last():
    model = ScriptedChat(lambda call: "LABEL: a" if options_of(call) else f"said {len(call.messages)}")
    (one,), _ = classify(model, ["a", "b"], items(1), shown=examples(["a", "b"]))
    shared, contrasts, decide = model.calls
    assert [len(call.messages) for call in model.calls] == [1, 3, 5]
    assert "share" in shared.prompt
    assert shared.prompt.count("Sentence: ") == 6
    assert "apart" in contrasts.prompt
    assert [message.content for message in decide.messages[1:4:2]] == ["said 1", "said 3"]
    assert "text number 0" in decide.prompt
    assert all("text number 0" not in message.content for message in decide.messages[:-1])
    assert one.label == "a"
    assert one.calls == 1


@pytest.mark.parametrize(("count", "calls", "duels"), [(1, 0, 0), (2, 1, 1), (5, 4, 4)])
def test_few_labels_skip_the_first_stage(count, calls, duels):
    labels = TOPICS[:count]
    (one,), classifier = classify(utility_model(labels), labels, items(1), duel="zero_shot")
    assert (one.calls, len(one.duels)) == (calls, duels)
    assert set(one.candidates) == set(labels)
    assert one.label == ranking("text number 0", labels)[0]
    assert classifier.estimate(1).total == calls


def test_renamed_and_permuted_labels_give_renamed_and_equal_results():
    texts = items(8)
    base, _ = classify(utility_model(TOPICS), TOPICS, texts)
    new_name = {label: f"renamed {label[::-1]}" for label in TOPICS}
    old_name = {new: old for old, new in new_name.items()}
    renamed, _ = classify(
        utility_model(list(old_name), lambda text, label: fixed_utility(text, old_name[label])), list(old_name), texts
    )
    permuted, _ = classify(utility_model(TOPICS), random.Random(3).sample(TOPICS, len(TOPICS)), texts)
    for one, other, third in zip(base, renamed, permuted, strict=True):
        assert new_name[one.label] == other.label
        assert [new_name[label] for label in one.candidates] == list(other.candidates)
        assert (one.label, one.candidates, one.duels) == (third.label, third.candidates, third.duels)


@pytest.mark.parametrize("reducer", REDUCERS)
def test_results_do_not_depend_on_how_many_are_under_way(reducer):
    texts = items(10)
    noisy = utility_model(TOPICS, noise=True, growth=1.0, position_bias=2.0)

    class Slow:
        name = "slow"

        async def chat(self, messages, **settings):
            await asyncio.sleep(random.random() / 500)
            return await noisy.chat(messages, **settings)

    one, _ = classify(noisy, TOPICS, texts, concurrency=1, shown=examples(TOPICS), reducer=reducer)
    many, _ = classify(Slow(), TOPICS, texts[::-1], concurrency=10, shown=examples(TOPICS), reducer=reducer)
    assert [each.to_record() for each in one] == [each.to_record() for each in many[::-1]]


def test_m_of_m_options_is_the_full_task():
    from intarsia.classification import LabelSet, arrange_options

    texts, labels = items(5), LabelSet.of(TOPICS)
    noisy = utility_model(TOPICS, noise=True)
    full, _ = classify(noisy, TOPICS, texts)
    arranged = [
        Item(text.id, text.text, arrange_options(labels, TOPICS[3], option_num=len(TOPICS), item=text.id))
        for text in texts
    ]
    assert classify(noisy, TOPICS, arranged)[0] == full


def test_other_seeds_shuffle_otherwise():
    model = ScriptedChat(lambda call: f"LABEL: {options_of(call)[0]}")
    first, _ = classify(model, TOPICS, items(6), method="direct")
    again, _ = classify(model, TOPICS, items(6), method="direct")
    other, _ = classify(model, TOPICS, items(6), method="direct", seed=1)
    assert first == again
    assert [one.label for one in first] != [one.label for one in other]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers(method):
    texts = items(4)
    found, classifier = classify(utility_model(TOPICS), TOPICS, texts, shown=examples(TOPICS), method=method)
    assert all(one.label in TOPICS for one in found)
    assert classifier.cost.calls == sum(one.calls for one in found)
    assert sum(found[0].scores.values()) <= 1 + 1e-9
    if method not in ("encoder",):
        assert [one.label for one in found] == [ranking(text.text)[0] for text in texts]


def test_self_consistency_counts_votes_and_draws_differ_in_their_seed():
    model = ScriptedChat(lambda call: f"LABEL: {TOPICS[call.seed % 2]}")
    (one,), _ = classify(model, TOPICS, items(1), method="self_consistency")
    assert one.scores == {TOPICS[0]: 0.6, TOPICS[1]: 0.4}
    assert [call.seed for call in model.calls] == [0, 1, 2, 3, 4]
    assert {call.temperature for call in model.calls} == {0.7}


def test_a_sure_single_answer_has_the_probability_the_model_gives_it():
    model = utility_model(TOPICS, logprobs=True)
    (one,), _ = classify(model, TOPICS, items(1), method="direct")
    assert one.confidence != pytest.approx(2 / 3)
    assert 0 < one.confidence <= 1


def test_low_confidence_abstains():
    found, _ = classify(utility_model(TOPICS), TOPICS, items(2), abstain_below=0.99)
    assert [one.label for one in found] == [None, None]
    assert found[0].best is not None
    assert found[0].to_record()["abstained_from"] == found[0].best


def test_long_texts_are_cut_and_say_so():
    model = ScriptedChat(lambda call: "LABEL: a")
    (one,), _ = classify(model, ["a", "b"], [Item("x", "word " * 300)], method="direct", max_characters=20)
    assert one.cut
    assert one.to_record()["cut"] is True
    assert "TEXT: word word word word\n" in model.calls[0].prompt


def test_transcripts_are_kept_when_asked_for():
    classifier = Classifier(utility_model(TOPICS), TOPICS, encoder=HashEncoder(), keep_transcripts=True)
    one = asyncio.run(classifier.classify("text number 0"))
    assert len(one.transcript) == one.calls == 9
    assert one.transcript[0].mapped == (one.candidates[0],)
    assert "text number 0" in one.transcript[-1].prompt
    assert len(classifier.pairs) == 4


def test_a_failed_call_is_a_failed_text_and_the_others_go_on():
    def answer(call):
        if "number 1" in call.prompt:
            raise ModelCallError("busy")
        return f"LABEL: {options_of(call)[0]}"

    classifier = Classifier(ScriptedChat(answer), TOPICS, ClassifierConfig(method="direct"), encoder=HashEncoder())

    async def everything():
        return {place: outcome async for place, outcome in classifier.stream(items(3))}

    outcomes = asyncio.run(everything())
    assert [outcomes[place].ok for place in range(3)] == [True, False, True]
    assert "busy" in outcomes[1].error


def test_numbers_nobody_asks_about_are_settled_without_the_encoder():
    encoder = HashEncoder()
    classify(utility_model(TOPICS), TOPICS, items(2), encoder=encoder, shots=0, shown=examples(TOPICS))
    assert encoder.asked == 0
