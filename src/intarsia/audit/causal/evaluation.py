"""The benchmark as Inspect knows it: samples, solvers and scorers."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any, cast

from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, ModelOutput, get_model
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, ci_wilson, mean, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from intarsia.audit.causal import scoring
from intarsia.audit.causal.extraction import EXTRACTION_TOKENS, extraction_prompt, needs_extraction, read_reply
from intarsia.audit.causal.prompts import reply_tokens
from intarsia.audit.causal.questions import Question, from_record, to_record
from intarsia.errors import InputError, UnknownNameError
from intarsia.evals.inspect.providers import naming_call

QUESTION, EXTRACTED = "question", "extracted"
"""Where a sample's metadata hold the question, and what the extracting model wrote."""

_GROUPS = {"task": "{}", "level": "level {}", "names": "{} names", "prompt": "{}"}


@metric
def accuracy_by_group() -> Metric:
    """The share of right answers of each task, level, name style and prompt style, where there are several."""

    def measure(scores: list[SampleScore]) -> Value:
        shares: dict[str, float] = {}
        for key, label in _GROUPS.items():
            groups: dict[Any, list[float]] = {}
            for score in scores:
                groups.setdefault((score.sample_metadata or {}).get(key), []).append(score.score.as_float())
            if len(groups) > 1:
                shares |= {label.format(name): fmean(values) for name, values in sorted(groups.items())}
        return cast(Value, shares)

    return measure


_METRICS: Mapping[str, list[Any]] = {
    "exact": [mean(), ci_wilson(), accuracy_by_group()],
    "parsed": [mean()],
    "path_precision": [mean()],
    "path_recall": [mean()],
    "path_f1": [mean()],
    "node_accuracy": [mean()],
    "minimal": [mean()],
}


def to_samples(questions: Iterable[Question]) -> list[Sample]:
    """Returns one sample a question, with the whole question in its metadata, so that a log can be scored by itself."""
    return [
        Sample(
            input=question.prompt,
            target=question.answer,
            id=question.id,
            metadata={
                "task": question.task,
                "level": question.level,
                "names": question.names,
                "prompt": question.prompt_style,
                "what_ifs": question.what_ifs,
                "steps": question.complexity.steps,
                "pair_id": question.pair_id,
                QUESTION: to_record(question),
            },
        )
        for question in questions
    ]


def question_of(metadata: Mapping[str, Any], sample_id: int | str) -> Question:
    """Returns the question of a sample.

    Raises:
        InputError: If the sample is not of this benchmark.
    """
    if QUESTION not in metadata:
        raise InputError(
            "the sample holds no causal question", where=f"sample {sample_id}", fix="use the tasks intarsia/causal*"
        )
    return from_record(metadata[QUESTION])


@solver
def causal_prompt() -> Solver:
    """Asks the question, leaving as many tokens for the reply as its prompt style needs.

    Styles that ask to think step by step get 2,048 tokens, the others 1,024, unless the evaluation sets `max_tokens`.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        question = question_of(state.metadata, state.sample_id)
        most = get_model().config.max_tokens or reply_tokens(question.prompt_style)
        with naming_call(_key(state)):
            return await generate(state, max_tokens=most)

    return solve


@solver
def extract_answer() -> Solver:
    """Has a model write out the final answer of a reply that the rules cannot read.

    It is the model of the role `extractor`, or else the model that is evaluated.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        question = question_of(state.metadata, state.sample_id)
        if needs_extraction(question, state.output.completion):
            with naming_call(f"{_key(state)}/extraction"):
                output: ModelOutput = await get_model(role="extractor").generate(
                    extraction_prompt(question, state.output.completion),
                    config=GenerateConfig(temperature=0.0, max_tokens=EXTRACTION_TOKENS),
                )
            state.metadata[EXTRACTED] = output.completion
        return state

    return solve


@scorer(metrics=_METRICS)
def causal_scorer(criterion: str = "adjustment") -> Scorer:
    """Scores replies as the rules read them.

    Args:
        criterion: Rule for BA answers: adjustment (sound and complete), backdoor (Pearl's), released (the published
            code's, which is faulty).
    """
    return _scorer(criterion, extraction=False)


@scorer(metrics=_METRICS)
def extracted_scorer(criterion: str = "adjustment") -> Scorer:
    """Scores replies as the rules read them, and where these fail, what the extracting model wrote.

    Args:
        criterion: Rule for BA answers: adjustment (sound and complete), backdoor (Pearl's), released (the published
            code's, which is faulty).
    """
    return _scorer(criterion, extraction=True)


def _scorer(criterion: str, *, extraction: bool) -> Scorer:
    if criterion not in scoring.CRITERIA:
        raise UnknownNameError("criterion", criterion, scoring.CRITERIA)

    async def score(state: TaskState, target: Target) -> Score:
        question = question_of(state.metadata, state.sample_id)
        extracted = state.metadata.get(EXTRACTED) if extraction else None
        answer = read_reply(question, state.output.completion, extracted)
        found = scoring.score_answer(question, answer, criterion=criterion)
        return Score(
            value={name: _number(value) for name, value in _values(found).items()},
            answer=_last_lines(extracted or state.output.completion),
            explanation=found.failure or "right",
            metadata={key: value for key, value in asdict(found).items() if value not in (None, ())},
        )

    return score


def _values(found: scoring.Score) -> dict[str, float | bool | None]:
    return {
        "exact": found.exact,
        "parsed": found.parsed,
        "path_precision": found.precision,
        "path_recall": found.recall,
        "path_f1": found.f1,
        "node_accuracy": found.nodes_right,
        "minimal": found.minimal,
    }


def _number(value: float | bool | None) -> float:
    # Inspect leaves NaN out of means: a measure of another task is no zero.
    return math.nan if value is None else float(value)


def _last_lines(reply: str, count: int = 5) -> str:
    return "\n".join(reply.strip().splitlines()[-count:])


def _key(state: TaskState) -> str:
    return str(state.sample_id) if state.epoch == 1 else f"{state.sample_id}/epoch-{state.epoch}"
