"""`intarsia report`: the HTML page of a folder of results."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="A folder of result files, or of one run.", metavar="FOLDER")],
) -> None:
    """Render the HTML report of a folder.

    Example: [cyan]intarsia report results/[/cyan]
    """
