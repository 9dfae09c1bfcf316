"""The task `intarsia/intent` for `inspect eval`: its samples, solver and scorer."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig, ModelOutput, get_model
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, ci_wilson, mean, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from intarsia.classification import evaluation
from intarsia.classification.classifier import Classifier
from intarsia.classification.config import ClassifierConfig
from intarsia.classification.intent_sets import IntentSet, read_intent_set
from intarsia.classification.labels import LabelSet, label_texts
from intarsia.classification.options import arrange_options
from intarsia.classification.prompts import Example
from intarsia.classification.reading import read_examples, read_labels
from intarsia.classification.results import Item
from intarsia.data.reading import read_rows
from intarsia.errors import ConfigError, InputError
from intarsia.evals.inspect.progress import report_sample
from intarsia.evals.inspect_model import InspectChat
from intarsia.models.sentence_encoder import SentenceEncoder

VERSION = 1

FOUND = "classification"
"""Where a sample's metadata hold what was found, so that a log can be scored by itself."""


@task
def intent(
    dataset: str = "banking77",
    folder: str = "",
    labels: str = "",
    examples: str = "",
    subset: str = "hard",
    method: str = "two_stage",
    reducer: str = "itr",
    duel: str = "pc_cot",
    tournament: str = "king",
    k: int = 5,
    shots: int = 3,
    label_space: str = "full",
    both_orders: bool = False,
    option_num: int = 0,
    gold_position: int = -1,
    similar_rate: float = 0.0,
    flips: bool = False,
    encoder: str = "asset:minilm-l6",
    seed: int = 0,
) -> Task:
    """Which of many confusable labels a text has, by two stages or in one question.

    Args:
        dataset: An intent set of `folder`, or a file or data set of texts with labels.
        folder: Folder of intent sets; by default `intent-options` in `$INTARSIA_DATA`.
        labels: File of labels, for a data set of yours; by default the labels that occur in it.
        examples: Texts with labels to show in duels, for a data set of yours.
        subset: Texts of an intent set: hard, easy or all.
        method: two_stage, direct, direct_cot, few_shot, self_consistency or encoder.
        reducer: itr, cbwr, remove, self_consistency, one_shot, encoder or supervised.
        duel: pc_cot, zero_shot, zero_shot_cot, few_shot or few_shot_cot.
        tournament: king, round_robin or single_elimination.
        k: Candidates that reach the second stage.
        shots: Examples of each label in a duel.
        label_space: full, or observed: only labels that occur in the texts, as the published code does.
        both_orders: Whether each duel is held with the labels in both orders.
        option_num: Number of options of each text: its label and others; 0 for all.
        gold_position: Place of its label among them, from 0; -1 for any.
        similar_rate: Share of the others that are the labels most like it.
        flips: Whether every text is classified a second time with other shuffles, to see if its answer changes.
        encoder: Sentence encoder.
        seed: Seed of all shuffles.
    """
    each = _read(dataset, folder, labels, examples)
    # Texts of one's own are not marked as hard or easy.
    subset = subset if each.hard else "all"
    items = each.subset(subset)
    chosen = each.labels_of(items, label_space)
    config = ClassifierConfig(
        method=method,
        reducer=reducer,
        duel=duel,
        tournament=tournament,
        k=k,
        shots=shots,
        both_orders=both_orders,
        seed=seed,
    )
    vectors = SentenceEncoder(encoder).embed(label_texts(chosen.names)) if similar_rate else None
    samples = []
    for item in items:
        options = arrange_options(
            chosen,
            each.gold[item.id],
            option_num=option_num or None,
            gold_position=None if gold_position < 0 else gold_position,
            similar_rate=similar_rate,
            vectors=vectors,
            seed=seed,
            item=item.id,
        )
        metadata = {"options": list(options), "in_order": gold_position >= 0, "hard": item.id in each.hard}
        samples.append(Sample(input=item.text, target=each.gold[item.id], id=item.id, metadata=metadata))
    return Task(
        dataset=MemoryDataset(samples, name=f"{each.name}, {subset}, {label_space} labels"),
        solver=classify_intent(chosen, config, each.examples_of(chosen), encoder, flips),
        scorer=intent_scorer(),
        config=GenerateConfig(temperature=0.0),
        cleanup=report_sample,
        version=VERSION,
    )


@solver
def classify_intent(
    labels: LabelSet, config: ClassifierConfig, examples: list[Example], encoder: str, flips: bool = False
) -> Solver:
    """Classifies the text of a sample; what two labels share is asked once for all samples.

    Args:
        labels: All labels.
        config: The settings.
        examples: Texts with labels to show.
        encoder: Sentence encoder.
        flips: Whether a second classification uses other shuffles.
    """
    made: dict[str, list[Classifier]] = {}

    def classifiers() -> list[Classifier]:
        model = get_model()
        if str(model) not in made:
            shared = SentenceEncoder(encoder)
            made[str(model)] = [
                Classifier(
                    InspectChat(model),
                    labels,
                    ClassifierConfig(**{**vars(config), "seed": config.seed + shuffle}),
                    examples=examples or None,
                    encoder=shared,
                )
                for shuffle in range(1 + flips)
            ]
        return made[str(model)]

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        options = tuple(state.metadata["options"])
        item = Item(str(state.sample_id), state.input_text, options, shuffle=not state.metadata["in_order"])
        found = [await each.classify(item) for each in classifiers()]
        state.metadata[FOUND] = found[0].to_record()
        if flips:
            state.metadata[FOUND]["again"] = found[1].label
        answer = f"LABEL: {found[0].label}" if found[0].label is not None else "(no option was named)"
        state.output = ModelOutput.from_content(str(get_model()), answer)
        return state

    return solve


def _labels_of(scores: list[SampleScore]) -> tuple[list[str], list[str]]:
    """Returns the right labels and those that were said."""
    found = [each.score.metadata or {} for each in scores]
    return [each["gold"] for each in found], [each["label"] or "(none)" for each in found]


@metric
def macro_f1() -> Metric:
    """Mean F1 over labels."""

    def measure(scores: list[SampleScore]) -> Value:
        from intarsia.metrics.scores import macro_f1 as score

        return score(*_labels_of(scores))

    return measure


@metric
def adjusted_rand() -> Metric:
    """Agreement of the groups that the right labels and the answers make; 0 for chance."""

    def measure(scores: list[SampleScore]) -> Value:
        from sklearn.metrics import adjusted_rand_score

        return float(adjusted_rand_score(*_labels_of(scores)))

    return measure


@metric
def position_bias() -> Metric:
    """How far the places of the chosen options are from those of the right ones, and how uneven recall is over places.

    Both are measured where the places of the right options were chosen (`gold_position`), over several runs or places.
    """

    def measure(scores: list[SampleScore]) -> Value:
        found = [each.score.metadata or {} for each in scores]
        count = max(each["options"] for each in found)
        chosen, gold = [each["place"] for each in found], [each["gold_place"] for each in found]
        right = [a == b for a, b in zip(chosen, gold, strict=True)]
        return cast(
            Value,
            {
                "total variation": evaluation.position_bias(chosen, gold, count),
                "deviation of recall": evaluation.recall_deviation(right, gold),
            },
        )

    return measure


_METRICS: Mapping[str, list[Any]] = {
    "acc": [mean(), ci_wilson(), macro_f1(), adjusted_rand(), position_bias()],
    "top": [mean()],
    "calls": [mean()],
    "mapped": [mean()],
    "flip": [mean()],
}


@scorer(metrics=_METRICS)
def intent_scorer() -> Scorer:
    """Scores whether the label is right (acc), was among the candidates (top), how many calls it took, and answers."""

    async def score(state: TaskState, target: Target) -> Score:
        if FOUND not in state.metadata:
            raise InputError(
                "the sample was not classified", where=f"sample {state.sample_id}", fix="use the task intarsia/intent"
            )
        found, options = state.metadata[FOUND], state.metadata["options"]
        label, gold = found["label"], target.text
        return Score(
            value={
                "acc": float(label == gold),
                "top": float(gold in found["candidates"]),
                "calls": float(found["calls"]),
                "mapped": 1 - found.get("unmapped", 0) / max(1, found["calls"]),
                "flip": float("again" in found and found["again"] != label),
            },
            answer=label or "",
            explanation=f"candidates: {', '.join(found['candidates'])}",
            metadata={
                "gold": gold,
                "label": label,
                "options": len(options),
                "place": options.index(label) if label is not None else None,
                "gold_place": options.index(gold),
            },
        )

    return score


def _read(dataset: str, folder: str, labels: str, examples: str) -> IntentSet:
    if labels or Path(dataset).exists():
        rows = read_rows(dataset, schema="classification")
        ids = [row.id or str(place) for place, row in enumerate(rows)]
        gold = {id: row.label for id, row in zip(ids, rows, strict=True)}
        return IntentSet(
            name=Path(dataset).name,
            labels=read_labels(labels) if labels else LabelSet(tuple(sorted(set(gold.values())))),
            items=tuple(Item(id, row.text) for id, row in zip(ids, rows, strict=True)),
            gold=gold,
            hard=frozenset(),
            examples=tuple(read_examples(examples)) if examples else (),
        )
    data = os.environ.get("INTARSIA_DATA")
    if not folder and not data:
        raise ConfigError(
            "folder", folder, "the folder of intent sets, or dataset a file of texts with labels; or set INTARSIA_DATA"
        )
    return read_intent_set(folder or Path(str(data)) / "intent-options", dataset)
