"""What becomes of answers that name no option, in each reducer."""

import pytest
from classification_models import TOPICS, HashEncoder, classify, examples, items, options_of, utility_model

from intarsia.classification import UnmappedError
from intarsia.evals import ScriptedChat


def scripted(answers):
    """Answers by a function of the options and the number of the question; the best option is the last in order."""
    count = iter(range(10**6))
    return ScriptedChat(lambda call: answers(sorted(options_of(call)), next(count), call))


def test_an_unmapped_pick_is_asked_for_again_in_laxer_words():
    model = scripted(lambda options, number, call: "hm" if number == 1 else f"LABEL: {options[-1]}")
    (one,), _ = classify(model, TOPICS, items(1), duel="zero_shot")
    assert list(one.candidates) == TOPICS[:-6:-1]
    assert (one.calls, one.unmapped) == (10, 1)
    assert "At least two of the options" in model.calls[2].prompt


def test_two_unmapped_picks_end_the_reduction_with_what_there_is():
    model = scripted(lambda options, number, call: "hm" if number in (2, 3) else f"LABEL: {options[-1]}")
    (one,), _ = classify(model, TOPICS, items(1), duel="zero_shot")
    assert list(one.candidates) == TOPICS[:-3:-1]
    assert isinstance(one.candidates[0], str)
    assert len(one.duels) == 1


def test_a_model_that_never_picks_leaves_one_option():
    model = scripted(lambda options, number, call: "hm" if len(options) > 2 else f"LABEL: {options[-1]}")
    with pytest.raises(UnmappedError, match="6 of 6 answers"):
        classify(model, TOPICS, items(1), duel="zero_shot")
    assert len(model.calls) == 6


def test_a_pick_that_is_gone_already_is_no_pick():
    model = scripted(
        lambda options, number, call: f"LABEL: {TOPICS[0]}" if len(options) > 2 else f"LABEL: {options[0]}"
    )
    (one,), _ = classify(model, TOPICS, items(1), duel="zero_shot")
    assert one.candidates == (TOPICS[0],)
    assert one.label == TOPICS[0]
    assert one.unmapped == 2


def list_answers(options, call, most):
    return f"LABELS: {', '.join(sorted(options, reverse=True)[:most])}"


def test_a_window_that_fails_is_halved_and_never_lost():
    failed = []

    def answer(options, number, call):
        if len(options) == 16 and not failed:
            failed.append(set(options))
            return "no idea"
        return list_answers(options, call, 5 if "Which 5" in call.prompt else 3)

    model = scripted(answer)
    (one,), _ = classify(model, TOPICS, items(1), reducer="cbwr", duel="zero_shot", max_unmapped=1)
    halves = [set(options_of(call)) for call in model.calls[1:3]]
    assert [len(half) for half in halves] == [8, 8]
    assert halves[0] | halves[1] == failed[0]
    assert len(one.candidates) == 5
    assert one.candidates[0] == TOPICS[-1]


def test_halves_that_fail_too_keep_their_nearest_options():
    model = scripted(lambda options, number, call: "no idea" if len(options) > 2 else f"LABEL: {options[0]}")
    (one,), _ = classify(model, TOPICS, items(1), reducer="cbwr", duel="zero_shot", max_unmapped=1)
    assert len(one.candidates) == 5
    assert one.label in one.candidates


@pytest.mark.parametrize("reducer", ["one_shot", "self_consistency"])
def test_a_list_without_options_leaves_the_first_one_shown(reducer):
    model = scripted(lambda options, number, call: "no idea" if len(options) > 2 else f"LABEL: {options[0]}")
    with pytest.raises(UnmappedError):
        classify(model, TOPICS, items(1), reducer=reducer)


def test_votes_keep_the_most_frequent_options():
    orders = [[0, 1, 2], [2, 1, 3], [1, 4, 5], [2, 1, 0], [9]]

    def answer(options, number, call):
        if len(options) == 2:
            return f"LABEL: {options[0]}"
        return "LABELS: " + ", ".join(TOPICS[place] for place in orders[number])

    (one,), _ = classify(scripted(answer), TOPICS, items(1), reducer="self_consistency", duel="zero_shot")
    assert one.candidates == (TOPICS[1], TOPICS[2], TOPICS[0])


def test_no_more_than_half_of_the_options_are_struck_out():
    def answer(options, number, call):
        if "ruled out" in call.prompt:
            return "LABELS: " + ", ".join(options)
        return f"LABEL: {options[-1]}"

    model = scripted(answer)
    (one,), _ = classify(model, TOPICS, items(1), reducer="remove", duel="zero_shot")
    assert len(options_of(model.calls[1])) == 15
    assert list(one.candidates) == TOPICS[:-6:-1]


def test_an_encoder_reduces_to_the_nearest_names_or_centroids():
    texts = items(1)
    for prototypes in ("names", "centroids"):
        (one,), classifier = classify(
            utility_model(TOPICS), TOPICS, texts, shown=examples(TOPICS), reducer="encoder", prototypes=prototypes
        )
        rows = classifier._vectors.of_labels(TOPICS, prototypes) @ HashEncoder().embed(["text number 0"])[0]
        assert list(one.candidates) == [TOPICS[place] for place in (-rows).argsort(kind="stable")[:5]]


def test_a_supervised_reducer_keeps_two():
    (one,), _ = classify(utility_model(TOPICS), TOPICS, items(1), shown=examples(TOPICS), reducer="supervised")
    assert len(one.candidates) == 2


def test_labels_with_equal_vectors_still_fill_windows():
    class Flat:
        def embed(self, texts):
            import numpy as np

            return np.ones((len(texts), 1), dtype=np.float32)

    (one,), _ = classify(utility_model(TOPICS), TOPICS, items(1), reducer="cbwr", encoder=Flat())
    assert len(one.candidates) == 5
