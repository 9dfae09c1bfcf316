"""`intarsia models`: which models are known, where they are, and whether they are ready."""

from typing import Annotated, Any

import typer

from intarsia.cli import console

_COLUMNS = {
    "ref": "model",
    "kind": "kind",
    "parameters": "weights",
    "bytes": "on disk",
    "licence": "licence",
    "ready": "ready",
    "where": "where",
}
_MORE = {"description": "what"}


def models(
    model: Annotated[
        str | None,
        typer.Argument(help="Show one model: a hub id, a folder, a .gguf file or asset:NAME.", metavar="MODEL"),
    ] = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Download or convert MODEL now, so that later commands need not.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models this machine knows: assets, converted GGUF files, the hub's cache.

    Example: [cyan]intarsia models asset:smollm2-135m-instruct --prepare[/cyan]
    """
    from dataclasses import asdict

    from intarsia.models import describe_model, list_models, local_folder

    if prepare:
        if model is None:
            raise typer.BadParameter("say which MODEL to prepare", param_hint="--prepare")
        console.say(f"preparing {model} ...")
        local_folder(model)
    known = list_models() if model is None else [describe_model(model)]
    rows = [asdict(entry) for entry in known]
    if json:
        console.print_json(rows if model is None else rows[0])
    elif model is None:
        console.print_table([_readable(row) for row in rows], _COLUMNS)
    else:
        row = _readable(rows[0])
        facts = [{"key": heading, "value": row[key]} for key, heading in (_COLUMNS | _MORE).items()]
        console.print_table(facts, {"key": "", "value": ""})


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"parameters": _short(row["parameters"], ""), "bytes": _short(row["bytes"], "B")}


def _short(number: int | None, unit: str) -> str | None:
    if number is None:
        return None
    value = float(number)
    for prefix in ("", "k", "M"):
        if value < 1000:
            return f"{value:.3g} {prefix}{unit}".strip()
        value /= 1000
    return f"{value:.3g} G{unit}"
