"""The picture of a comparison: perplexity against the bytes of the embedding."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from intarsia.compress.comparing import ORIGINAL, ComparisonRow
from intarsia.files import atomic_file

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "h", "<")


def draw_comparison(rows: Sequence[ComparisonRow]) -> Figure:
    """Draws perplexity against bytes, both logarithmic: a line for each method, the original as a level to reach.

    Hollow marks are after the fit alone, full ones after training.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    original = next(row for row in rows if row.method == ORIGINAL)
    axes.axhline(original.perplexity, color="grey", linewidth=1, linestyle="--", label="original")
    methods = list(dict.fromkeys(row.method for row in rows if row.method != ORIGINAL))
    for index, method in enumerate(methods):
        own = sorted((row for row in rows if row.method == method), key=lambda row: row.bytes)
        sizes = [row.bytes / 1e6 for row in own]
        options: dict[str, Any] = {"marker": _MARKERS[index % len(_MARKERS)], "color": f"C{index % 10}", "linewidth": 1}
        if any(row.trained for row in own):
            fitted = [row.fitted_perplexity for row in own]
            axes.plot(sizes, fitted, **options, linestyle=":", markerfacecolor="none")
        axes.plot(sizes, [row.perplexity for row in own], **options, label=method)
    axes.set_xscale("log")
    axes.set_yscale("log")
    # Sizes are within a few decades: "20" reads better than a power of ten.
    for plain in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        plain(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    axes.set_xlabel("embedding, MB")
    axes.set_ylabel("perplexity on held-out text")
    axes.legend(frameon=False, fontsize="small")
    return figure


def save_picture(figure: Figure, path: str | Path) -> None:
    """Writes a figure as `.svg` or `.png`, by the name's ending, atomically."""
    path = Path(path)
    buffer = io.BytesIO()
    # Without a date the same rows give the same file.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(buffer, format=path.suffix[1:], dpi=150, metadata=metadata)
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
