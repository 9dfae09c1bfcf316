"""The tasks `intarsia/causal` and `intarsia/causal_names`, and baselines as a provider, for `inspect eval`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.model import GenerateConfig, modelapi

from intarsia.audit.causal.baselines import baseline_model
from intarsia.audit.causal.building import generate_questions
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.dataset import read_dataset, require_keys
from intarsia.audit.causal.evaluation import (
    causal_prompt,
    causal_scorer,
    extract_answer,
    extracted_scorer,
    to_samples,
)
from intarsia.audit.causal.extraction import require_extractor
from intarsia.audit.causal.questions import Question
from intarsia.evals.inspect.progress import report_sample
from intarsia.evals.inspect.providers import ChatModelAPI
from intarsia.evals.protocol import ChatModel

VERSION = 1


@task
def causal(
    dataset: str = "",
    tasks: str | list[str] = "CP,BA,FI,CI",
    group: str | int = "00",
    levels: int | str | list[int] = "",
    path_iters: int | str | list[int] = "3,4,5,6",
    graphs: int = 50,
    what_ifs: int | str | list[int] = "1,2,3",
    names: str | list[str] = "specific",
    prompt: str | list[str] = "zero_shot",
    evidence: str = "full",
    root_states: str | bool = "true",
    distance: float = 1.0,
    shuffle_sentences: bool = False,
    seed: int = 0,
    criterion: str = "adjustment",
    extractor: str = "rules",
) -> Task:
    """Causal paths, adjustment sets, facts and counterfactuals of never-seen causal graphs.

    Args:
        dataset: Folder or file of `intarsia audit causal generate`; without one, questions are generated.
        tasks: CP, BA, FI, CI, separated by commas.
        group: Shape of the graphs: 00 has 5 tiers, 10 has 6, 20 has 7, 30 has 8.
        levels: Nodes in every tier; by default all levels of the group.
        path_iters: Numbers of passes of the generator; more passes give more edges.
        graphs: Graphs for every level and number of passes.
        what_ifs: Numbers of what-ifs of CI questions.
        names: Name styles: specific, pseudo, letters, bio, che, eco, phy.
        prompt: Prompt styles: zero_shot, one_shot, two_shot, zero_cot, one_cot, two_cot, mis_hint.
        evidence: full or partial.
        root_states: true or random.
        distance: How far apart treatments and outcomes are, in (0, 1].
        shuffle_sentences: Whether sentences come in random order.
        seed: Seed of the questions.
        criterion: Rule for BA answers: adjustment, backdoor or released.
        extractor: rules, or model: what the rules cannot read is given to the model of the role `extractor`.
    """
    if dataset:
        return _task(require_keys(read_dataset(dataset), dataset), Path(dataset).name, criterion, extractor)
    config = BenchmarkConfig(
        group=f"{group:02d}" if isinstance(group, int) else group,
        levels=_numbers(levels),
        path_iters=_numbers(path_iters),
        graphs=graphs,
        tasks=_words(tasks),
        what_ifs=_numbers(what_ifs),
        names=_words(names),
        prompts=_words(prompt),
        evidence=evidence,
        root_states=str(root_states).lower(),
        distance=distance,
        minimal_sets=False,
        shuffle_sentences=shuffle_sentences,
        seed=seed,
    )
    return _task(list(generate_questions(config)), f"group {config.group}, seed {seed}", criterion, extractor)


@task
def causal_names(
    names: str | list[str] = "specific,bio",
    tasks: str | list[str] = "CP,BA,FI,CI",
    group: str | int = "00",
    levels: int | str | list[int] = "",
    graphs: int = 50,
    what_ifs: int | str | list[int] = "1,2,3",
    prompt: str | list[str] = "zero_shot",
    evidence: str = "full",
    seed: int = 0,
    criterion: str = "adjustment",
    extractor: str = "rules",
) -> Task:
    """The same problems in several name styles, to see whether real words in names disturb.

    `intarsia audit causal report LOG` gives McNemar's test of every two styles.

    Args:
        names: Two or more name styles: specific, pseudo, letters, bio, che, eco, phy.
        tasks: CP, BA, FI, CI, separated by commas.
        group: Shape of the graphs: 00 has 5 tiers, 10 has 6, 20 has 7, 30 has 8.
        levels: Nodes in every tier; by default all levels of the group.
        graphs: Graphs for every level and number of passes.
        what_ifs: Numbers of what-ifs of CI questions.
        prompt: Prompt styles: zero_shot, one_shot, two_shot, zero_cot, one_cot, two_cot, mis_hint.
        evidence: full or partial.
        seed: Seed of the questions.
        criterion: Rule for BA answers: adjustment, backdoor or released.
        extractor: rules, or model: what the rules cannot read is given to the model of the role `extractor`.
    """
    from intarsia.errors import ConfigError

    if len(_words(names)) < 2:
        raise ConfigError("names", names, "two or more name styles to compare, e.g. specific,bio")
    return causal(
        tasks=tasks,
        group=group,
        levels=levels,
        graphs=graphs,
        what_ifs=what_ifs,
        names=names,
        prompt=prompt,
        evidence=evidence,
        seed=seed,
        criterion=criterion,
        extractor=extractor,
    )


@modelapi("causal-baseline")
class CausalBaselineAPI(ChatModelAPI):
    """`causal-baseline/NAME`: an answer that needs no model; `-M dataset=FOLDER` tells those that need it the keys."""

    def open(self, model_args: Mapping[str, Any]) -> ChatModel:
        """Returns the baseline."""
        dataset = model_args.get("dataset")
        return baseline_model(self.model_name, read_dataset(dataset) if dataset else ())


def _task(questions: Sequence[Question], name: str, criterion: str, extractor: str) -> Task:
    require_extractor(extractor)
    extracts = extractor == "model"
    return Task(
        dataset=MemoryDataset(to_samples(questions), name=name),
        solver=[causal_prompt(), extract_answer()] if extracts else causal_prompt(),
        scorer=[causal_scorer(criterion), extracted_scorer(criterion)] if extracts else causal_scorer(criterion),
        config=GenerateConfig(temperature=0.0),
        cleanup=report_sample,
        version=VERSION,
    )


Item = TypeVar("Item", str, int)


def _words(value: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(_parts(value))


def _numbers(value: int | str | Sequence[int | str]) -> tuple[int, ...]:
    from intarsia.errors import ConfigError

    try:
        return tuple(int(part) for part in _parts(value))
    except ValueError:
        raise ConfigError("levels, path_iters or what_ifs", value, "whole numbers separated by commas") from None


def _parts(value: Any) -> list[Any]:
    """Splits what `-T name=a,b` gives: Inspect makes a list of words with commas, and a number of a number."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, Sequence) else [value]
