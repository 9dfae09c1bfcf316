"""Plots as inline SVG that takes the colours of the page it stands in, so that one picture serves light and dark.

Text and axes are drawn in `currentColor`; series in the Okabe-Ito colours, which colour-blind readers can tell apart,
through CSS variables (`--series-1` ...) that a page may redefine. Series differ in marker or line style as well.
"""

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle

from intarsia.errors import DataError
from intarsia.experiments.cells import Estimate, decimals, write_number
from intarsia.experiments.records import Figure

# Okabe and Ito's palette without black and yellow, which vanish on a dark or a white page.
SERIES_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))

# Stands for the page's text colour until the SVG is written.
_INK = "#010203"
_WIDTH = 5.0  # inches; 360 points, about the width of a phone, where the text is still readable
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "intarsia",
    "font.size": 9.5,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


def bar_with_intervals(
    groups: Mapping[str, Mapping[str, Estimate | float]],
    *,
    title: str,
    label: str,
    caption: str = "",
    from_zero: bool = True,
    reference: float | None = None,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Horizontal bars with intervals, grouped.

    Args:
        groups: Group -> series -> value, e.g. system -> dataset -> score. Series may be missing in a group.
        title: Heading of the figure.
        label: What the values are, with unit.
        caption: What to see.
        from_zero: Whether bars start at zero. If not, dots are drawn, because a cut bar misleads.
        reference: A value to mark by a vertical line, e.g. 100.
        limits: Ends of the axis, where figures that stand beside one another must have the same.

    Raises:
        DataError: If there is nothing to draw.
    """
    series = list(dict.fromkeys(name for group in groups.values() for name in group))
    if not series:
        raise DataError(f"figure {title!r} has no values")
    thickness = 0.8 / len(series)
    with matplotlib.rc_context(_SETTINGS):
        canvas, axes = _canvas(height=0.75 + max(0.3, 0.15 * len(series)) * len(groups) + 0.25 * (len(series) > 1))
        for index, name in enumerate(series):
            placed = [(row, group[name]) for row, group in enumerate(groups.values()) if name in group]
            heights = [row + (index - (len(series) - 1) / 2) * thickness for row, _ in placed]
            estimates = [item if isinstance(item, Estimate) else Estimate(item) for _, item in placed]
            _draw_bars(axes, heights, estimates, thickness, index, name, from_zero)
        if reference is not None:
            axes.axvline(reference, color=_INK, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.set_yticks(range(len(groups)), list(groups))
        axes.set_ylim(len(groups) - 0.4, -0.6)
        if limits is not None:
            axes.set_xlim(*limits)
            axes.locator_params(axis="x", nbins=5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(label)
        axes.grid(axis="x", color=_INK, alpha=0.12, linewidth=0.7)
        _legend(axes, list(series))
        return Figure(title, _to_svg(canvas, title), caption)


def _draw_bars(
    axes: Axes,
    heights: Sequence[float],
    estimates: Sequence[Estimate],
    thickness: float,
    index: int,
    name: str,
    from_zero: bool,
) -> None:
    colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
    values = [estimate.value for estimate in estimates]
    if from_zero:
        axes.barh(heights, values, height=thickness * 0.8, color=colour, label=name)
    else:
        axes.plot(values, heights, _MARKERS[index % len(_MARKERS)], color=colour, markersize=5, label=name)
    for height, estimate in zip(heights, estimates, strict=True):
        if estimate.low is not None and estimate.high is not None:
            ink = _INK if from_zero else colour
            axes.plot([estimate.low, estimate.high], [height, height], color=ink, linewidth=1.1, solid_capstyle="butt")


def lines(
    x: Sequence[float],
    series: Mapping[str, Sequence[float | None]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    caption: str = "",
    log_x: bool = False,
    log_y: bool = False,
    markers: bool = True,
) -> Figure:
    """Lines over a common x, each with an optional band.

    Args:
        x: Positions.
        series: Name -> values at `x`; None leaves a gap.
        title: Heading of the figure.
        xlabel: What `x` is, with unit.
        ylabel: What the values are, with unit.
        bands: Name -> (lower, upper) values at `x`.
        caption: What to see.
        log_x: Logarithmic x axis; its ticks stand at `x`.
        log_y: Logarithmic y axis.
        markers: Whether each point is marked; not for smooth curves.

    Raises:
        DataError: If there is no series, or one has not as many values as `x`.
    """
    if not series:
        raise DataError(f"figure {title!r} has no values")
    for name, values in series.items():
        if len(values) != len(x):
            raise DataError(f"series {name!r} of figure {title!r} has {len(values)} values for {len(x)} positions")
    with matplotlib.rc_context(_SETTINGS):
        canvas, axes = _canvas(height=3.6)
        for index, (name, values) in enumerate(series.items()):
            colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
            axes.plot(
                x,
                [float("nan") if value is None else value for value in values],
                color=colour,
                linestyle=_LINE_STYLES[index % len(_LINE_STYLES)],
                marker=_MARKERS[index % len(_MARKERS)] if markers else None,
                markersize=4.5,
                linewidth=1.6,
                label=name,
            )
            if bands and name in bands:
                axes.fill_between(x, *bands[name], color=colour, alpha=0.16, linewidth=0)
        _scale(axes, x, log_x, log_y)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(color=_INK, alpha=0.12, linewidth=0.7)
        _legend(axes, list(series))
        return Figure(title, _to_svg(canvas, title), caption)


def _scale(axes: Axes, x: Sequence[float], log_x: bool, log_y: bool) -> None:
    if log_x:
        axes.set_xscale("log")
        if len(set(x)) <= 12:
            ticks = sorted(set(x))
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
    if log_y:
        axes.set_yscale("log")


def heatmap(
    matrix: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    caption: str = "",
    annotate: bool = True,
    row_label: str = "",
    column_label: str = "",
) -> Figure:
    """A table of shaded cells; the larger the value, the stronger the shade.

    Args:
        matrix: Values by row and column; None is left blank.
        rows: Row labels.
        columns: Column labels.
        title: Heading of the figure.
        caption: What to see.
        annotate: Whether the values are written into the cells.
        row_label: What the rows are.
        column_label: What the columns are.

    Raises:
        DataError: If the matrix does not fit the labels, or holds no value.
    """
    if len(matrix) != len(rows) or any(len(values) != len(columns) for values in matrix):
        raise DataError(f"the matrix of figure {title!r} is not {len(rows)} x {len(columns)}, as its labels are")
    present = [float(value) for values in matrix for value in values if value is not None]
    if not present:
        raise DataError(f"figure {title!r} has no values")
    smallest, span = min(present), (max(present) - min(present)) or 1.0
    with matplotlib.rc_context(_SETTINGS):
        canvas, axes = _canvas(height=0.9 + 0.36 * len(rows), width=max(_WIDTH, 1.6 + 0.6 * len(columns)))
        for row, values in enumerate(matrix):
            for column, value in enumerate(values):
                if value is None:
                    continue
                # A tint of the series colour rather than a colour map: text stays readable on any page.
                tint = 0.06 + 0.5 * (value - smallest) / span
                axes.add_patch(
                    Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, color=SERIES_COLOURS[0], alpha=tint, lw=0)
                )
                if annotate:
                    axes.text(column, row, write_number(value, decimals(present)), ha="center", va="center")
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        crowded = max(map(len, columns)) * len(columns) > 60
        axes.set_xticks(
            range(len(columns)), list(columns), rotation=35 if crowded else 0, ha="right" if crowded else "center"
        )
        axes.set_yticks(range(len(rows)), list(rows))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(column_label)
        axes.set_ylabel(row_label)
        return Figure(title, _to_svg(canvas, title), caption)


def _canvas(height: float, width: float = _WIDTH) -> tuple[Canvas, Axes]:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    canvas.patch.set_alpha(0)
    axes = canvas.add_subplot()
    axes.patch.set_alpha(0)
    return canvas, axes


def _legend(axes: Axes, names: Sequence[str]) -> None:
    if len(names) > 1:
        # A line of the legend holds about 56 letters, handles and gaps taking some 8 each; columns are equally wide.
        one_line = sum(map(len, names)) + 8 * len(names) <= 56
        fitting = len(names) if one_line else int(56 / (max(map(len, names)) + 8))
        axes.figure.legend(loc="outside upper left", ncols=max(1, min(fitting, len(names))), handlelength=2.4)


def _to_svg(canvas: Any, title: str) -> str:
    """The figure as one `<svg>` element in the page's colours and type."""
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Several figures share a page: group ids would repeat (clip paths and markers keep theirs, hashes of the content).
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--figure-font, sans-serif)", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--figure-font, sans-serif)", svg)
    # A style element would reach the whole page.
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = svg.replace(_INK, "currentColor")
    for number, colour in enumerate(SERIES_COLOURS, start=1):
        svg = re.sub(re.escape(colour), f"var(--series-{number}, {colour})", svg, flags=re.IGNORECASE)
    # The page scales a figure around its own width, so that its text keeps a readable size.
    style = f"--width: {72 * canvas.get_figwidth():.0f}px; stroke-linejoin: round; stroke-linecap: butt"
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}" style="{style}"', 1)
