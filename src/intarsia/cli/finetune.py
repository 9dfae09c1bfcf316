"""`intarsia finetune`: one LoRA expert from a data set."""

from pathlib import Path
from typing import Annotated

import typer

from intarsia.cli import console


def finetune(
    model: Annotated[str, typer.Argument(help="Base model: hub id, folder, GGUF file or asset:NAME.")],
    data: Annotated[str, typer.Option(help="Training rows: a file, a name of `intarsia data`, or a hub id.")],
    output: Annotated[Path, typer.Option(help="Folder of the adapter.")],
    schema: Annotated[str, typer.Option(help="classification or text-to-text.")] = "classification",
    field: Annotated[list[str] | None, typer.Option(help="FIELD=COLUMN, where columns are called otherwise.")] = None,
    split: Annotated[str, typer.Option(help="Split to train on.")] = "train",
    limit: Annotated[int | None, typer.Option(min=1, help="Rows at most, balanced over labels.")] = None,
    instruction: Annotated[str, typer.Option(help="System message of every prompt.")] = "Answer with one label.",
    max_text_tokens: Annotated[int, typer.Option(min=1, help="Texts are cut after so many tokens.")] = 128,
    rank: Annotated[int, typer.Option(help="Rank of every LoRA update.")] = 16,
    alpha: Annotated[float, typer.Option(help="Updates are scaled by alpha / rank.")] = 16.0,
    top_layers: Annotated[
        int | None, typer.Option(help="Adapt this many layers from the top; the rest run once and are kept on disk.")
    ] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the rows.")] = 3.0,
    batch_size: Annotated[int, typer.Option(help="Rows in one step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    miub: Annotated[bool, typer.Option("--miub/--no-miub", help="Log the internal metric beside the loss.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of rows, initial weights and order.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the folder holds.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Train a LoRA expert on labelled texts or on prompts and targets.

    The result is a PEFT adapter folder. Stopped at any point, the same command goes on from the last epoch.

    [bold]Example[/bold]: intarsia finetune asset:smollm2-135m-instruct --data reuters-r8 --limit 480 --top-layers 10
    --output runs/reuters
    """
    from intarsia.errors import RunExistsError
    from intarsia.files import read_json
    from intarsia.finetune import ExpertConfig, MIUBConfig, train_expert
    from intarsia.finetune.runs import HISTORY
    from intarsia.models import load_causal_lm
    from intarsia.models.prompts import set_instruction
    from intarsia.pipeline.progress import Stages
    from intarsia.pipeline.recipe import TaskRecipe
    from intarsia.pipeline.tasks import draw_rows

    if output.exists() and not overwrite:
        raise RunExistsError(output, what="an adapter or other files")
    config = ExpertConfig(
        rank=rank,
        alpha=alpha,
        top_layers=top_layers,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    task = TaskRecipe(
        data=data,
        fields=console.parse_assignments(field or [], "--field"),
        schema=schema,
        max_text_tokens=max_text_tokens,
        train=limit or 10**9,
    )
    stages = Stages()
    with stages.stage(f"load {model}"):
        base = load_causal_lm(model)
    rows = draw_rows(task, split, task.train, base.tokenizer, seed, balance=True)
    set_instruction(base.tokenizer, instruction)
    with stages.stage(f"train on {len(rows)} rows", config.steps(len(rows))) as advance:
        train_expert(
            base,
            rows,
            config,
            output,
            miub=MIUBConfig(max_tokens=500) if miub else None,
            progress=advance,
        )
    log = read_json(output / HISTORY)["log"]
    outcome = {
        "adapter": str(output),
        "rows": len(rows),
        "loss": next((entry["loss"] for entry in reversed(log) if "loss" in entry), None),
        "miub": next((entry["miub"] for entry in reversed(log) if "miub" in entry), None),
    }
    console.print_table([outcome], list(outcome), json=json)
