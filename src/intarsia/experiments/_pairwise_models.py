"""E5: real chat models, every method on the same texts, all answers recorded so that a stopped run goes on."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from intarsia.classification.classifier import Classifier
from intarsia.classification.config import ClassifierConfig
from intarsia.classification.evaluation import evaluate
from intarsia.classification.intent_sets import IntentSet
from intarsia.classification.results import Classification, Item
from intarsia.classification.streams import generator
from intarsia.errors import IntarsiaError
from intarsia.evals.protocol import ChatModel
from intarsia.evals.resolving import chat_model
from intarsia.experiments._pairwise_recipe import ChatRecipe
from intarsia.models.sentence_encoder import TextEncoder

DIRECT = "one question"
SYSTEMS: Mapping[str, ClassifierConfig] = {
    DIRECT: ClassifierConfig(method="direct"),
    "one question, step by step": ClassifierConfig(method="direct_cot"),
    "one question, examples": ClassifierConfig(method="few_shot"),
    "self-consistency": ClassifierConfig(method="self_consistency"),
    "encoder + PC-CoT": ClassifierConfig(reducer="encoder"),
    "ITR + top-2 question": ClassifierConfig(duel="zero_shot"),
    "ITR + PC-CoT": ClassifierConfig(),
    "CBWR + PC-CoT": ClassifierConfig(reducer="cbwr"),
}
TWO_STAGES = ("ITR + PC-CoT", "CBWR + PC-CoT")
"""The paper's methods."""


def open_model(ref: str, recipe: ChatRecipe, folder: Path) -> ChatModel:
    """Makes a model whose answers are recorded in the folder of the run."""
    return chat_model(ref, record=folder / "answers.jsonl", concurrency=recipe.concurrency)


def chat_study(
    model: ChatModel, sets: Mapping[str, IntentSet], encoder: TextEncoder, recipe: ChatRecipe, seed: int
) -> list[dict[str, Any]]:
    """Classifies the texts by every method; for the flip rate, one question and the paper's methods run twice.

    Raises:
        IntarsiaError: If the model gives no answer for a text; what is recorded is not asked again.
    """
    return asyncio.run(_study(model, sets, encoder, recipe, seed))


async def _study(
    model: ChatModel, sets: Mapping[str, IntentSet], encoder: TextEncoder, recipe: ChatRecipe, seed: int
) -> list[dict[str, Any]]:
    rows = []
    for name, each in sets.items():
        items = each.subset(recipe.subset)
        if recipe.limit and recipe.limit < len(items):
            items = tuple(generator(seed, name, 0).sample(items, recipe.limit))
        labels = each.labels_of(items, recipe.label_space)
        for system, config in SYSTEMS.items():
            runs = []
            for shuffle in range(2 if system in (DIRECT, *TWO_STAGES) else 1):
                settings = replace(config, seed=1000 * seed + shuffle)
                classifier = Classifier(model, labels, settings, examples=each.examples_of(labels), encoder=encoder)
                runs.append(await _all(classifier, items, recipe.concurrency))
            scores = evaluate(runs[0], each.gold, labels.names)
            rows.append(
                {
                    "set": name,
                    "system": system,
                    "labels": len(labels),
                    "right": [found.label == each.gold[found.id] for found in runs[0]],
                    "flips": [a.label != b.label for a, b in zip(*runs, strict=True)] if len(runs) > 1 else [],
                    "macro_f1": scores.macro_f1,
                    "top": scores.top.value,
                    "calls": scores.calls,
                    "unmapped": scores.unmapped,
                }
            )
    return rows


async def _all(classifier: Classifier, items: Sequence[Item], concurrency: int) -> list[Classification]:
    found: dict[int, Classification] = {}
    async for index, outcome in classifier.stream(items, concurrency=concurrency):
        if not outcome.ok:
            raise IntarsiaError(
                f"a text could not be classified: {outcome.error}",
                where=outcome.key,
                fix="run the same command again: what is recorded is not asked again",
            )
        found[index] = outcome.value
    return [found[place] for place in range(len(items))]
