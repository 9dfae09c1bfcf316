"""From answers to figures: every system's scores, normalised by the experts', with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from intarsia.experiments.cells import Estimate
from intarsia.metrics import Difference, normalized_difference, normalized_interval, normalized_score
from intarsia.pipeline.evaluation import Answers

Kind = Literal["base", "expert", "static", "twin", "oracle"]


@dataclass(frozen=True)
class Asked:
    """A system and what it answered to the test rows.

    Attributes:
        name: Its name.
        kind: What it is; `oracle` was told each row's task.
        answers: How it answered.
        settings: What it was run with, e.g. the tuned parameters of a static merge.
    """

    name: str
    kind: Kind
    answers: Answers
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """The figures of one system.

    Attributes:
        name: Its name.
        kind: What it is.
        accuracy: By task, exact greedy answers, percent.
        choice: By task with a closed answer set, right answers when held to the task's labels, percent.
        normalised: Mean over tasks of the accuracy as a share of the task's own expert's, percent
            (Twin-Merging, Section 4.1), with its 95 % bootstrap interval.
        settings: What it was run with.
    """

    name: str
    kind: Kind
    accuracy: dict[str, float]
    choice: dict[str, float]
    normalised: Estimate
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class RunResult:
    """What a run found.

    Attributes:
        folder: The run's folder.
        systems: All systems, in the order of the report.
        own: By task, its own expert's accuracy, percent: what normalised scores are relative to.
        merged: Name of the system the run's model is.
        margin: Normalised score of the merged model less that of each static merge, paired over rows.
        router_accuracy: Share of test prompts the router gives most weight to their own task's expert; by task.
        router_confidence: Mean of the largest weight.
    """

    folder: Path
    systems: list[System]
    own: dict[str, float]
    merged: str
    margin: dict[str, Difference]
    router_accuracy: dict[str, float]
    router_confidence: float

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"

    @property
    def model(self) -> Path:
        """The merged model's folder."""
        return self.folder / "model"

    def system(self, name: str) -> System:
        """The figures of the system called `name`."""
        return next(system for system in self.systems if system.name == name)


def own_answers(asked: Sequence[Asked], tasks: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """Each task's rows as its own expert answered them."""
    by_name = {system.name: system.answers for system in asked}
    return {task: by_name[expert_name(task)].exact[task] for task in tasks}


def expert_name(task: str) -> str:
    """What the expert of a task is called among the systems."""
    return f"expert {task}"


def judge(
    asked: Sequence[Asked], tasks: Sequence[str], folder: Path, merged: str, mixture: npt.NDArray[np.float64]
) -> RunResult:
    """Turns answers into figures.

    Args:
        asked: The systems' answers; those of every task's expert among them.
        tasks: The tasks, in the order of the test rows.
        folder: The run's folder.
        merged: Name of the system the run's model is.
        mixture: The router's weights for each test row, `[rows, tasks]`.
    """
    own = own_answers(asked, tasks)
    systems = [_figures(system, own) for system in asked]
    model = next(system for system in asked if system.name == merged).answers.exact
    margin = {
        system.name: normalized_difference(model, system.answers.exact, own)
        for system in asked
        if system.kind == "static"
    }
    labels = np.repeat(np.arange(len(tasks)), [len(own[task]) for task in tasks])
    right = mixture.argmax(-1) == labels
    return RunResult(
        folder=folder,
        systems=systems,
        own={task: 100 * float(hits.mean()) for task, hits in own.items()},
        merged=merged,
        margin=margin,
        router_accuracy={task: 100 * float(right[labels == index].mean()) for index, task in enumerate(tasks)},
        router_confidence=float(mixture.max(-1).mean()),
    )


def _figures(asked: Asked, own: Mapping[str, npt.NDArray[np.bool_]]) -> System:
    accuracy = asked.answers.accuracy()
    reference = {task: 100 * float(hits.mean()) for task, hits in own.items()}
    interval = normalized_interval(asked.answers.exact, own)
    return System(
        name=asked.name,
        kind=asked.kind,
        accuracy=accuracy,
        choice={task: 100 * float(hits.mean()) for task, hits in asked.answers.choice.items()},
        normalised=Estimate(normalized_score(accuracy, reference), *interval),
        settings=asked.settings,
    )
