"""Curves of metrics along rank, data size and model size, with the fitted law."""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from intarsia.errors import InputError
from intarsia.files import atomic_file
from intarsia.finetune.scaling.config import AXES, AXIS_WORDS, Axis
from intarsia.finetune.scaling.law import ScalingFit
from intarsia.finetune.scaling.table import RunTable

# More lines than this in one panel cannot be told apart.
_MOST_LINES = 6


def draw_curves(table: RunTable, fits: Mapping[str, ScalingFit], metrics: Sequence[str], *, title: str) -> Figure:
    """One panel per metric and varying axis: means over seeds with their standard deviation, and the fitted law.

    Args:
        table: Runs of one data set and one policy.
        fits: Fitted laws by metric; metrics without one are drawn without a curve.
        metrics: Rows of panels.
        title: Heading.

    Raises:
        InputError: If nothing varies.
    """
    table.require_one_policy()
    axes = [axis for axis in AXES if len(table.axis_values(axis)) > 1]
    if not axes or not metrics:
        raise InputError("there is nothing to draw: no axis varies")
    figure = Figure(figsize=(3.6 * len(axes), 2.6 * len(metrics)), layout="constrained")
    panels = figure.subplots(len(metrics), len(axes), squeeze=False)
    for row, metric in enumerate(metrics):
        for column, axis in enumerate(axes):
            _draw_panel(panels[row, column], table, fits.get(metric), metric, axis)
            if column == 0:
                panels[row, column].set_ylabel(metric)
            if row == len(metrics) - 1:
                panels[row, column].set_xlabel(f"{AXIS_WORDS[axis]} {axis}")
    figure.suptitle(title)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a figure as `.svg` or `.png`, by the name's ending, atomically."""
    path = Path(path)
    buffer = io.BytesIO()
    # Without a date the same runs give the same file.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(buffer, format=path.suffix[1:], dpi=150, metadata=metadata)
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _draw_panel(panel: Axes, table: RunTable, fit: ScalingFit | None, metric: str, axis: Axis) -> None:
    others = [other for other in AXES if other != axis]
    lines: dict[tuple[float, ...], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run, value in zip(table.runs, table.values(metric), strict=True):
        lines[tuple(run.axis(other) for other in others)][run.axis(axis)].append(value)
    # Points that stand alone on this axis belong to the panels of the other axes.
    drawn = {place: points for place, points in sorted(lines.items()) if len(points) > 1}
    varying = [other for other in others if len(table.axis_values(other)) > 1]
    for place, points in islice(drawn.items(), _MOST_LINES):
        coordinates = dict(zip(others, place, strict=True))
        x = sorted(points)
        means = [float(np.mean(points[value])) for value in x]
        spread = [float(np.std(points[value], ddof=1)) if len(points[value]) > 1 else 0.0 for value in x]
        label = ", ".join(f"{other} = {coordinates[other]:.3g}" for other in varying)
        (line, *_) = panel.errorbar(
            x, means, yerr=spread, marker="o", markersize=4, capsize=2, label=label, linewidth=1
        )
        if fit is not None and axis in fit.axes:
            fine = np.geomspace(x[0], x[-1], 60)
            law = [fit.predict_metric(**{**coordinates, axis: float(value)}) for value in fine]
            panel.plot(fine, law, linestyle="--", linewidth=1, color=line.get_color())
    panel.set_xscale("log")
    ticks = table.axis_values(axis)
    panel.set_xticks(ticks, [f"{tick:,.0f}" if tick < 1e5 else f"{tick / 1e6:.3g}M" for tick in ticks])
    panel.minorticks_off()
    panel.spines[["top", "right"]].set_visible(False)
    if len(drawn) > 1:
        panel.legend(fontsize=6, frameon=False)
