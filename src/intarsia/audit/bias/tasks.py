"""The tasks `intarsia/rejudge` and `intarsia/iat`, and simulated models as a provider, for `inspect eval`."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.model import modelapi

from intarsia.audit.bias.association import AssociationTest, read_tests, select_tests, shipped_tests
from intarsia.audit.bias.config import RejudgeConfig
from intarsia.audit.bias.evaluation import (
    iat_bias,
    iat_decision,
    rejudge_scorer,
    rejudge_statement,
    to_list_samples,
    to_samples,
    word_list,
)
from intarsia.audit.bias.items import plan
from intarsia.audit.bias.pairs import pair_items, read_pairs
from intarsia.audit.bias.simulation import simulated_model
from intarsia.audit.bias.word_lists import unbalanced
from intarsia.errors import ConfigError
from intarsia.evals.inspect.progress import report_sample
from intarsia.evals.inspect.providers import ChatModelAPI
from intarsia.evals.protocol import ChatModel

VERSION = 1


@task
def rejudge(
    tests: str | list[str] = "",
    stimuli: str = "",
    form: str = "completion",
    templates: int = 10,
    draws: int = 20,
    pairs: int = 5,
    scale: str | list[str] = "agree2,likert5",
    context: str | list[str] = "fresh",
    neutral: int = 40,
    draw_temperature: float = 1.0,
    completion_tokens: int = 64,
    judgement_tokens: int = 16,
    plan_seed: int = 0,
    completions: str = "",
    statements: str = "",
) -> Task:
    """Re-judge inconsistency: a model completes statements about two groups and then judges what it wrote.

    Content warning: the statements are stereotypes.

    Args:
        tests: Names of tests or categories, separated by commas; by default all.
        stimuli: JSONL file of association tests of yours, instead of those of the library.
        form: completion: two blanks and two group words; open: a sentence about somebody is gone on with (gender only).
        templates: How many of the ten wordings are used, at least 2.
        draws: Completions for each test and wording, a multiple of 4.
        pairs: Attribute pairs of a test.
        scale: agree2, likert5, biased2; the first decides.
        context: fresh, same_chat, attributed, third_person; the first decides.
        neutral: Neutral statements judged as a control, at most 40.
        draw_temperature: Of sampling.
        completion_tokens: Most tokens of a completion.
        judgement_tokens: Most tokens of a judgement.
        plan_seed: Chooses words, attributes and seeds of sampling.
        completions: Run or log whose first stage is judged, so that nothing is completed anew.
        statements: JSONL or CSV file of statement pairs that are only judged, e.g. of CrowS-Pairs.
    """
    config = RejudgeConfig(
        tests=_words(tests),
        form=form,
        templates=templates,
        draws=draws,
        pairs=pairs,
        scales=_words(scale),
        contexts=_words(context),
        neutral=neutral,
        temperature=draw_temperature,
        completion_tokens=completion_tokens,
        judgement_tokens=judgement_tokens,
        seed=plan_seed,
    )
    given = None
    if completions:
        from intarsia.audit.bias.auditing import completions_of

        given = completions_of(completions)
        items = [record.item for record in given] + plan([], config)
    elif statements:
        items = [*pair_items(read_pairs(statements), plan_seed), *plan([], config)]
    else:
        items = plan(_tests(stimuli, config.tests), config)
    replies = None if given is None else {record.item.id: record.completion or "" for record in given}
    return Task(
        dataset=MemoryDataset(to_samples(items, replies), name=f"{len(items)} items, seed {plan_seed}"),
        solver=rejudge_statement(config.to_json()),
        scorer=rejudge_scorer(config.scales[0], config.contexts[0]),
        cleanup=report_sample,
        version=VERSION,
    )


@task
def iat(
    tests: str | list[str] = "",
    stimuli: str = "",
    variants: str | list[str] = "plain",
    draws: int = 50,
    decision: bool = False,
    draw_temperature: float = 1.0,
    plan_seed: int = 0,
) -> Task:
    """Word lists in the manner of the implicit association test: each attribute is given to one of two group words.

    Content warning: the lists are made of stereotypes.

    Args:
        tests: Names of tests or categories, separated by commas; by default all.
        stimuli: JSONL file of association tests of yours, instead of those of the library.
        variants: Prompts: plain, quick.
        draws: Lists for each test and variant.
        decision: Whether each list is followed by a decision: which of the two gets which of two tasks.
        draw_temperature: Of sampling.
        plan_seed: Chooses group words, the order of attributes and seeds of sampling.
    """
    if draws < 1:
        raise ConfigError("draws", draws, "at least 1")
    chosen = _tests(stimuli, _words(tests))
    if (warning := unbalanced(chosen)) is not None:
        warnings.warn(warning, stacklevel=2)
    samples = to_list_samples(chosen, _words(variants), draws, plan_seed)
    return Task(
        dataset=MemoryDataset(samples, name=f"{len(samples)} word lists, seed {plan_seed}"),
        solver=word_list(draw_temperature, decision),
        scorer=[iat_bias(), iat_decision()] if decision else iat_bias(),
        cleanup=report_sample,
        version=VERSION,
    )


@modelapi("simulated")
class SimulatedAPI(ChatModelAPI):
    """`simulated/NAME`: a model with known beliefs; `-M stimuli=FILE` tells it association tests of yours."""

    def open(self, model_args: Mapping[str, Any]) -> ChatModel:
        """Returns the model."""
        stimuli = model_args.get("stimuli")
        return simulated_model(self.model_name, read_tests(stimuli) if stimuli else ())


def _tests(stimuli: str, names: Sequence[str]) -> list[AssociationTest]:
    return select_tests(read_tests(stimuli) if stimuli else shipped_tests(), names)


def _words(value: str | Sequence[str]) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(part.strip() for part in parts if part.strip())
