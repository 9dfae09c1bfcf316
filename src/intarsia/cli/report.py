"""`intarsia report`: the HTML page of a folder of results."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, or of result files.", metavar="FOLDER")],
    output: Annotated[
        Path | None, typer.Option(help="The HTML file to write.", show_default="FOLDER/report.html")
    ] = None,
) -> None:
    """Render the HTML report of a folder again and print its path.

    A run folder gives that run's report; any other folder one page with all result files in it and below.

    Example: [cyan]intarsia report results[/cyan]
    """
    from intarsia.experiments import rebuild

    typer.echo(rebuild(folder, output=output))
