"""Reports: one self-contained HTML file with prose, tables, pictures and where the numbers come from.

The page asks nothing of the network and runs no script (its content security policy forbids both), reads on a phone,
in the dark and on paper.

    report = Report("Four experts in one model", "What was merged ...", [Section("Scores", tables=[table])])
    write_report(report, "runs/mine")      # runs/mine/report.html, and report.json to render it again
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

import intarsia
from intarsia import files
from intarsia.errors import DataError, InputError
from intarsia.experiments import cells
from intarsia.experiments.cells import Cell, Estimate, Range
from intarsia.experiments.records import Claim, Figure


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a report.

    Args:
        columns: Headings.
        rows: Cells, one per column: text, numbers, None (a dash), `Estimate`, `Range`, or a `(low, high)` pair.
            Number columns are set flush right with the same number of decimals.
        title: Heading.
        caption: What to read from it.
        highlight: Indices of the rows to set off.
        folded: Whether it starts closed, for long tables.
        decimals: Decimal places by heading, where the column's own numbers should not decide.

    Raises:
        DataError: If a row has not as many cells as there are columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    caption: str = ""
    highlight: Sequence[int] = ()
    folded: bool = False
    decimals: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise DataError(
                    f"row {index} of table {self.title!r} has {len(row)} cells for {len(self.columns)} columns"
                )


@dataclass(frozen=True, slots=True)
class Highlight:
    """One number at the top of a report.

    Args:
        label: What it is.
        value: The number as it is to be read, e.g. `"97.3"`.
        note: A few words below it, e.g. the interval.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report, shown in this order: text, claims, tables, figures, provenance.

    Args:
        title: Heading.
        text: Paragraphs separated by blank lines; `` `code` `` is set as code. Nothing else is interpreted.
        claims: Statements with their verdicts.
        tables: Tables.
        figures: Pictures.
        provenance: As in `Report`, for pages that show several runs.
    """

    title: str
    text: str = ""
    claims: Sequence[Claim] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """A whole page.

    Args:
        title: Heading and name of the page.
        intro: Paragraphs below it; the first is set larger.
        sections: Its parts.
        highlights: A few numbers to see first.
        provenance: What `provenance.collect` gives, `wall_seconds` and anything else worth knowing.
    """

    title: str
    intro: str = ""
    sections: Sequence[Section] = ()
    highlights: Sequence[Highlight] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def render(report: Report) -> str:
    """The report as one HTML document."""
    return _template().render(report=report, version=intarsia.__version__, anchors=_anchors(report.sections))


def write_report(report: Report, folder: str | Path) -> Path:
    """Writes `report.json` and `report.html` into a folder, each atomically.

    Returns:
        The path of the HTML file.
    """
    page = Path(folder) / "report.html"
    files.write_json(Path(folder) / "report.json", to_json(report))
    files.write_text(page, render(report))
    return page


def to_json(report: Report) -> dict[str, Any]:
    """The report as JSON values, for `from_json`."""
    content = asdict(report)
    for section, written in zip(report.sections, content["sections"], strict=True):
        for table, table_content in zip(section.tables, written["tables"], strict=True):
            table_content["rows"] = [[cells.to_json(cell) for cell in row] for row in table.rows]
    return content


def from_json(content: Any, *, where: str | Path | None = None) -> Report:
    """The report that `to_json` wrote.

    Args:
        content: The JSON value.
        where: The file, for the message.

    Raises:
        DataError: If it is not a report.
    """
    try:
        sections = [
            Section(
                **{
                    **section,
                    "claims": [Claim(**claim) for claim in section["claims"]],
                    "figures": [Figure(**figure) for figure in section["figures"]],
                    "tables": [
                        Table(**{**table, "rows": [[cells.from_json(cell) for cell in row] for row in table["rows"]]})
                        for table in section["tables"]
                    ],
                }
            )
            for section in content["sections"]
        ]
        highlights = [Highlight(**highlight) for highlight in content["highlights"]]
        return Report(**{**content, "sections": sections, "highlights": highlights})
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"not a report written by Intarsia: {error}", file=where, fix="run the command that made it again"
        ) from None


def rebuild(folder: str | Path, *, output: str | Path | None = None) -> Path:
    """Renders the report of a folder again: of its `report.json`, or else of all result files below it.

    Args:
        folder: A run folder, or a folder such as `results/`.
        output: The HTML file to write; by default `report.html` in the folder.

    Returns:
        The path of the HTML file.

    Raises:
        InputError: If the folder is missing or holds neither.
    """
    from intarsia.experiments.result_page import results_report

    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("folder not found", where=folder)
    saved = folder / "report.json"
    report = from_json(files.read_json(saved), where=saved) if saved.is_file() else results_report(folder)
    page = Path(output) if output is not None else folder / "report.html"
    files.write_text(page, render(report))
    return page


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("intarsia.experiments", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": _prose, "duration": write_duration, "svg": _inline_svg, "words": _words}
    environment.globals |= {"columns_of": _columns, "is_range": lambda cell: isinstance(cell, Range)}
    return environment.get_template("report.html.jinja")


def _prose(text: str) -> Markup:
    paragraphs = [paragraph for paragraph in re.split(r"\n\s*\n", text.strip()) if paragraph]
    return Markup("\n").join(Markup("<p>%s</p>") % _inline(paragraph) for paragraph in paragraphs)


def _inline(text: str) -> Markup:
    parts = text.split("`")
    if len(parts) % 2 == 0:  # an unpaired backtick is just a character
        return escape(text)
    return Markup("").join(
        Markup("<code>%s</code>") % part if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def _inline_svg(figure: Figure) -> Markup:
    # Figures are made by our own plots; a report.json from elsewhere cannot do harm either, because the page's
    # content security policy lets nothing in an SVG run or load.
    return Markup(figure.svg)


def write_duration(seconds: float) -> str:
    """A duration in the two units that matter, e.g. `"12 min 4 s"`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _words(key: str) -> str:
    return key.replace("_gib", " (GiB)").replace("_", " ")


def _anchors(sections: Sequence[Section]) -> list[str]:
    anchors: list[str] = []
    for section in sections:
        base = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
        repeats = sum(1 for anchor in anchors if re.fullmatch(rf"{base}(-\d+)?", anchor))
        anchors.append(f"{base}-{repeats + 1}" if repeats else base)
    return anchors


@dataclass(frozen=True, slots=True)
class _Column:
    """A table column ready for the template: its heading, whether it is flush right, and its written cells."""

    heading: str
    numeric: bool
    texts: list[str]
    intervals: list[str]


def _columns(table: Table) -> list[_Column]:
    columns = []
    for index, heading in enumerate(table.columns):
        column: list[Cell] = [row[index] for row in table.rows]
        places = table.decimals.get(heading, cells.decimals(column))
        intervals = [
            cells.write_interval(cell.low, cell.high, places)
            if isinstance(cell, Estimate) and cell.low is not None and cell.high is not None
            else ""
            for cell in column
        ]
        texts = [cells.write(cell, places) for cell in column]
        columns.append(_Column(heading, cells.is_numeric(column), texts, intervals))
    return columns
