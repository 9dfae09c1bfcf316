"""`intarsia generate`: answers of any model to one prompt or to a file of them."""

from pathlib import Path
from typing import Annotated

import typer

from intarsia.cli import console


def generate(
    model: Annotated[str, typer.Argument(help="Hub id, folder, adapter, GGUF file or asset:NAME.")],
    prompt: Annotated[str | None, typer.Argument(help="What to answer; left out, prompts come from --data.")] = None,
    data: Annotated[Path | None, typer.Option(help="Text file with one prompt a line, or - for stdin.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 128,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token, more samples.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Nucleus that is sampled from.")] = 1.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts answered at once.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of sampling.")] = 0,
    output: Annotated[Path | None, typer.Option(help="JSONL file for prompts and answers; by default stdout.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of plain answers.")] = False,
) -> None:
    """Answer prompts with a model: base, expert or merged.

    [bold]Example[/bold]: intarsia generate runs/quickstart/model "oil prices rose again after opec met"
    """
    import json as json_module
    import sys

    from intarsia.errors import DataError, InputError
    from intarsia.files import write_text
    from intarsia.models import load_causal_lm
    from intarsia.models.answering import answer_prompts

    if (prompt is None) == (data is None):
        raise InputError("give either a prompt or --data", fix='intarsia generate MODEL "your prompt"')
    if prompt is not None:
        prompts = [prompt]
    else:
        if str(data) != "-" and not (data and data.is_file()):
            raise DataError("file not found", file=data)
        lines = sys.stdin if str(data) == "-" or data is None else data.read_text(encoding="utf-8").splitlines()
        prompts = [line.strip() for line in lines if line.strip()]
        if not prompts:
            raise DataError("there is no prompt in the file", file=data)
    loaded = load_causal_lm(model)
    answers = answer_prompts(
        loaded,
        prompts,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        batch_size=batch_size,
        seed=seed,
    )
    records = [{"prompt": text, "answer": answer} for text, answer in zip(prompts, answers, strict=True)]
    lines_out = [json_module.dumps(record, ensure_ascii=False) for record in records]
    if output is not None:
        write_text(output, "\n".join(lines_out) + "\n")
        console.say(f"{len(records)} answers: {output}")
    else:
        typer.echo("\n".join(lines_out if json else answers))
