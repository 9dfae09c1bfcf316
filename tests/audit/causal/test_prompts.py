"""Prompts say everything that is needed, in every style; worked examples are right; wording changes no truth."""

import re
from dataclasses import replace

import pytest

from intarsia.audit.causal.adjustment import Adjustment
from intarsia.audit.causal.answers import canonical_answer, parse_answer
from intarsia.audit.causal.building import generate_questions
from intarsia.audit.causal.config import PROMPT_STYLES, BenchmarkConfig
from intarsia.audit.causal.examples import worked_examples
from intarsia.audit.causal.names import Names, name_styles
from intarsia.audit.causal.problems import Problem
from intarsia.audit.causal.prompts import NOW_YOURS, PromptConfig, listed, render_prompt, render_question
from intarsia.audit.causal.questions import from_record, to_record
from intarsia.audit.causal.scoring import score
from intarsia.audit.causal.solver import solve
from intarsia.errors import InputError, UnknownNameError

SMALL = BenchmarkConfig(graphs=2, path_iters=(3, 6))


def asked(**changes):
    return list(generate_questions(replace(SMALL, **changes)))


@pytest.mark.parametrize("evidence", ["full", "partial"])
@pytest.mark.parametrize("names", name_styles())
def test_a_solver_of_the_text_alone_is_always_right(names, evidence):
    for question in asked(names=(names,), prompts=PROMPT_STYLES, evidence=evidence, root_states="random"):
        assert score(question, solve(question.prompt)).exact, question.prompt
        assert score(question, question.answer).exact


@pytest.mark.parametrize("group", ["10", "20", "30"])
def test_other_shapes(group):
    for question in asked(group=group, path_iters=(4,)):
        assert score(question, solve(question.prompt)).exact, question.prompt


@pytest.mark.parametrize("distance", [0.75, 0.5])
def test_other_distances(distance):
    for question in asked(group="20", distance=distance, path_iters=(4,), tasks=("CP", "BA")):
        assert score(question, solve(question.prompt)).exact, question.prompt


@pytest.mark.parametrize("task", ["CP", "BA", "FI", "CI"])
@pytest.mark.parametrize("evidence", ["full", "partial"])
def test_worked_examples_are_right_and_different(task, evidence):
    config = PromptConfig()
    answers = []
    for example in worked_examples(task, evidence):
        answer = canonical_answer(example.problem, example.names.factors)
        solved = solve(render_question(example.problem, example.names, config))
        if task == "BA":
            key, nodes = example.problem.key, parse_answer(task, answer, example.names.factors).chosen
            assert Adjustment(example.problem.graph, key.treatments, key.outcomes).is_valid(nodes)
            assert Adjustment(example.problem.graph, key.treatments, key.outcomes).is_minimal(nodes)
        else:
            assert solved == answer
        assert "ANSWER" not in example.reasoning
        # The reasoning speaks of the example's own factors.
        words = set(re.findall(r"tavo|milu|resk|bonda|fenig", example.reasoning))
        assert words <= set(example.names.factors)
        answers.append(answer)
    assert answers[0] != answers[1]


def test_styles_have_what_they_are_called_for():
    prompts = {question.prompt_style: question.prompt for question in asked(prompts=PROMPT_STYLES, tasks=("FI",))}
    for style, prompt in prompts.items():
        count = {"one": 1, "two": 2}.get(style.partition("_")[0], 0)
        assert len(re.findall(r"^Example \d$", prompt, re.MULTILINE)) == count
        assert (NOW_YOURS in prompt) == bool(count)
        assert prompt.endswith("Think step by step before you answer.") == style.endswith("cot")
        assert ("Check carefully" in prompt) == (style == "mis_hint")
    # The reasoning of examples is there in chains of thought only.
    assert "so milu happens" in prompts["one_cot"]
    assert "so milu happens" not in prompts["one_shot"]


def test_closed_world_hint_can_be_left_out():
    with_hint, without = (asked(tasks=("FI",), closed_world_hint=hint)[0].prompt for hint in (True, False))
    assert (
        with_hint.replace(" An event with such conditions happens only if at least one of them holds.", "") == without
    )


def test_all_name_styles_share_problem_and_truth():
    in_style = [asked(names=(style,), shuffle_sentences=True) for style in name_styles()]
    for same in zip(*in_style, strict=True):
        first = same[0]
        assert len({question.pair_id for question in same}) == 1
        assert len({question.id for question in same}) == len(same)
        for other in same[1:]:
            assert other.problem == first.problem
            # Renaming the nodes renames the prompt's and the answer's names and nothing else.
            table = dict(zip(other.labels, first.labels, strict=True))
            pattern = "|".join(map(re.escape, sorted(table, key=len, reverse=True)))
            renamed = re.sub(rf"\b(?:{pattern})\b", lambda found: table[found[0]], other.answer)  # noqa: B023
            assert renamed == first.answer


def test_order_of_sentences_changes_the_prompt_only():
    for plain, shuffled in zip(asked(), asked(shuffle_sentences=True), strict=True):
        assert plain.problem == shuffled.problem
        assert plain.answer == shuffled.answer
        sentences = [sorted(re.split(r"(?<=\.)\s", question.prompt)) for question in (plain, shuffled)]
        assert sentences[0] == sentences[1]
    assert any(a.prompt != b.prompt for a, b in zip(asked(), asked(shuffle_sentences=True), strict=True))


def test_a_graph_without_edges_can_be_asked_about():
    question = asked(chain=0.0, fork=0.0, collider=0.0, tasks=("CP", "BA"))[0]
    assert "No factor has a causal effect on another." in question.prompt
    assert solve(question.prompt) == question.answer == "ANSWER: none"


def test_lists():
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_unknown_styles_and_missing_keys_are_named():
    with pytest.raises(UnknownNameError, match=r"unknown prompt style 'zero_cott'[\s\S]*zero_cot"):
        PromptConfig("zero_cott")
    question = asked(tasks=("FI",), levels=(1,))[0]
    bare = Problem("FI", question.problem.graph, None)
    with pytest.raises(InputError, match="without its model cannot be put into words"):
        render_prompt(bare, Names(question.labels, question.labels), PromptConfig())
    with pytest.raises(InputError, match="asks nothing known"):
        solve("What is the capital of France?")


def test_records_keep_everything():
    for question in asked(evidence="partial", prompts=("zero_shot", "two_cot")):
        assert from_record(to_record(question)) == question
