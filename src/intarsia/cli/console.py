"""What the commands print with: results to stdout, messages to stderr, tables also as JSON."""

import json as json_module
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from intarsia.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

# Width of a table that goes to a file or a pipe, where there is no terminal to ask.
_PIPE_WIDTH = 160


def out() -> "Console":
    """A console on stdout, for what the user asked for."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def err() -> "Console":
    """A console on stderr, for progress and messages."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Tells the user something on stderr, so that stdout stays clean for results. `text` may hold Rich markup."""
    err().print(text, soft_wrap=True)


def complain(message: str) -> None:
    """Prints an error message on stderr: its first line red, the rest as it is. No markup is interpreted."""
    first, _, rest = message.partition("\n")
    err().print(f"error: {first}", style="bold red", markup=False, soft_wrap=True)
    if rest:
        err().print(rest, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Prints `value` as JSON on stdout. Raises ValueError on NaN, which is not JSON."""
    sys.stdout.write(json_module.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str] | Sequence[str],
    *,
    json: bool = False,
    title: str | None = None,
) -> None:
    """Prints rows as a table, or all their fields as a JSON list.

    Args:
        rows: One mapping a row.
        columns: The keys to show, in order; a mapping also gives each key's heading.
        json: Print JSON instead, for programs. It holds every field of the rows, not only `columns`.
        title: Printed above the table.
    """
    if json:
        print_json([dict(row) for row in rows])
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    headings = dict(columns) if isinstance(columns, Mapping) else {key: key for key in columns}
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for key, heading in headings.items():
        values = [row.get(key) for row in rows]
        is_number = any(_is_number(value) for value in values)
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(format_value(row.get(key))) for key in headings))
    out().print(table)


def format_value(value: Any) -> str:
    """One cell as text: an absent value is a dash, a truth value a word, a float has four significant digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value))
    return str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def parse_assignments(pairs: Sequence[str], option: str) -> dict[str, str]:
    """Reads repeated `NAME=VALUE` arguments.

    Args:
        pairs: The arguments.
        option: The option they were given to, for the message.

    Raises:
        InputError: If one has no `=`, or a name comes twice.
    """
    result: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise InputError(f"{option} {pair!r} is not of the form NAME=VALUE", fix=f"write {option} name=value")
        if name in result:
            raise InputError(f"{option} gives {name!r} twice")
        result[name] = value
    return result
