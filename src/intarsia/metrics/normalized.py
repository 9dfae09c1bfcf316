"""Normalised scores: a merged model measured in the scores of the experts it was made from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.errors import InputError
from intarsia.metrics.intervals import Difference, Interval, check_settings, percentile_interval, resampled_means

RowScores = Mapping[str, Sequence[float] | npt.NDArray[Any]]
"""Task -> one value a row, e.g. 1 where the answer was right."""


def normalized_score(merged: Mapping[str, float], expert: Mapping[str, float]) -> float:
    """Returns 100 times the mean over tasks of the merged model's score divided by the task's expert's.

    Twin-Merging (Lu et al. 2024), section 4.1: 100 where the merged model is as good as every expert.

    Args:
        merged: Task -> score of the merged model.
        expert: Task -> score of that task's expert, for the same tasks.

    Raises:
        InputError: If the tasks differ, there are none, or an expert scores 0 or less.
    """
    _check_tasks(merged, expert)
    for task, score in expert.items():
        if score <= 0:
            raise InputError(f"the expert of {task!r} scores {score}: nothing can be measured in units of it")
    return 100 * float(np.mean([merged[task] / expert[task] for task in sorted(merged)]))


def normalized_interval(
    merged: RowScores, expert: RowScores, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Returns the bootstrap interval of the normalised score of mean row scores.

    Rows are drawn within each task, the same rows for the merged model and the expert, because both answered them.
    Draws in which an expert is right on no row are left out.

    Args:
        merged: Row scores of the merged model.
        expert: Row scores of each task's expert, for the same rows in the same order.
        confidence: Between 0 and 1.
        resamples: How many times rows are drawn with replacement.
        seed: Seed of the draws.

    Raises:
        InputError: If tasks or row counts differ, or an expert is right on no row.
        ConfigError: If confidence or resamples are out of range.
    """
    return percentile_interval(_draws([merged], expert, confidence, resamples, seed)[0], confidence)


def normalized_difference(
    a: RowScores, b: RowScores, expert: RowScores, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Difference:
    """Returns how much the normalised score of `a` is above that of `b`, with its paired bootstrap interval.

    Args:
        a: Row scores of the first merged model.
        b: Row scores of the second, for the same rows in the same order.
        expert: Row scores of each task's expert, likewise.
        confidence: Between 0 and 1.
        resamples: How many times rows are drawn with replacement.
        seed: Seed of the draws.

    Raises:
        InputError: If tasks or row counts differ, or an expert is right on no row.
        ConfigError: If confidence or resamples are out of range.
    """
    draws_a, draws_b = _draws([a, b], expert, confidence, resamples, seed)
    interval = percentile_interval(draws_a - draws_b, confidence)
    score_a, score_b = (normalized_score(_means(system), _means(expert)) for system in (a, b))
    return Difference(score_a - score_b, interval.low, interval.high)


def _draws(
    systems: Sequence[RowScores], expert: RowScores, confidence: float, resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """Returns resampled normalised scores, shape (systems, resamples)."""
    check_settings(confidence, resamples)
    for system in systems:
        _check_tasks(system, expert)
        normalized_score(_means(system), _means(expert))
    generator = np.random.default_rng(seed)
    ratios = np.zeros((len(systems), resamples))
    measurable = np.ones(resamples, dtype=bool)
    for task in sorted(expert):
        rows = {len(scores[task]) for scores in (*systems, expert)}
        if len(rows) > 1:
            raise InputError(f"{task!r} was scored on {' and '.join(map(str, sorted(rows)))} rows")
        columns = [np.asarray(scores[task], dtype=float) for scores in (*systems, expert)]
        *merged, reference = resampled_means(columns, resamples, generator)
        measurable &= reference > 0
        ratios += np.stack(merged) / np.where(measurable, reference, 1)
    # A draw in which an expert is right on no row has no normalised score.
    if not measurable.any():
        raise InputError("the experts are right on too few rows to measure anything in units of them")
    return 100 * ratios[:, measurable] / len(expert)


def _means(scores: RowScores) -> dict[str, float]:
    for task, values in scores.items():
        if len(values) == 0:
            raise InputError(f"{task!r} has no rows")
    return {task: float(np.mean(np.asarray(values, dtype=float))) for task, values in scores.items()}


def _check_tasks(merged: Mapping[str, Any], expert: Mapping[str, Any]) -> None:
    if set(merged) != set(expert):
        odd = sorted(set(merged) ^ set(expert))
        raise InputError(f"the merged model and the experts are scored on different tasks: {', '.join(odd)}")
    if not merged:
        raise InputError("there is nothing to score: no tasks")
