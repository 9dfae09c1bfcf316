"""Parts of the pages that are read from the source when the site is built, so that they cannot be out of date.

A page asks for one with a comment on a line of its own:

    <!-- include: README.md methods -->      the part of a file between its marks `<!-- methods -->`, or all of it
    <!-- results: twin-merging -->           the tables of results/twin-merging/*.json
    <!-- benchmark: fusion -->               the table of results/benchmarks/fusion.json
    <!-- keys: intarsia.pipeline.recipe TaskRecipe -->   the fields of a dataclass: type, default, meaning
    <!-- merge methods -->                   the static merge methods and their settings
    <!-- data sets -->                       the catalogue of data sets
    <!-- commands -->                        every command with its options
"""

import dataclasses
import functools
import html
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_MARK = re.compile(
    r"^<!-- (include|results|benchmark|keys|merge methods|data sets|commands)(?:: (.+?))? -->$", re.MULTILINE
)


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Replaces the marks of a page (an event of mkdocs)."""
    text = _MARK.sub(lambda mark: render(mark[1], mark[2] or ""), markdown)
    # What stands in the root's files links into docs/, pages of the site do not.
    depth = page.file.src_uri.count("/")
    return re.sub(r"\]\(docs/", "](" + "../" * depth, text)


def on_config(config: Any) -> Any:
    """Lets `mkdocs serve` notice changes of what pages include (an event of mkdocs)."""
    config.watch += [str(ROOT / name) for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "src")]
    return config


def render(kind: str, argument: str) -> str:
    """Returns the markdown that takes the place of a mark."""
    makers: dict[str, Callable[..., str]] = {
        "include": include,
        "results": results,
        "benchmark": benchmark,
        "keys": keys,
        "merge methods": merge_methods,
        "data sets": data_sets,
        "commands": commands,
    }
    return makers[kind](*argument.split())


def include(file: str, part: str = "") -> str:
    """Returns a file of the root, or its part between two marks `<!-- part -->`."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return text.split(f"<!-- {part} -->")[1].strip() if part else text


# Results


def results(slug: str) -> str:
    """Returns the tables of all result files of an experiment, or says that there are none."""
    found = sorted((ROOT / "results" / slug).glob("*.json"))
    if not found:
        return (
            '!!! note "No result file yet"\n\n'
            f"    `results/{slug}/` holds no result. `intarsia reproduce {slug}` makes one.\n"
        )
    return "\n\n".join(_result(json.loads(file.read_text(encoding="utf-8"))) for file in found)


def benchmark(name: str) -> str:
    """Returns the table that a file of `benchmarks/` wrote with `--json`, or says that there is none."""
    file = ROOT / "results" / "benchmarks" / f"{name}.json"
    if not file.is_file():
        return (
            f'!!! note "Not measured yet"\n\n    `python benchmarks/{name}.py --json results/benchmarks/{name}.json`\n'
        )
    found = json.loads(file.read_text(encoding="utf-8"))
    rows = []
    for row in found["results"]:
        unit = row.get("unit", "ms")
        ours, other = (f"{row.get(f'{side}_ms', row.get(side)):.1f} {unit}" for side in ("ours", "other"))
        shown = ("what", "unit", "ours", "other", "ours_ms", "other_ms", "ratio")
        others = {key: value for key, value in row.items() if key not in shown}
        notes = ", ".join(
            f"{key.replace('_', ' ')} {value if isinstance(value, str) else _number(value)}"
            for key, value in others.items()
        )
        rows.append([row["what"], ours, other, f"{row['ratio']:.{2 if row['ratio'] < 0.995 else 3}g}", notes])
    return _table(["ours, beside the other", "ours", "other", "ratio", ""], rows)


def _result(result: dict[str, Any]) -> str:
    commit = (result["commit"] or "unknown")[:10]
    hardware = ", ".join(
        str(part) for part in (result["hardware"].get("cpu"), f"{result['hardware'].get('cores')} cores") if part
    )
    parts = [
        f"### Scale: {result['scale']}",
        f"`{result['command']}` at commit `{commit}`, {_duration(result['wall_seconds'])} on {hardware}. "
        "Brackets hold 95 % intervals; a dash means that there is no figure.",
    ]
    if result["claims"]:
        verdicts = {True: "holds", False: "does not hold", None: "not judged"}
        parts += [
            "Claims, judged by this run:",
            _table(
                ["claim", "source", "here", "evidence"],
                [
                    [claim["text"], claim["source"], f"**{verdicts[claim['holds']]}**", claim["evidence"]]
                    for claim in sorted(result["claims"], key=lambda claim: claim["holds"] is None)
                ],
            ),
        ]
    for note in result.get("notes", []):
        parts.append(f"- {_cell(note)}")
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        tables.setdefault(row["metric"], []).append(row)
    for metric, rows in tables.items():
        shown = _table(
            ["system", "data", "paper", "measured", "n"],
            [[row["system"], row["dataset"], _number(row["paper"]), _measured(row), row["n"]] for row in rows],
        )
        # A long table is folded, so that the page stays a page.
        if len(rows) > _LONG:
            inner = "\n".join(f"    {line}" for line in shown.splitlines())
            parts.append(f'??? note "{_cell(metric).replace(chr(34), chr(39))}: {len(rows)} rows"\n\n{inner}')
        else:
            parts.append(f"**{_cell(metric)}**\n\n{shown}")
    return "\n\n".join(parts)


_LONG = 24


def _measured(row: dict[str, Any]) -> str:
    if row["low"] is None:
        return _number(row["measured"])
    return f"{_number(row['measured'])} [{_number(row['low'])}, {_number(row['high'])}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


# Settings


def keys(module: str, name: str) -> str:
    """Returns the fields of a dataclass as a table; read from the source, nothing is imported."""
    owner = _source()[f"{module.removeprefix('intarsia.')}.{name}"]
    meanings = {
        item.name: item.description
        for section in owner.docstring.parse("google")
        if section.kind.value == "attributes"
        for item in section.value
    }
    fields = [member for member in owner.attributes.values() if "instance-attribute" in member.labels]
    rows = [
        [f"`{field.name}`", f"`{field.annotation}`", _default(field.value), meanings[field.name].replace("\n", " ")]
        for field in fields
    ]
    return _table(["key", "type", "default", "meaning"], rows)


@functools.cache
def _source() -> Any:
    import griffe

    return griffe.load("intarsia", search_paths=[str(ROOT / "src")])


def _default(value: Any) -> str:
    if value is None:
        return "*required*"
    made = re.search(r"default_factory=(\w+)", str(value))
    if made is None:
        return f"`{value}`"
    return {"dict": "`{}`", "list": "`[]`"}.get(made[1], "the defaults below")


def merge_methods() -> str:
    """Returns the static merge methods with their papers and settings."""
    from intarsia.merge.methods import list_methods

    rows = []
    for method in list_methods():
        settings = ", ".join(
            f"`{field.name}`" + ("" if field.default is dataclasses.MISSING else f" = {field.default}")
            for field in dataclasses.fields(method.params)
        )
        paper = re.sub(r"arXiv (\d{4}\.\d{5})", r"[\1](https://arxiv.org/abs/\1)", method.paper)
        needs = f" ({_code_names(method.data_statistics)})." if method.data_statistics else "."
        rows.append([f"`{method.name}`", method.summary.removesuffix(".") + needs, settings or "none", paper])
    return _table(["method", "what it does", "settings", "paper"], rows)


def _code_names(text: str) -> str:
    return re.sub(r"\b(\w+_\w+)\b", r"`\1`", text)


def data_sets() -> str:
    """Returns the catalogue of data sets."""
    from intarsia.data import catalogue

    rows = [
        [
            f"`{entry.name}`",
            entry.title,
            entry.schema,
            ", ".join(entry.splits),
            " or ".join(
                where for where in (entry.asset and "installed texts", entry.hub and f"hub: `{entry.hub.id}`") if where
            ),
            entry.licence,
        ]
        for entry in catalogue().values()
    ]
    return _table(["name", "what it is", "rows", "splits", "where", "licence"], rows)


# Commands


def commands() -> str:
    """Returns every command with its arguments and options, as `--help` has them."""
    import typer

    from intarsia.cli.app import app

    return "\n\n".join(_commands_of(typer.main.get_command(app), "intarsia"))


def _commands_of(group: Any, path: str) -> list[str]:
    context = _context(group, path.rpartition(" ")[2])
    parts = []
    for name in group.list_commands(context):
        command, full = group.get_command(context, name), f"{path} {name}"
        if hasattr(command, "list_commands"):
            parts += _commands_of(command, full)
        else:
            parts += [f"## {full}", _help_text(command.help), _parameters(command)]
    return parts


def _context(command: Any, name: str) -> Any:
    return command.make_context(name, [], resilient_parsing=True)


def _help_text(text: str) -> str:
    """Turns the help's Rich markup into markdown; its example becomes a code block."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        plain = re.sub(r"\[/?[a-z ]+\]", "", " ".join(paragraph.split()))
        label, colon, example = plain.partition(": ")
        if colon and label in ("Example", "Examples"):
            lines = re.split(r", (?=intarsia )", example)
            paragraphs.append("```sh\n" + "\n".join(lines) + "\n```")
        elif plain.startswith("intarsia "):
            paragraphs.append(f"```sh\n{plain}\n```")
        else:
            paragraphs.append(plain)
    return "\n\n".join(paragraphs)


def _parameters(command: Any) -> str:
    rows = []
    for parameter in command.params:
        if parameter.name == "help" or getattr(parameter, "hidden", False):
            continue
        is_option = parameter.param_type_name == "option"
        word = parameter.metavar or parameter.name.upper()
        names = [*parameter.opts, *parameter.secondary_opts] if is_option else [word]
        rows.append(
            [
                ", ".join(f"`{name}`" for name in names),
                parameter.help or "",
                "*required*" if parameter.required else _plain_default(parameter),
            ]
        )
    return _table(["option", "meaning", "default"], rows)


def _plain_default(parameter: Any) -> str:
    value = parameter.default
    if isinstance(parameter.show_default, str):
        return f"`{parameter.show_default}`"
    if value is None or value == "" or value == [] or value == () or value is False or callable(value):
        return ""
    return f"`{value}`"


# Markdown


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    # Within code, entities and escapes would be shown as they are written; a bar in it ends no cell.
    text = "–" if value is None else " ".join(str(value).split())
    return text if text.startswith("`") else html.escape(text, quote=False).replace("|", "&#124;")
