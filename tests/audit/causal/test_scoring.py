"""Scores, failure kinds, baselines, and closed forms."""

from dataclasses import replace

import numpy as np
import pytest

from intarsia.audit.causal.answers import path_answer, state_answer
from intarsia.audit.causal.baselines import (
    BASELINES,
    copy_factual,
    empty_set,
    majority,
    random_set,
    treatment_parents,
)
from intarsia.audit.causal.building import generate_questions
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.models import DOES_NOT_HAPPEN, HAPPENS
from intarsia.audit.causal.questions import from_record, to_record
from intarsia.audit.causal.scoring import FAILURES, score
from intarsia.audit.causal.user_graphs import user_graph
from intarsia.errors import InputError, UnknownNameError


@pytest.fixture(scope="module")
def asked():
    return list(generate_questions(BenchmarkConfig(graphs=6)))


def of(asked, task, **wanted):
    return [q for q in asked if q.task == task and all(getattr(q, name) == value for name, value in wanted.items())]


def own(task, **content):
    config = BenchmarkConfig(tasks=(task,), names=("own",), what_ifs=(1,))
    return next(iter(generate_questions(config, subjects=[user_graph(content)])))


def confounded():
    """Mill is confounded by rain; flour is behind it; a collider sack lies off the way."""
    edges = [["rain", "mill"], ["rain", "bread"], ["mill", "flour"], ["flour", "bread"]]
    edges += [["a1", "mill"], ["a1", "sack"], ["b1", "sack"], ["b1", "bread"]]
    return own("BA", edges=edges, treatments=["mill"], outcomes=["bread"])


# CP


def test_paths_are_scored_by_precision_and_recall():
    edges = [["x", "m"], ["m", "y"], ["x", "y"], ["x", "k"], ["k", "y"]]
    question = own("CP", edges=edges, treatments=["x"], outcomes=["y"])
    right = score(question, "ANSWER: x -> m -> y\nANSWER: x -> y\nANSWER: x -> k -> y")
    assert (right.exact, right.precision, right.recall, right.f1, right.failure) == (True, 1, 1, 1, None)
    partly = score(question, "ANSWER: x -> y\nANSWER: x -> m -> k -> y")
    assert (partly.exact, partly.precision, partly.recall) == (False, 1 / 2, 1 / 3)
    assert partly.f1 == pytest.approx(2 / 5)
    assert partly.failure == "wrong_paths"
    none = score(question, "ANSWER: none")
    assert (none.exact, none.precision, none.recall, none.f1) == (False, 0, 0, 0)
    assert score(question, "ANSWER: x -> z -> y").failure == "unknown_name"
    unread = score(question, "I see no path.")
    assert (unread.exact, unread.parsed, unread.failure, unread.f1) == (False, False, "unparsable", 0)


def test_no_path_is_right_where_there_is_none():
    question = own("CP", edges=[["y", "z"], ["x", "z"]], treatments=["x"], outcomes=["y"])
    right, wrong = score(question, "ANSWER: none"), score(question, "ANSWER: x -> z -> y")
    assert (right.exact, right.precision, right.recall, right.f1) == (True, 1, 1, 1)
    assert (wrong.exact, wrong.precision, wrong.recall, wrong.f1) == (False, 0, 0, 0)


def test_a_lister_that_drops_paths_is_right_as_often_as_the_closed_form_says(asked):
    generator, drop, repeats = np.random.default_rng(0), 0.2, 12
    questions = of(asked, "CP")
    counts = [len(question.problem.key.paths) for question in questions]
    expected = np.mean([(1 - drop) ** count for count in counts])
    hits = []
    for question in questions:
        for _ in range(repeats):
            kept = [path for path in question.problem.key.paths if generator.random() >= drop]
            reply = path_answer([[question.labels[node] for node in path] for path in kept])
            hits.append(score(question, reply).exact)
    assert np.mean(hits) == pytest.approx(expected, abs=4 * np.sqrt(0.25 / len(hits)))


# BA


@pytest.mark.parametrize(
    ("reply", "failure", "minimal"),
    [
        ("rain", None, True),
        ("rain, a1", None, False),
        ("rain, a1, sack", None, False),
        ("none", "open_backdoor_path", None),
        ("rain, sack", "opened_collider", None),
        ("rain, flour", "forbidden_node", None),
        ("rain, mill", "forbidden_node", None),
        ("rain, bread", "forbidden_node", None),
        ("rain, snow", "unknown_name", None),
    ],
)
def test_failures_of_sets(reply, failure, minimal):
    found = score(confounded(), f"ANSWER: {reply}")
    assert (found.exact, found.failure, found.minimal) == (failure is None, failure, minimal)


def test_an_unparsable_set_is_wrong_even_where_the_empty_set_is_right():
    question = own("BA", edges=[["x", "y"]], treatments=["x"], outcomes=["y"])
    assert score(question, "ANSWER: none").exact
    found = score(question, "Nothing comes to my mind.")
    assert (found.exact, found.failure) == (False, "unparsable")
    # The published rule takes what it cannot read for the empty set.
    assert score(question, "Nothing comes to my mind.", criterion="released").exact
    assert score(question, "ANSWER: nobody", criterion="released").exact


def test_criteria_differ():
    question = own("BA", edges=[["x", "y"], ["x", "side"]], treatments=["x"], outcomes=["y"])
    assert score(question, "ANSWER: side").exact
    found = score(question, "ANSWER: side", criterion="backdoor")
    assert (found.exact, found.failure) == (False, "rejected")
    assert score(confounded(), "ANSWER: none", criterion="backdoor").failure == "open_backdoor_path"
    assert not score(confounded(), "ANSWER: rain", criterion="released").exact
    with pytest.raises(UnknownNameError, match=r"unknown criterion 'sound'"):
        score(question, "ANSWER: side", criterion="sound")


# FI and CI


def test_states_are_scored_event_by_event(asked):
    question = next(q for q in of(asked, "FI", level=3) if len(q.problem.key.query) == 3)
    key = question.problem.key
    names = [question.labels[node] for node in key.query]
    right = dict(zip(names, key.states, strict=True))
    opposite = {HAPPENS: DOES_NOT_HAPPEN, DOES_NOT_HAPPEN: HAPPENS}
    one_wrong = {**right, names[1]: opposite[right[names[1]]]}
    found = score(question, state_answer(one_wrong))
    assert (found.exact, found.failure) == (False, "wrong_state")
    assert found.nodes_right == pytest.approx(2 / 3)
    missing = score(question, state_answer({name: right[name] for name in names[:2]}))
    assert (missing.exact, missing.failure) == (False, "missing_state")
    other = next(label for label in question.labels if label not in names)
    extra = score(question, state_answer({**right, other: HAPPENS}) + "\nANSWER: nobody: happens")
    assert (extra.exact, extra.extra, extra.unknown) == (True, (other,), ("nobody",))
    assert score(question, "Who knows?").nodes_right == 0


def test_every_failure_is_known(asked):
    for question in asked:
        for reply in ("", "ANSWER: none", "ANSWER: nobody: happens", "ANSWER: nobody -> nobody"):
            assert score(question, reply).failure in (None, *FAILURES)


def test_scoring_without_a_key_is_an_error(asked):
    for question in asked[:4]:
        record = to_record(question)
        for field in ("paths", "treatments", "states", "answer"):
            record[field] = None
        bare = from_record(record)
        assert bare.prompt == question.prompt
        with pytest.raises(InputError, match=rf"no answer key[\s\S]*question {question.id}[\s\S]*generated"):
            score(bare, question.answer)
    assert replace(asked[0], problem=replace(asked[0].problem, key=None)).what_ifs == 0


# Baselines


def test_parents_of_the_treatments_are_always_right(asked):
    assert all(score(question, treatment_parents(question)).exact for question in of(asked, "BA"))


def test_the_empty_set_is_right_where_it_is_valid(asked):
    for question in of(asked, "BA"):
        assert score(question, empty_set(question)).exact == (question.problem.key.minimal_sets == ((),))


def test_copying_the_facts_is_right_where_nothing_changes(asked):
    right = [score(question, copy_factual(question)).exact for question in of(asked, "CI")]
    same = [question.problem.key.states == question.problem.key.factual for question in of(asked, "CI")]
    assert right == same
    assert 0 < sum(right) < len(right)


def test_random_sets_are_reproducible_and_differ_by_seed(asked):
    questions = of(asked, "BA", level=3)
    assert [random_set(q, 1) for q in questions] == [random_set(q, 1) for q in questions]
    assert [random_set(q, 1) for q in questions] != [random_set(q, 2) for q in questions]


def test_the_majority_answers_every_event_alike(asked):
    respond = majority(asked)
    states = [state for q in asked if q.task in ("FI", "CI") for state in q.problem.key.states]
    frequent = max({*states}, key=states.count)
    for question in of(asked, "FI"):
        expected = all(state == frequent for state in question.problem.key.states)
        assert score(question, respond(question)).exact == expected


def test_baselines_refuse_questions_of_other_tasks(asked):
    tasks = {task: of(asked, task)[0] for task in ("CP", "BA", "FI", "CI")}
    for task, respond in BASELINES.values():
        for other, question in tasks.items():
            if other == task:
                respond(question)
            else:
                with pytest.raises(InputError, match=question.id):
                    respond(question)
    with pytest.raises(InputError, match="no FI or CI question"):
        majority([tasks["CP"]])
    with pytest.raises(InputError, match="does not ask for states"):
        majority(asked)(tasks["CP"])
