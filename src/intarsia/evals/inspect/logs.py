"""Logs of Inspect as plain rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog, EvalSample, read_eval_log

from intarsia.errors import DataError, InputError

# What a report needs of a sample; the rest is most of a log.
_UNUSED = {"messages", "events", "attachments", "timelines"}


@dataclass(frozen=True, slots=True)
class LoggedSample:
    """One question put to a model.

    Args:
        id: Its id in the data set.
        epoch: Which repetition, from 1.
        reply: What the model said; None if it gave no answer.
        error: Why not.
        metadata: The sample's, with what solvers added.
        scores: Scorer -> name of the value -> value.
        output_tokens: Tokens of the reply; None if the model does not say.
    """

    id: str
    epoch: int
    reply: str | None
    error: str | None
    metadata: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, Any]]
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class EvalRun:
    """One log.

    Args:
        path: The file.
        task: Name of the task, e.g. `intarsia/causal`.
        arguments: What the task was given.
        model: The model asked.
        settings: Of the model: `temperature`, `max_tokens`, `seed`, `base_url`, `args`.
        status: `"success"`, or why it is not complete: `"started"`, `"cancelled"`, `"error"`.
        created: When it began, ISO 8601.
        planned: Samples it was to ask, repetitions counted.
        error: Why it ended early.
        metrics: Scorer or value, metric, and its value, as `inspect view` shows them.
        samples: What was asked.
    """

    path: str
    task: str
    arguments: Mapping[str, Any]
    model: str
    settings: Mapping[str, Any]
    status: str
    created: str
    planned: int
    error: str | None
    metrics: tuple[Mapping[str, Any], ...]
    samples: tuple[LoggedSample, ...]

    @property
    def answered(self) -> int:
        """How many samples have a reply."""
        return sum(sample.reply is not None for sample in self.samples)

    @property
    def is_complete(self) -> bool:
        """Whether every sample has a reply."""
        return self.status == "success" and self.answered == self.planned


def read_run(path: str | Path) -> EvalRun:
    """Reads a log.

    Raises:
        InputError: If there is no such file.
        DataError: If it is no log.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("log not found", where=path)
    try:
        log = read_eval_log(path, exclude_fields=_UNUSED)
    except Exception as error:  # a broken archive, broken JSON or a foreign file: each has an error of its own
        raise DataError(f"not a log of Inspect: {error}", file=path) from None
    return _run(path, log)


def find_logs(folder: str | Path) -> list[Path]:
    """Returns the logs of a folder and below it, oldest first."""
    return sorted(path for path in Path(folder).rglob("*.eval") if not path.name.startswith("."))


def _run(path: Path, log: EvalLog) -> EvalRun:
    spec = log.eval
    return EvalRun(
        path=str(path),
        task=spec.task_registry_name or spec.task,
        arguments=dict(spec.task_args_passed or {}),
        model=spec.model,
        settings={
            **{name: getattr(spec.model_generate_config, name) for name in ("temperature", "max_tokens", "seed")},
            "base_url": spec.model_base_url,
            "args": dict(spec.model_args or {}),
        },
        status=log.status,
        created=spec.created,
        planned=(spec.dataset.samples or 0) * (spec.config.epochs or 1),
        error=log.error.message if log.error else None,
        metrics=tuple(_metrics(log)),
        samples=tuple(_sample(sample) for sample in log.samples or ()),
    )


def _metrics(log: EvalLog) -> Iterable[Mapping[str, Any]]:
    for score in log.results.scores if log.results else ():
        for metric in score.metrics.values():
            name = f"{metric.group} {metric.name}" if metric.group else metric.name
            yield {"scorer": score.scorer, "value": score.name, "metric": name, "measured": metric.value}


def _sample(sample: EvalSample) -> LoggedSample:
    error = sample.error.message if sample.error else None
    usage = sample.output.usage
    return LoggedSample(
        id=str(sample.id),
        epoch=sample.epoch,
        reply=sample.output.completion if error is None and not sample.output.empty else None,
        error=error if error or not sample.output.empty else "there is no reply",
        metadata=sample.metadata,
        scores={
            name: score.value if isinstance(score.value, Mapping) else {"value": score.value}
            for name, score in (sample.scores or {}).items()
        },
        output_tokens=usage.output_tokens if usage else None,
    )
