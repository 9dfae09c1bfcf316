"""The cumulative curve of a chain as a picture."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from intarsia.errors import ConfigError
from intarsia.files import atomic_file
from intarsia.quantum.posterior.chain import PosteriorChain

_FORMATS = (".svg", ".png", ".pdf")


def draw_cumulative(chain: PosteriorChain, *, title: str = "") -> Figure:
    """Draws the information so far against the number of known components, with the bounds.

    Args:
        chain: A chain; the curve ends where a row failed.
        title: Heading.
    """
    sums = [row.cumulative for row in chain.components if row.cumulative is not None]
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.step(range(len(sums) + 1), [0.0, *sums], where="post", color="#0072B2", label="information so far")
    if chain.config.estimator == "maxent" and chain.config.divergence in ("sq", "kl"):
        proved = chain.bounds.sq if chain.config.divergence == "sq" else chain.bounds.kl
        axes.axhline(proved, color="#D55E00", linestyle="--", label="proved bound")
        if chain.bounds.conjecture is not None and chain.config.divergence == "sq":
            axes.axhline(chain.bounds.conjecture, color="#009E73", linestyle=":", label="conjecture, n (1 − eps)²")
    axes.set_xlabel("components known")
    unit = ", bits" if chain.config.divergence == "kl" else ""
    axes.set_ylabel(f"information, {chain.config.divergence} (reconstruction){unit}")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    axes.set_title(title)
    return figure


def check_picture_path(path: str | Path) -> Path:
    """Returns the path if a picture can be written there.

    Raises:
        ConfigError: If its ending is not one of a picture.
    """
    if Path(path).suffix not in _FORMATS:
        raise ConfigError("plot", str(path), f"a file that ends in {', '.join(_FORMATS)}")
    return Path(path)


def save_picture(figure: Figure, path: str | Path) -> None:
    """Writes a figure as `.svg`, `.png` or `.pdf`, by the name's ending, atomically.

    Raises:
        ConfigError: If the ending is another.
    """
    path = check_picture_path(path)
    buffer = io.BytesIO()
    # Without a date the same chain gives the same file.
    figure.savefig(buffer, format=path.suffix[1:], dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
