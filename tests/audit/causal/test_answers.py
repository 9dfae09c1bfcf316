"""Reading replies: forms that models use, and the traps."""

import pytest

from intarsia.audit.causal.answers import parse_answer
from intarsia.audit.causal.models import DOES_NOT_HAPPEN, HAPPENS, UNDETERMINED

FACTORS = ("kova", "Mibu tax", "resk", "tal")
LETTERS = ("A", "B", "C", "D")


def paths(reply, labels=FACTORS):
    answer = parse_answer("CP", reply, labels)
    return answer.paths if answer.is_parsed else None


def chosen(reply, labels=FACTORS):
    answer = parse_answer("BA", reply, labels)
    return [node for node in range(len(labels)) if answer.chosen >> node & 1] if answer.is_parsed else None


def states(reply, labels=FACTORS):
    answer = parse_answer("FI", reply, labels)
    return dict(answer.states) if answer.is_parsed else None


# Paths


@pytest.mark.parametrize(
    "reply",
    [
        "ANSWER: kova -> Mibu tax -> resk\nANSWER: kova -> resk",
        "ANSWER:\nkova -> mibu tax -> resk\nkova -> resk",
        "answer: KOVA → MIBU TAX → RESK\n\nAnswer: kova → resk.",
        "**ANSWER:** `kova -> Mibu tax -> resk`\n**ANSWER:** `kova -> resk`",
        "ANSWER:\n1. kova --> Mibu_tax --> resk\n2. kova => resk",
        "ANSWER:\n- *kova* -> *Mibu tax* -> *resk*\n- kova->resk\n\nThese are all paths.",
        "ANSWER: kova -> Mibu tax -> resk; kova -> resk",
        "ANSWER: kova -> Mibu tax -> resk, kova -> resk",
        "ANSWER: $kova \\rightarrow Mibu tax \\to resk$\nANSWER: kova $\\to$ resk",
        "First, ANSWER: lines are wanted.\nANSWER: kova -> tal\nWait, that is wrong.\n"
        "ANSWER: kova -> Mibu tax -> resk\nANSWER: kova -> resk",
        "Final answer: kova -> Mibu tax -> resk\nFinal answer: kova -> resk",
        "kova -> Mibu tax -> resk\nkova -> resk",
    ],
)
def test_forms_of_paths(reply):
    assert paths(reply) == {(0, 1, 2), (0, 2)}


@pytest.mark.parametrize(
    "reply",
    ["ANSWER: none", "ANSWER: None.", "**ANSWER: none**", "ANSWER:\nno causal paths", "none", "ANSWER: none\n```"],
)
def test_forms_of_no_path(reply):
    assert paths(reply) == frozenset()


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I cannot tell.",
        "ANSWER:",
        "ANSWER: kova leads to resk",  # no arrow
        "ANSWER: kova -> -> resk",  # a hole
        "ANSWER: kova <- resk",  # the wrong way round
        "ANSWER: kova -> resk <- tal",
        "ANSWER: none\nANSWER: kova -> resk",  # both
        "ANSWER: kova -> resk, tal",
        "ANSWER: kova -> resk\nANSWER: and another one",
        "The paths are kova -> resk and kova -> tal -> resk.",  # prose, not an answer
    ],
)
def test_what_cannot_be_read_as_paths_is_unparsable_and_not_none(reply):
    answer = parse_answer("CP", reply, FACTORS)
    assert not answer.is_parsed
    assert answer.problem


def test_unknown_nodes_of_a_path_are_noted_and_the_path_is_kept():
    answer = parse_answer("CP", "ANSWER: kova -> nobody -> resk\nANSWER: kova -> resk", FACTORS)
    assert answer.unknown == ("nobody",)
    assert answer.paths == {(0, -1, 2), (0, 2)}


def test_an_unreadable_line_in_the_block_is_not_skipped():
    assert paths("ANSWER: kova -> resk\nkova -> -> tal") is None


# Sets


@pytest.mark.parametrize(
    "reply",
    [
        "ANSWER: kova, Mibu tax",
        "ANSWER: {kova, mibu tax}",
        "answer: [Mibu tax; kova]",
        "ANSWER: kova and Mibu tax.",
        "ANSWER: the factors kova and Mibu tax",
        "**ANSWER**: **kova**, **Mibu tax**",
        "ANSWER:\nkova\nMibu tax\n\nThese block every path.",
        "ANSWER: kova, Mibu_tax, kova",
        "> ANSWER: `kova`, `Mibu tax`",
        "kova, Mibu tax",
    ],
)
def test_forms_of_sets(reply):
    assert chosen(reply) == [0, 1]


@pytest.mark.parametrize(
    "reply",
    ["ANSWER: none", "ANSWER: {}", "ANSWER: ∅", "ANSWER: the empty set", "ANSWER: []", "ANSWER: No adjustment needed."],
)
def test_forms_of_the_empty_set(reply):
    assert chosen(reply) == []


@pytest.mark.parametrize(
    "reply",
    [
        "ANSWER:",
        "",
        "One should adjust for kova.",
        "ANSWER: none\nANSWER: kova",
        "ANSWER: kova, resk\nANSWER: tal",  # two sets
        "ANSWER: kova -> resk",
        "ANSWER: you have to adjust for all of the factors that come before kova",
    ],
)
def test_what_cannot_be_read_as_a_set_is_not_the_empty_set(reply):
    assert chosen(reply) is None


def test_unknown_factors_are_noted():
    answer = parse_answer("BA", "ANSWER: kova, nobody", FACTORS)
    assert (answer.chosen, answer.unknown, answer.is_parsed) == (1, ("nobody",), True)


def test_single_letters_are_names_and_words_are_not():
    assert chosen("A set that works is this one.\nANSWER: A, C", LETTERS) == [0, 2]
    assert states("ANSWER: A: happens\nANSWER: B: does not happen", LETTERS) == {0: HAPPENS, 1: DOES_NOT_HAPPEN}


# States


@pytest.mark.parametrize(
    "reply",
    [
        "ANSWER: kova: happens\nANSWER: resk: does not happen",
        "ANSWER:\nkova: happens\nresk: does not happen",
        "ANSWER: kova happens\nANSWER: resk does not happen",
        "ANSWER: kova: yes\nANSWER: resk: no",
        "ANSWER: kova: would happen\nANSWER: resk: would not have happened",
        "ANSWER: kova: happened.\nANSWER: resk: didn't happen.",
        "ANSWER: kova: occurs, resk: doesn't occur",
        "**ANSWER:** kova: **happens**\n**ANSWER:** resk: **does not happen**",
        "ANSWER: event kova: happens\nANSWER: event resk: never happens\n\nBecause tal does.",
        "ANSWER: resk: happens\nNo, that is wrong.\nANSWER: kova: happens\nANSWER: resk: does not happen",
        "ANSWER:\nkova: happens, resk: does not happen",
        "ANSWER: kova happens and resk does not happen",
    ],
)
def test_forms_of_states(reply):
    assert states(reply) == {0: HAPPENS, 2: DOES_NOT_HAPPEN}


@pytest.mark.parametrize(
    "words", ["cannot be determined", "can't be determined", "Cannot be determined.", "undetermined"]
)
def test_forms_of_undetermined(words):
    assert states(f"ANSWER: kova: {words}") == {0: UNDETERMINED}


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "ANSWER:",
        "ANSWER: kova: maybe",
        "ANSWER: kova",
        "ANSWER: kova: happens\nANSWER: kova: does not happen",  # contradiction
        "ANSWER: kova: happens if resk happens",
        "ANSWER: happens",
    ],
)
def test_what_cannot_be_read_as_states(reply):
    assert states(reply) is None


def test_unknown_events_are_noted():
    answer = parse_answer("CI", "ANSWER: kova: happens\nANSWER: nobody: happens", FACTORS)
    assert (answer.states, answer.unknown) == (((0, HAPPENS),), ("nobody",))


def test_names_with_hyphens_and_apostrophes():
    labels = ("x-ray", "Ohm's law", "wet grass")
    assert paths("ANSWER: X-ray -> ohm's law -> Wet  grass", labels) == {(0, 1, 2)}
    assert states("ANSWER: Ohm's law: happens\nANSWER: x-ray: does not happen", labels) == {
        1: HAPPENS,
        0: DOES_NOT_HAPPEN,
    }
