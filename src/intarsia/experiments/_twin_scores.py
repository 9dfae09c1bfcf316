"""Scores of several systems on the same test rows: by task, normalised by the experts', with paired intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia import metrics
from intarsia.experiments.cells import Estimate
from intarsia.metrics import Difference
from intarsia.metrics.intervals import percentile_interval

Predictions = Mapping[str, Sequence[float]]
"""Task -> one class number, or predicted number, a row."""

WRONG = -1
"""Predicted class where no head of the task answered."""

_RESAMPLES = 2000
_SLOW_RESAMPLES = 200  # of metrics that are no mean over rows


@dataclass(frozen=True)
class TaskTarget:
    """What is right on the test rows of a task.

    Attributes:
        values: Class number, or number, of each row.
        metric: See `EncoderTask.metric`.
        positive: Class number whose F1 score counts.
    """

    values: npt.NDArray[Any]
    metric: str = "accuracy"
    positive: int = 0

    def score(self, predictions: Sequence[float], rows: npt.NDArray[np.int64] | None = None) -> float:
        """Score, in percent, on all rows or a choice of them."""
        chosen = slice(None) if rows is None else rows
        function: Callable[..., float] = getattr(metrics, self.metric)
        if self.metric == "accuracy_and_f1":
            function = partial(function, positive=self.positive)
        value = function(self.values[chosen], np.asarray(predictions)[chosen])
        # A constant prediction has no correlation; as a score that is the worst there is.
        return 100 * value if np.isfinite(value) else 0.0

    def draws(self, predictions: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
        """Mean score over seeds on resampled rows; the same rows for every system and seed."""
        if self.metric == "accuracy":
            hits = np.mean([np.asarray(of_seed) == self.values for of_seed in predictions], axis=0)
            return 100 * self._counts @ hits / len(hits)
        rows = np.random.default_rng(0).integers(len(self.values), size=(_SLOW_RESAMPLES, len(self.values)))
        found = [np.mean([self.score(of_seed, drawn) for of_seed in predictions]) for drawn in rows]
        # As many as the fast ones, so that both can be averaged.
        return np.resize(np.array(found), _RESAMPLES)

    @cached_property
    def _counts(self) -> npt.NDArray[np.int64]:
        """How often each row is drawn, `[resamples, rows]`: what says as much as which rows are."""
        count = len(self.values)
        return np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)


class Scores:
    """What systems scored.

    Args:
        targets: By task.
        own: By seed, each task's rows as the task's own expert answered them.
    """

    def __init__(self, targets: Mapping[str, TaskTarget], own: Sequence[Predictions]) -> None:
        self.targets = targets
        self._own = own

    def task(self, system: Sequence[Predictions], task: str) -> Estimate:
        """Mean score over seeds on a task, in percent, with its 95 % interval."""
        value = np.mean([self.targets[task].score(of_seed[task]) for of_seed in system])
        return Estimate(float(value), *percentile_interval(self._draws(system, task), 0.95))

    def normalised(self, system: Sequence[Predictions]) -> Estimate:
        """Mean over tasks of the score as a share of the expert's (Twin-Merging, Section 4.1), in percent."""
        return Estimate(self._point(system), *percentile_interval(self._normalised_draws(system), 0.95))

    def difference(self, a: Sequence[Predictions], b: Sequence[Predictions]) -> Difference:
        """How far the normalised score of `a` is above that of `b` on the same rows, with its 95 % interval."""
        interval = percentile_interval(self._normalised_draws(a) - self._normalised_draws(b), 0.95)
        return Difference(self._point(a) - self._point(b), *interval)

    def rows(self, tasks: Sequence[str] | None = None) -> int:
        """Number of test rows."""
        return sum(len(self.targets[task].values) for task in tasks or self.targets)

    def _point(self, system: Sequence[Predictions]) -> float:
        tasks = list(system[0])
        scores, own = (
            {task: float(np.mean([self.targets[task].score(of_seed[task]) for of_seed in which])) for task in tasks}
            for which in (system, self._own)
        )
        return metrics.normalized_score(scores, own)

    def _draws(self, system: Sequence[Predictions], task: str) -> npt.NDArray[np.float64]:
        return self.targets[task].draws([of_seed[task] for of_seed in system])

    def _normalised_draws(self, system: Sequence[Predictions]) -> npt.NDArray[np.float64]:
        ratios = [self._draws(system, task) / np.maximum(self._draws(self._own, task), 1e-9) for task in system[0]]
        return 100 * np.mean(ratios, axis=0)
