"""`intarsia reproduce`: run a paper's experiment, or list the experiments there are."""

from pathlib import Path
from typing import Annotated, Any

import typer

from intarsia.cli import console
from intarsia.errors import InputError


def _slugs(incomplete: str) -> list[str]:
    from intarsia.experiments import registry

    return [name for name in registry.names() if name.startswith(incomplete)]


def reproduce(
    slug: Annotated[
        str | None, typer.Argument(help="The experiment; see --list.", metavar="SLUG", autocompletion=_slugs)
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the experiments and their last results.")] = False,
    scale: Annotated[str, typer.Option(help="Which recipe: laptop, paper, ...")] = "laptop",
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    engine: Annotated[str, typer.Option(help="Where trials run: local, serial, ray or ray://HOST:PORT.")] = "local",
    output: Annotated[Path, typer.Option(help="Folder of result files; SLUG/SCALE.json is written there.")] = Path(
        "results"
    ),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew instead of resuming a stopped run.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the list, or the result, as JSON.")] = False,
) -> None:
    """Repeat a paper's experiment and compare paper with measured.

    A stopped run goes on where it was when the same command is given again.

    Examples: [cyan]intarsia reproduce --list[/cyan], [cyan]intarsia reproduce twin-merging --scale laptop[/cyan]
    """
    if list_all:
        _print_list(output, json)
        return
    if slug is None:
        raise InputError("no experiment given", fix="name one, or see `intarsia reproduce --list`")
    from intarsia.experiments import read_result, run_experiment, work_folder
    from intarsia.experiments.result_page import count_claims, judged_first

    path = run_experiment(slug, scale, seed, engine=engine, results=output, overwrite=overwrite, progress=_say_progress)
    result = read_result(path)
    if json:
        console.print_json(result.to_json())
        return
    _print_rows(result.rows)
    for claim in judged_first(result.claims):
        verdict = {True: "holds", False: "does not hold", None: "not judged"}[claim.holds]
        console.out().print(f"{verdict}: {claim.text}: {claim.evidence}", markup=False, soft_wrap=True)
    if result.claims:
        console.out().print(f"claims that hold: {count_claims(result.claims)}")
    console.out().print(f"result: {path}", markup=False, soft_wrap=True)
    console.out().print(f"report: {work_folder(slug, scale, seed) / 'report.html'}", markup=False, soft_wrap=True)


def _say_progress(message: str) -> None:
    console.err().print(message, style="dim", markup=False, soft_wrap=True)


def _print_rows(rows: list[Any]) -> None:
    from dataclasses import asdict

    shown = [
        {**asdict(row), "interval": None if row.low is None else f"[{row.low:.4g}, {row.high:.4g}]"} for row in rows
    ]
    columns = {"system": "System", "dataset": "Dataset", "metric": "Metric", "paper": "Paper", "measured": "Measured"}
    console.print_table(shown, {**columns, "interval": "95 % interval", "n": "n"})


def _print_list(results: Path, json: bool) -> None:
    from intarsia.experiments import registry
    from intarsia.experiments.records import read_result
    from intarsia.experiments.result_page import count_claims, short_commit

    rows = []
    for slug in registry.names():
        experiment = registry.get(slug)
        last = [read_result(path) for path in sorted((results / slug).glob("*.json"))]
        rows.append(
            {
                "slug": slug,
                "title": experiment.title,
                "paper": experiment.paper,
                "scales": registry.scales(slug),
                "results": [
                    {
                        "scale": result.scale,
                        "claims": count_claims(result.claims),
                        "commit": short_commit(result.commit),
                    }
                    for result in last
                ],
                "last": "; ".join(f"{result.scale}: {count_claims(result.claims)} claims hold" for result in last)
                or None,
            }
        )
    if json:
        console.print_json([{key: value for key, value in row.items() if key != "last"} for row in rows])
        return
    console.print_table(rows, {"slug": "Experiment", "paper": "Paper", "scales": "Scales", "last": "Last result"})
