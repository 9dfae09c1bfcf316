"""`intarsia run`: the main job on the user's own data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intarsia.cli import console

if TYPE_CHECKING:
    from intarsia.pipeline import RunResult


def run(
    recipe: Annotated[Path, typer.Argument(help="Recipe: model, tasks, experts, merge (YAML).")],
    output: Annotated[Path | None, typer.Option(help="Folder of the run; by default runs/NAME-OF-RECIPE.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything drawn; by default the recipe's.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away what the folder holds.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Train an expert a task, fit them into one model, measure everything, and write a report.

    Stopped at any point, the same command goes on where it was.

    [bold]Example[/bold]: intarsia run recipe.yaml --output runs/mine
    """
    from intarsia.pipeline import Recipe, run_recipe

    output = output or Path("runs") / recipe.stem
    command = f"intarsia run {recipe} --output {output}" + ("" if seed is None else f" --seed {seed}")
    result = run_recipe(Recipe.from_file(recipe), output, command=command, seed=seed, overwrite=overwrite)
    show_run(result, json=json)


def show_run(result: "RunResult", *, json: bool) -> None:
    """Prints the results of a run: the systems' scores, where the report is and how to use the model."""
    rows = [
        {
            "system": system.name,
            **{task: round(score, 1) for task, score in system.accuracy.items()},
            "normalised": round(system.normalised.value, 1),
            "interval": f"{system.normalised.low:.1f} to {system.normalised.high:.1f}",
        }
        for system in result.systems
    ]
    if json:
        console.print_json({"report": str(result.report), "model": str(result.model), "systems": rows})
        return
    console.print_table(rows, list(rows[0]), title="Exact answers on held-out rows, %")
    console.say(f"report: {result.report}")
    console.say(f"model:  {result.model}   try: [cyan]intarsia chat {result.model}[/cyan]")
