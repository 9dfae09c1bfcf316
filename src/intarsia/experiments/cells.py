"""Cells of report tables: what may stand in one and how it is written."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple


class Estimate(NamedTuple):
    """A measured value with its interval, written as the value with the interval below it."""

    value: float
    low: float | None = None
    high: float | None = None


class Range(NamedTuple):
    """A measured value drawn on a line from `start` to `end`: dot, interval, and a diamond for the paper's value."""

    value: float | None
    low: float | None
    high: float | None
    paper: float | None
    start: float
    end: float


Cell = str | int | float | bool | Estimate | Range | tuple[float, float] | None


def is_numeric(cells: Sequence[Cell]) -> bool:
    """Whether a column holds numbers only (or nothing), so that it is set flush right."""
    return all(cell is None or isinstance(cell, int) or _numbers(cell) for cell in cells)


def decimals(cells: Sequence[Cell]) -> int:
    """Decimal places for a column: three or four digits, or one more if its numbers were given with it."""
    numbers = [number for cell in cells for number in _numbers(cell)]
    enough = _enough_decimals(max(map(abs, numbers), default=0.0))
    # Numbers copied from a paper are short decimals, and we show all of them.
    given = max((len(repr(number).partition(".")[2]) for number in numbers), default=0)
    return given if given == enough + 1 else enough


def _enough_decimals(largest: float) -> int:
    if largest >= 1000:
        return 0
    if largest >= 10:
        return 1
    if largest >= 1:
        return 2
    if largest == 0:
        return 1
    return min(6, 2 - math.floor(math.log10(largest)))


def write(cell: Cell, places: int) -> str:
    """A cell as plain text; an `Estimate` gives its value only.

    Args:
        cell: The cell.
        places: Decimal places of floats.
    """
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Estimate):
        return write_number(cell.value, places)
    if isinstance(cell, tuple) and not isinstance(cell, Range):
        return write_interval(*cell, places)
    if isinstance(cell, float):
        return write_number(cell, places)
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def write_number(number: float, places: int) -> str:
    """A number with a real minus sign, so that digits stay aligned."""
    text = f"{number:,.{places}f}"
    if text.startswith("-"):
        text = text[1:] if float(text.replace(",", "")) == 0 else "−" + text[1:]
    return text


def write_interval(low: float, high: float, places: int) -> str:
    """`[low, high]`."""
    return f"[{write_number(low, places)}, {write_number(high, places)}]"


def to_json(cell: Cell) -> Any:
    """A cell as a JSON value that `from_json` turns back."""
    if isinstance(cell, Estimate):
        return {"estimate": list(cell)}
    if isinstance(cell, Range):
        return {"range": list(cell)}
    return {"interval": list(cell)} if isinstance(cell, tuple) else cell


def from_json(value: Any) -> Cell:
    """The cell that `to_json` wrote."""
    if not isinstance(value, dict):
        return value
    ((kind, numbers),) = value.items()
    kinds: dict[str, Any] = {"estimate": Estimate._make, "range": Range._make, "interval": tuple}
    return kinds[kind](numbers)


def _numbers(cell: Cell) -> list[float]:
    """The floats of a cell; counts (int) are written without decimals and are no part of a column's scale."""
    if isinstance(cell, float):
        return [cell]
    if isinstance(cell, tuple) and not isinstance(cell, Range):
        return [float(number) for number in cell if number is not None]
    return []
