"""Labels map to themselves from every wording, and shorter names never stand for longer ones."""

import json

import pytest

from intarsia.classification import map_answer, map_answers
from intarsia.classification.labels import normalise

WORDINGS = [
    "LABEL: {}",
    "Choice: {}",
    "{}",
    "{}.",
    '"{}"',
    "`{}`",
    "LABEL: **{}**.",
    "The topic of the text is {}.",
    "It asks for something.\n\nLABEL: {}",
    '{{"label": "{}"}}',
    "label: '{}'",
    "I would go with {}",
]
SPELLINGS = [str, str.upper, lambda name: name.replace("_", " ").replace("/", " "), str.title]


def check_all(labels):
    for name in labels:
        for wording in WORDINGS:
            for spell in SPELLINGS:
                mapped = map_answer(wording.format(spell(name)), labels)
                assert mapped is not None, (name, wording)
                assert mapped.label == name, (name, wording, mapped)


def nested(labels):
    words = {name: f" {normalise(name)} " for name in labels}
    return [(a, b) for a in labels for b in labels if a != b and (words[a] in words[b] or normalise(a) in normalise(b))]


NESTED = [
    "balance",
    "pto_balance",
    "pto_balance_request",
    "likeness",
    "dislikeness",
    "alarm/query",
    "query",
    "recognised",
]


def test_labels_map_to_themselves_from_twelve_wordings():
    check_all(NESTED)


def test_labels_of_the_four_sets_map_to_themselves(intent_folder):
    sets = json.loads((intent_folder / "labels.json").read_text())
    assert {name: len(labels) for name, labels in sets.items()} == {
        "banking77": 77,
        "hwu64": 64,
        "liu54": 54,
        "clinc150": 150,
    }
    for labels in sets.values():
        check_all(labels)
        for shorter, longer in nested(labels):
            options = [label for label in labels if label != longer]
            # The model names something that is not offered: that is not the shorter name that is.
            assert map_answer(f"LABEL: {longer}", options, labels) is None, (shorter, longer)
            assert map_answer(f"It is {longer}, I think", labels).label == longer


def test_labels_that_are_ordinary_words_do_not_hide_the_answer():
    labels = ["text", "date", "yes", "no", "card_arrival"]
    assert map_answer("The topic of the text is date.", labels).label == "date"
    assert map_answer("The topic of the text is text.", labels).label == "text"
    assert map_answer("I would go with card_arrival, no doubt", labels).label == "card_arrival"
    assert map_answer("not a date but a text", labels) is None


def test_levels_are_recorded():
    options = ["card_arrival", "lost_card", "cash_withdrawal_not_recognised"]
    assert map_answer("LABEL: card_arrival", options).level == "exact"
    assert map_answer("LABEL: Card Arrival", options).level == "normalised"
    assert map_answer("cash withdrawal not recognized", options).level == "normalised"
    assert map_answer("This is about card_arrival", options).level == "contained"


@pytest.mark.parametrize(
    "reply",
    [
        "LABEL: something_else",
        "card_arrival or lost_card",
        "LABEL: card_arrival, lost_card",
        "",
        "LABEL:",
        "I cannot tell.",
        "LABEL: delivery (close to card_arrivals)",
    ],
)
def test_what_names_no_option_is_unmapped(reply):
    assert map_answer(reply, ["card_arrival", "lost_card"]) is None


def test_text_behind_the_marker_counts_and_not_what_was_weighed_before():
    reply = "It could be lost_card.\nLABEL: lost_card? No.\nLABEL: card_arrival"
    assert map_answer(reply, ["card_arrival", "lost_card"]).label == "card_arrival"
    assert map_answer("lost_card fits well. LABEL: nothing of these", ["card_arrival", "lost_card"]) is None


def test_lists_keep_their_order_and_name_each_option_once():
    options = ["card_arrival", "lost_card", "atm_support"]
    replies = [
        "LABELS: lost_card, card_arrival",
        "1. lost card\n2. Card_Arrival\n3. lost_card",
        "- lost_card\n- card_arrival",
    ]
    for reply in replies:
        assert [each.label for each in map_answers(reply, options)] == ["lost_card", "card_arrival"]
    assert [each.label for each in map_answers("LABELS: lost_card, dogs, atm_support", options)] == [
        "lost_card",
        "atm_support",
    ]
    assert map_answers("none", options) == []


def test_a_label_with_a_comma_is_one_entry():
    options = ["food, drink", "food", "travel"]
    assert [each.label for each in map_answers("LABELS: travel, food, drink", options)] == ["travel", "food, drink"]
    assert map_answer("LABEL: food, drink", options).label == "food, drink"
