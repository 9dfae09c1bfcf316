"""The generative part of the Twin-Merging reproduction: LoRA experts of a chat model, through `intarsia run`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intarsia.experiments.records import Row
from intarsia.metrics import bootstrap_interval
from intarsia.pipeline.evaluation import Answers
from intarsia.pipeline.recipe import Recipe
from intarsia.pipeline.results import RunResult
from intarsia.pipeline.run import run_recipe

AVERAGE = "average (generative)"

# Averages read off the paper's first figure (+-0.1), divided by that of the individual experts, 68.2.
PAPER = {
    "twin": 68.3,
    "dare_linear": 66.9,
    "task_arithmetic": 65.3,
    "ties": 63.0,
    "base": 62.7,
    "average": 62.4,
}
_PAPER_EXPERTS = 68.2

_NAMES = {
    "base": "Base model",
    "average": "Average",
    "task_arithmetic": "Task arithmetic, tuned",
    "ties": "TIES, tuned",
    "dare_linear": "DARE, tuned",
}


def run_generative(recipe: Recipe, folder: Path, command: str) -> RunResult:
    """Trains, merges and measures; a stopped run goes on."""
    return run_recipe(recipe, folder, command=command)


def generative_rows(result: RunResult) -> list[Row]:
    """Exact match of every system on every task, and normalised scores."""
    rows = []
    for system in result.systems:
        if system.kind == "expert":
            continue
        hits = _exact(result, system.name)
        name = system_name(system.name)
        for task, accuracy in system.accuracy.items():
            low, high = bootstrap_interval(100.0 * hits[task])
            rows.append(Row(name, f"{task} (generative)", "exact match, %", None, accuracy, low, high, len(hits[task])))
        value, low_or_none, high_or_none = system.normalised
        count = sum(map(len, hits.values()))
        paper = _paper_value(system.name, result.merged)
        rows.append(Row(name, AVERAGE, "normalised score", paper, value, low_or_none, high_or_none, count))
    for task, accuracy in result.own.items():
        hits_of_task = _exact(result, f"expert {task}")[task]
        low, high = bootstrap_interval(100.0 * hits_of_task)
        rows.append(
            Row(EXPERTS, f"{task} (generative)", "exact match, %", None, accuracy, low, high, len(hits_of_task))
        )
    for task, accuracy in result.router_accuracy.items():
        rows.append(Row("Router", f"{task} (generative)", "router accuracy, %", None, accuracy))
    rows.append(Row("Router", AVERAGE, "mean largest weight", None, result.router_confidence))
    return rows


EXPERTS = "LoRA experts, each on its own task"


def system_name(name: str) -> str:
    """What a system of the pipeline is called in the result file."""
    return _NAMES.get(name) or f"{name[0].upper()}{name[1:]} (LoRA)"


def settings_of(result: RunResult) -> Mapping[str, Any]:
    """What was tuned for each static method."""
    return {system_name(system.name): system.settings for system in result.systems if system.kind == "static"}


def _exact(result: RunResult, system: str) -> Mapping[str, Any]:
    return Answers.load(result.folder / "evaluation" / "test" / f"{system}.json").exact


def _paper_value(name: str, merged: str) -> float | None:
    average = PAPER.get("twin" if name == merged else name)
    return None if average is None else round(100 * average / _PAPER_EXPERTS, 1)


def settings_text(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """The tuned settings of all methods in one sentence."""
    return "; ".join(f"{name}: {json.dumps(dict(values))}" for name, values in settings.items() if values)
