"""`intarsia report`: the HTML page of a folder of results, and two report cards compared."""

from pathlib import Path
from typing import Annotated

import typer

_COMPARE = "compare"


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Folder of a run or of result files; or compare and two report cards.", metavar="FOLDER"),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="The HTML file to write; the folder, for a comparison.",
            show_default="FOLDER/report.html; runs/compared",
        ),
    ] = None,
) -> None:
    """Render the HTML report of a folder again and print its path; or compare the report cards of two models.

    A run folder gives that run's report; any other folder one page with all result files in it and below. `compare A B`
    takes two folders (or card.json files) of intarsia audit all.

    Examples: [cyan]intarsia report results[/cyan], [cyan]intarsia report compare runs/mini runs/large[/cyan]
    """
    from intarsia.errors import InputError

    first, *rest = folders
    if str(first) == _COMPARE and rest:
        if len(rest) != 2:
            raise InputError(
                f"compare takes two report cards, and {len(rest)} {'is' if len(rest) == 1 else 'are'} given",
                fix="intarsia report compare FOLDER FOLDER",
            )
        from intarsia.audit.card.running import write_comparison

        _, page = write_comparison(rest[0], rest[1], output or Path("runs") / "compared")
        typer.echo(page)
        return
    if rest:
        raise InputError(
            "report takes one folder", where=rest[0], fix="or compare two cards: intarsia report compare A B"
        )
    from intarsia.experiments import rebuild

    typer.echo(rebuild(first, output=output))
