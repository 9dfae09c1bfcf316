"""`intarsia quickstart`: the main job on the texts and weights that come with the installation."""

from pathlib import Path
from typing import Annotated

import typer


def quickstart(
    output: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/quickstart"),
    seed: Annotated[int | None, typer.Option(help="Seed of everything drawn; by default the recipe's.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away what the folder holds.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Train four experts, fit them into one model, prove it, and write a report.

    Takes SmolLM2-135M-Instruct and four classification tasks from installed packages: no hub, no account. Stopped at
    any point, the same command goes on where it was.

    [bold]Example[/bold]: intarsia quickstart --output runs/quickstart
    """
    from importlib.resources import files

    from intarsia.cli.run import show_run
    from intarsia.pipeline import Recipe, run_recipe

    recipe = Recipe.from_file(Path(str(files("intarsia.pipeline") / "quickstart.yaml")))
    command = f"intarsia quickstart --output {output}" + ("" if seed is None else f" --seed {seed}")
    show_run(run_recipe(recipe, output, command=command, seed=seed, overwrite=overwrite), json=json)
