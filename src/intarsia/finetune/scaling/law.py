"""The scaling law of the internal metric in model size, rank and data (The Scaling Law for LoRA Based on Mutual
Information Upper Bound, arXiv 2501.03152): M(N, R, D) = A (N0/N)^alpha + B (R0/R)^beta + C (D0/D)^gamma + E.

The reference scales N0, R0, D0 are redundant with the amplitudes and fixed at the smallest value of each axis. Fitting
procedure, weights, intervals and identifiability checks are ours; the paper's are not published.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from intarsia.errors import InputError
from intarsia.finetune.scaling._projection import Array, Solution, design_matrix, project, start_grid
from intarsia.finetune.scaling.concordance import RISING, falling, trend
from intarsia.finetune.scaling.config import AXES, AXIS_WORDS, Axis, ScalingConfig
from intarsia.finetune.scaling.table import RunTable

AMPLITUDES: Mapping[Axis, str] = {"N": "A", "R": "B", "D": "C"}
EXPONENTS: Mapping[Axis, str] = {"N": "alpha", "R": "beta", "D": "gamma"}

_MINIMUM_VALUES = 3

# An exponent whose interval covers more of the allowed range (on the log scale) is not determined by the runs.
_MOST_OF_RANGE = 0.8


class Parameter(NamedTuple):
    """A fitted number with its bootstrap interval (None where the data allow none)."""

    value: float
    low: float | None
    high: float | None


class Cell(NamedTuple):
    """Runs that share a point of the grid.

    Attributes:
        point: Value on each varying axis.
        mean: Mean of the fitted quantity.
        std: Standard deviation over the runs; None with one run.
        runs: Number of runs.
    """

    point: tuple[float, ...]
    mean: float
    std: float | None
    runs: int


@dataclass(frozen=True)
class ScalingFit:
    """A fitted scaling law.

    Attributes:
        metric: Name of the metric.
        quantity: What was fitted: the metric, its logarithm, or 1 minus it.
        axes: Varying axes; the others are part of E.
        reference: N0, R0, D0 of the varying axes.
        parameters: `A`, `alpha`, ... of the varying axes, and `E` if there is a constant.
        r2: Coefficient of determination on the cell means, unweighted.
        adjusted_r2: The same corrected for the number of parameters; None without degrees of freedom.
        degrees_of_freedom: Cells minus fitted parameters.
        loo_nrmse: Root mean squared error of predicting each cell from the others, in standard deviations of the cell
            means (1: as good as their mean); None if leaving cells out makes the law unidentified.
        loo_cells: Cells that could be left out.
        concordance: Per varying axis, Kendall concordance with "falls" (1: always).
        unidentified: Per axis, why its amplitude and exponent cannot be trusted.
        warnings: What a reader must know before using the numbers.
        cells: The fitted cells.
        largest_rank_k90: Median k@90% of the runs with the largest rank, if the table has a column `k90`.
        samples: Bootstrap samples, one row each, columns as `parameters`.
        confidence: Probability mass of the intervals.
    """

    metric: str
    quantity: str
    axes: tuple[Axis, ...]
    reference: Mapping[Axis, float]
    parameters: Mapping[str, Parameter]
    r2: float
    adjusted_r2: float | None
    degrees_of_freedom: int
    loo_nrmse: float | None
    loo_cells: int
    concordance: Mapping[Axis, float]
    unidentified: Mapping[Axis, str]
    warnings: Sequence[str]
    cells: Sequence[Cell]
    largest_rank_k90: float | None
    samples: Float[Array, "samples parameters"] = field(repr=False, compare=False)
    confidence: float = 0.95

    def predict(self, *, N: float | None = None, R: float | None = None, D: float | None = None) -> float:
        """The fitted quantity at a point.

        Raises:
            InputError: If the value of a varying axis is missing or not positive.
        """
        point: dict[Axis, float | None] = {"N": N, "R": R, "D": D}
        total = self.parameters["E"].value if "E" in self.parameters else 0.0
        for axis in self.axes:
            value = point[axis]
            if value is None or not value > 0:
                raise InputError(f"predict needs a positive {axis} ({AXIS_WORDS[axis]}), not {value!r}")
            ratio = self.reference[axis] / value
            total += self.parameters[AMPLITUDES[axis]].value * ratio ** self.parameters[EXPONENTS[axis]].value
        return total

    def predict_metric(self, *, N: float | None = None, R: float | None = None, D: float | None = None) -> float:
        """The metric itself at a point, where a logarithm or 1 minus it was fitted."""
        value = self.predict(N=N, R=R, D=D)
        if self.metric in RISING:
            return 1 - value
        return float(np.exp(value)) if self.quantity != self.metric else value

    def formula(self) -> str:
        """The law with its fitted numbers, as text."""
        terms = [
            f"{self.parameters[AMPLITUDES[axis]].value:.4g} ({self.reference[axis]:g}/{axis})"
            f"^{self.parameters[EXPONENTS[axis]].value:.3g}"
            for axis in self.axes
        ]
        if "E" in self.parameters:
            terms.append(f"{self.parameters['E'].value:.4g}")
        return f"{self.quantity} = {' + '.join(terms)}"

    def to_json(self) -> dict[str, Any]:
        """Everything but the bootstrap samples, as JSON values."""
        return {
            "metric": self.metric,
            "quantity": self.quantity,
            "formula": self.formula(),
            "axes": list(self.axes),
            "reference": dict(self.reference),
            "parameters": {name: parameter._asdict() for name, parameter in self.parameters.items()},
            "confidence": self.confidence,
            "r2": self.r2,
            "adjusted_r2": self.adjusted_r2,
            "degrees_of_freedom": self.degrees_of_freedom,
            "loo_nrmse": self.loo_nrmse,
            "loo_cells": self.loo_cells,
            "concordance": dict(self.concordance),
            "unidentified": dict(self.unidentified),
            "warnings": list(self.warnings),
            "cells": [cell._asdict() for cell in self.cells],
            "largest_rank_k90": self.largest_rank_k90,
        }


def fit_scaling_law(table: RunTable, metric: str, config: ScalingConfig | None = None) -> ScalingFit:
    """Fits the law to one metric by variable projection.

    For given exponents the amplitudes solve a non-negative least squares problem; the exponents are searched on the
    log scale by a trust-region method from several starts. Intervals come from a parametric bootstrap on the cell
    means.

    Args:
        table: Runs of one data set and one alpha policy.
        metric: A metric of the table; accuracies are fitted as 1 - accuracy, those in `config.log` as logarithms.
        config: Settings of the fit.

    Raises:
        InputError: If the metric is missing or not positive; data sets or alpha policies are mixed; no axis varies; an
            axis has two values and no given exponent; or there are fewer cells than parameters.
    """
    config = config or ScalingConfig()
    table.require_one_policy()
    if len(table.datasets) > 1:
        raise InputError(
            f"the runs are of several data sets: {', '.join(table.datasets)}",
            where="column 'dataset'",
            fix="fit each data set on its own: table.where(dataset=...)",
        )
    axes = _varying_axes(table, config)
    cells = _cells(table, metric, axes, config)
    constant = config.constant or len(axes) < len(AXES)
    given = np.array([config.fixed_exponents.get(axis, np.nan) for axis in axes])
    free = int(np.isnan(given).sum())
    parameters = len(axes) + free + constant
    if len(cells) < parameters:
        raise InputError(
            f"the law has {parameters} parameters, but the table has only {len(cells)} distinct cells",
            where=f"metric {metric!r}, axes {', '.join(axes)}",
            fix="run more cells, give exponents (fixed_exponents) or drop an axis (drop)",
        )

    points = np.array([cell.point for cell in cells])
    y = np.array([cell.mean for cell in cells])
    log_ratios = np.log(points / points.min(axis=0))
    variance = _variances(cells, config)
    starts = start_grid(config.exponents, config.starts, free)

    def solve(y: Array, weights: Array, starts: Array, keep: Array | slice = slice(None)) -> Solution:
        return project(
            log_ratios[keep],
            y[keep],
            np.sqrt(weights[keep]),
            given=given,
            bounds=config.exponents,
            constant=constant,
            starts=starts,
        )

    weights = np.ones(len(cells)) if variance is None else variance.mean() / variance
    best = solve(y, weights, starts)
    if config.huber is not None:
        best, weights = _reweighted(lambda w: solve(y, w, starts), best, y, weights, config.huber)

    residuals = y - best.predicted
    spread = float(((y - y.mean()) ** 2).sum())
    r2 = 1 - float((residuals**2).sum()) / spread if spread > 0 else 0.0
    freedom = len(cells) - parameters
    near = np.vstack([best.exponents[np.isnan(given)], start_grid(config.exponents, 1, free)])
    errors = _leave_one_out(
        points, y, given, parameters, lambda keep: solve(y, weights, near, keep), log_ratios, constant
    )
    samples = _bootstrap(best, y, weights, variance, freedom, lambda noisy: solve(noisy, weights, near), config)

    names = [AMPLITUDES[axis] for axis in axes] + [EXPONENTS[axis] for axis in axes] + ["E"] * constant
    values = _flat(best, len(axes))
    intervals = _intervals(samples, config.confidence)
    fitted = {
        name: Parameter(float(value), *interval)
        for name, value, interval in zip(names, values, intervals or [(None, None)] * len(names), strict=True)
    }
    trends = {axis: trend(table, metric, axis) for axis in axes}
    unidentified = _unidentified(axes, fitted, given, best, config)
    return ScalingFit(
        metric=metric,
        quantity=_quantity(metric, config),
        axes=axes,
        reference={axis: float(points[:, i].min()) for i, axis in enumerate(axes)},
        parameters=fitted,
        r2=r2,
        adjusted_r2=1 - (1 - r2) * (len(cells) - 1) / freedom if freedom > 0 else None,
        degrees_of_freedom=freedom,
        loo_nrmse=float(np.sqrt(np.mean(np.square(errors))) / y.std()) if len(errors) > 1 and y.std() > 0 else None,
        loo_cells=len(errors),
        concordance={axis: found.tau for axis, found in trends.items() if found is not None},
        unidentified=unidentified,
        warnings=_warnings(table, axes, freedom, unidentified, samples),
        cells=cells,
        largest_rank_k90=_largest_rank_k90(table),
        samples=samples,
        confidence=config.confidence,
    )


def identifiable_part(table: RunTable, config: ScalingConfig | None = None) -> tuple[RunTable, list[str]]:
    """The largest part of a table that a law can be fitted to as it is.

    Two values of an axis determine an amplitude but no exponent. Of such an axis only the largest value is kept; axes
    with a given exponent, and dropped ones, are left alone.

    Returns:
        The part, and a sentence for each axis that was cut.
    """
    config = config or ScalingConfig()
    notes = []
    for axis in AXES:
        values = table.axis_values(axis)
        if len(values) == 2 and axis not in config.fixed_exponents and axis not in config.drop:
            table = table.filter(lambda run, axis=axis, top=values[1]: run.axis(axis) == top)  # type: ignore[misc]
            notes.append(
                f"{AXIS_WORDS[axis]} has two values, {values[0]:g} and {values[1]:g}: too few for an exponent, so the "
                f"law is fitted at {values[1]:g}"
            )
    return table, notes


def _varying_axes(table: RunTable, config: ScalingConfig) -> tuple[Axis, ...]:
    axes = tuple(axis for axis in AXES if axis not in config.drop and len(table.axis_values(axis)) > 1)
    if not axes:
        raise InputError(
            "nothing varies: the table has one value on each of N, R and D",
            fix="run at least three ranks, data sizes or model sizes",
        )
    for axis in axes:
        values = table.axis_values(axis)
        if len(values) < _MINIMUM_VALUES and axis not in config.fixed_exponents:
            raise InputError(
                f"axis {axis} ({AXIS_WORDS[axis]}) has {len(values)} values ({', '.join(f'{v:g}' for v in values)}), "
                f"but an amplitude and an exponent need at least {_MINIMUM_VALUES}",
                where=f"column {axis!r}",
                fix=f"run more values, give its exponent (fixed_exponents={{'{axis}': ...}}) or drop the axis "
                f"(drop=['{axis}'])",
            )
    return axes


def _quantity(metric: str, config: ScalingConfig) -> str:
    if metric in RISING:
        return f"1 - {metric}"
    return f"log {metric}" if metric in config.log else metric


def _cells(table: RunTable, metric: str, axes: tuple[Axis, ...], config: ScalingConfig) -> list[Cell]:
    groups: dict[tuple[float, ...], list[float]] = defaultdict(list)
    for run, raw in zip(table.runs, table.values(metric), strict=True):
        value = falling(metric, raw)
        if value > 0 and metric in config.log:
            value = float(np.log(value))
        if not value > 0:
            raise InputError(
                f"{_quantity(metric, config)} is {value:g}, but the law describes positive values",
                where=f"N={run.N:g} R={run.R:g} D={run.D:g} seed={run.seed}",
                fix="leave the run out, or fit another metric",
            )
        groups[tuple(run.axis(axis) for axis in axes)].append(value)
    return [
        Cell(point, float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None, len(values))
        for point, values in sorted(groups.items())
    ]


def _variances(cells: Sequence[Cell], config: ScalingConfig) -> Float[Array, "cells"] | None:
    """Variances of the cell means, or None if there are no repetitions to estimate them from.

    With the usual three seeds a cell's own variance is known to a factor of several, so it is averaged with the
    pooled one, which counts as two further degrees of freedom.
    """
    freedom = np.array([cell.runs - 1 for cell in cells], dtype=float)
    own = np.array([0.0 if cell.std is None else cell.std**2 for cell in cells])
    pooled = float((freedom * own).sum() / freedom.sum()) if freedom.sum() else 0.0
    if pooled == 0:
        return None
    counts = freedom + 1
    if config.weights == "equal":
        return np.full(len(cells), pooled) / counts.mean()
    return (freedom * own + 2 * pooled) / (freedom + 2) / counts


def _reweighted(solve: Any, best: Solution, y: Array, weights: Array, delta: float) -> tuple[Solution, Array]:
    """Huber's loss by iteratively reweighted least squares; the scale is the residuals' median absolute deviation."""
    current = weights
    for _ in range(30):
        scaled = np.abs(y - best.predicted) * np.sqrt(weights)
        scale = 1.4826 * float(np.median(scaled))
        if scale <= 1e-12 * float(np.abs(y).max()):
            break
        updated = weights * np.minimum(1, delta * scale / np.maximum(scaled, 1e-300))
        converged = np.allclose(updated, current, rtol=1e-4)
        current = updated
        best = solve(current)
        if converged:
            break
    return best, current


def _leave_one_out(
    points: Array, y: Array, given: Array, parameters: int, solve: Any, log_ratios: Array, constant: bool
) -> list[float]:
    errors = []
    for left in range(len(y)):
        keep = np.arange(len(y)) != left
        distinct = [len(set(points[keep, axis])) for axis in range(points.shape[1])]
        if keep.sum() < parameters or any(
            count < _MINIMUM_VALUES for count, exponent in zip(distinct, given, strict=True) if np.isnan(exponent)
        ):
            continue
        found = solve(keep)
        predicted = design_matrix(log_ratios[[left]], found.exponents, constant) @ found.amplitudes
        errors.append(float(predicted[0] - y[left]))
    return errors


def _bootstrap(
    best: Solution,
    y: Array,
    weights: Array,
    variance: Array | None,
    freedom: int,
    solve: Any,
    config: ScalingConfig,
) -> Float[Array, "samples parameters"]:
    """Parameters refitted to the law's predictions plus Gaussian noise on the cell means.

    The noise is that of the seeds, widened where the residuals are larger than seeds explain; without repetitions it
    is the residuals' own. With neither there is nothing to draw from and no sample is returned.
    """
    columns = len(best.exponents) + len(best.amplitudes)
    residuals = y - best.predicted
    if variance is None:
        if freedom <= 0:
            return np.empty((0, columns))
        noise = np.full(len(y), np.sqrt(float((weights * residuals**2).sum()) / freedom))
    else:
        excess = float((residuals**2 / variance).sum()) / freedom if freedom > 0 else 1.0
        noise = np.sqrt(variance * max(1.0, excess))
    generator = np.random.default_rng(config.seed)
    axes = len(best.exponents)
    draws = [
        _flat(solve(best.predicted + noise * generator.standard_normal(len(y))), axes) for _ in range(config.bootstrap)
    ]
    return np.array(draws) if draws else np.empty((0, columns))


def _flat(solution: Solution, axes: int) -> Float[Array, "parameters"]:
    """Amplitudes of the axes, exponents of the axes, E."""
    return np.concatenate([solution.amplitudes[:axes], solution.exponents, solution.amplitudes[axes:]])


def _intervals(samples: Array, confidence: float) -> list[tuple[float | None, float | None]] | None:
    if not len(samples):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def _unidentified(
    axes: tuple[Axis, ...], fitted: Mapping[str, Parameter], given: Array, best: Solution, config: ScalingConfig
) -> dict[Axis, str]:
    problems: dict[Axis, str] = {}
    low, high = config.exponents
    for index, axis in enumerate(axes):
        amplitude, exponent = fitted[AMPLITUDES[axis]], fitted[EXPONENTS[axis]]
        word = AXIS_WORDS[axis]
        if amplitude.value <= 1e-9 * float(np.abs(best.predicted).max()):
            problems[axis] = f"the metric does not fall with {word}: its amplitude is 0"
        elif not np.isnan(given[index]):
            continue
        elif exponent.value < low * 1.02:
            problems[axis] = f"the exponent of {word} is at its lower bound {low:g}: no sign of a plateau"
        elif exponent.value > high / 1.02:
            problems[axis] = f"the exponent of {word} is at its upper bound {high:g}: a step, not a power law"
        elif exponent.low is not None and exponent.high is not None:
            covered = np.log(exponent.high / exponent.low) / np.log(high / low)
            if covered > _MOST_OF_RANGE:
                problems[axis] = (
                    f"the exponent of {word} is anywhere from {exponent.low:.2g} to {exponent.high:.2g}: the runs do "
                    "not determine it"
                )
    return problems


def _warnings(
    table: RunTable, axes: tuple[Axis, ...], freedom: int, unidentified: Mapping[Axis, str], samples: Array
) -> list[str]:
    found = list(unidentified.values())
    if freedom == 0:
        found.append("no degrees of freedom are left: as many parameters as cells, so R2 = 1 means nothing")
    if not len(samples):
        found.append("no intervals: there are neither repetitions over seeds nor degrees of freedom, or bootstrap is 0")
    collapsed = [axis for axis in AXES if axis not in axes]
    if collapsed:
        found.append(f"not part of the law, only of its constant: {', '.join(AXIS_WORDS[axis] for axis in collapsed)}")
    if any(run.seed is None for run in table.runs):
        found.append("the table has no seeds: the noise of single runs is unknown")
    return found


def _largest_rank_k90(table: RunTable) -> float | None:
    largest = max(run.R for run in table.runs)
    top = table.filter(lambda run: run.axis("R") == largest)
    values = [run.metrics["k90"] for run in top.runs if "k90" in run.metrics]
    return float(np.median(values)) if values else None
