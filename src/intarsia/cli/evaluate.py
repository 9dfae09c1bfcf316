"""`intarsia evaluate`: how many rows a model answers right."""

from pathlib import Path
from typing import Annotated

import typer

from intarsia.cli import console


def evaluate(
    model: Annotated[str, typer.Argument(help="Hub id, folder, adapter, merged model, GGUF file or asset:NAME.")],
    data: Annotated[
        list[str], typer.Option(help="Rows to answer: a file, a name of `intarsia data`, or a hub id; repeatable.")
    ],
    schema: Annotated[str, typer.Option(help="classification or text-to-text.")] = "classification",
    field: Annotated[list[str] | None, typer.Option(help="FIELD=COLUMN, where columns are called otherwise.")] = None,
    split: Annotated[str, typer.Option(help="Split to answer.")] = "test",
    limit: Annotated[int, typer.Option(min=1, help="Rows of each data set at most, drawn by the seed.")] = 500,
    instruction: Annotated[str | None, typer.Option(help="System message; by default the model's own.")] = None,
    question: Annotated[str, typer.Option(help="What is asked about each text, on a line of its own after it.")] = "",
    max_text_tokens: Annotated[int, typer.Option(min=1, help="Texts are cut after so many tokens.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the rows.")] = 0,
    output: Annotated[Path | None, typer.Option(help="JSON file for the figures and the answers' marks.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Measure exact greedy answers, and the choice among the data's labels, with 95 % intervals.

    [bold]Example[/bold]: intarsia evaluate runs/reuters --data reuters-r8 --max-text-tokens 32 --limit 200
    """
    from intarsia.files import write_json
    from intarsia.metrics import bootstrap_interval
    from intarsia.models import load_causal_lm
    from intarsia.models.prompts import set_instruction
    from intarsia.pipeline.evaluation import TestSet, ask, over_prompts
    from intarsia.pipeline.progress import Stages
    from intarsia.pipeline.recipe import TaskRecipe
    from intarsia.pipeline.tasks import draw_rows

    stages = Stages()
    with stages.stage(f"load {model}"):
        loaded = load_causal_lm(model)
    if instruction is not None:
        set_instruction(loaded.tokenizer, instruction)
    fields = console.parse_assignments(field or [], "--field")
    rows = {}
    for source in data:
        task = TaskRecipe(data=source, fields=fields, schema=schema, question=question, max_text_tokens=max_text_tokens)
        rows[source] = draw_rows(task, split, limit, loaded.tokenizer, seed)
    labels = {
        source: sorted({row.target for row in of_source}) if schema == "classification" else []
        for source, of_source in rows.items()
    }
    test = TestSet.build(loaded.tokenizer, rows, labels)
    with stages.stage(f"answer {len(test)} rows", len(test)) as advance:
        route = getattr(loaded.model, "route", None)
        mixture = over_prompts(test, route) if route is not None else None
        answers = ask(loaded.model, test, mixture=mixture, progress=advance)
    table = []
    for metric, hits in (("exact answer", answers.exact), ("choice among labels", answers.choice)):
        for source, of_source in hits.items():
            interval = bootstrap_interval(of_source)
            table.append(
                {
                    "data": source,
                    "metric": metric,
                    "percent": 100 * float(of_source.mean()),
                    "low": 100 * interval.low,
                    "high": 100 * interval.high,
                    "rows": len(of_source),
                }
            )
    if output is not None:
        marks = {source: of_source.astype(int).tolist() for source, of_source in answers.exact.items()}
        write_json(output, {"model": model, "split": split, "seed": seed, "table": table, "exact": marks})
    console.print_table(table, list(table[0]), json=json)
