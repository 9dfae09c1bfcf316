"""Result files as report pages: one run, or a whole tree of results."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intarsia import files
from intarsia.errors import InputError
from intarsia.experiments import registry
from intarsia.experiments.cells import Cell, Estimate, Range, decimals
from intarsia.experiments.records import Claim, Figure, Result, Row, is_result, read_result
from intarsia.experiments.report import Highlight, Report, Section, Table, write_duration

# With fewer rows than this a plain list reads better than a systems-by-datasets table.
_PIVOT_FROM = 9


def result_report(result: Result, figures: Sequence[Figure] = ()) -> Report:
    """The page of one result, with the figures of its run."""
    title, paper = _title_and_paper(result.experiment)
    sections = [Section("Numbers", _READING, tables=_tables(result.rows))]
    if result.claims:
        sections.insert(
            0, Section("Claims", "What the paper states, and whether it held here.", claims=judged_first(result.claims))
        )
    if figures:
        sections.append(Section("Pictures", figures=figures))
    if result.notes:
        sections.append(Section("Notes", "\n\n".join(result.notes)))
    return Report(
        title,
        f"{paper}\n\nReproduced at {result.scale} scale with seed {result.seed}.",
        sections,
        _highlights(result),
        _provenance(result),
    )


def results_report(folder: str | Path) -> Report:
    """One page of every result file in a folder and below it.

    Raises:
        InputError: If there is none.
    """
    results = find_results(folder)
    if not results:
        raise InputError(
            "no result files and no report.json in this folder",
            where=folder,
            fix="give the folder of a run, or one that `intarsia reproduce` wrote results to",
        )
    overview = Table(
        ["Experiment", "Scale", "Claims that hold", "Numbers", "Wall time", "Commit"],
        [
            [
                result.experiment,
                result.scale,
                count_claims(result.claims),
                len(result.rows),
                write_duration(result.wall_seconds),
                short_commit(result.commit),
            ]
            for result in results
        ],
    )
    sections = [Section("Overview", tables=[overview])]
    for result in results:
        title, paper = _title_and_paper(result.experiment)
        sections.append(
            Section(
                f"{title}, {result.scale} scale",
                "\n\n".join([paper, *result.notes]),
                claims=judged_first(result.claims),
                tables=_tables(result.rows),
                provenance=_provenance(result),
            )
        )
    return Report("What was reproduced", _READING, sections)


def find_results(folder: str | Path) -> list[Result]:
    """Reads all result files in a folder and below it, sorted by experiment and scale. Other JSON files are skipped.

    Raises:
        DataError: If a file has the fields of a result but wrong values.
    """
    paths = sorted(Path(folder).rglob("*.json"))
    return [read_result(path) for path in paths if is_result(files.read_json(path))]


def judged_first(claims: Sequence[Claim]) -> list[Claim]:
    """The claims in their order, those that a run could not judge behind the others."""
    return sorted(claims, key=lambda claim: claim.holds is None)


def count_claims(claims: Sequence[Claim]) -> str:
    """How many claims hold, in words: `"3 of 4"`, `"3 of 4, 1 not judged"`."""
    if not claims:
        return "–"
    unjudged = sum(claim.holds is None for claim in claims)
    text = f"{sum(claim.holds is True for claim in claims)} of {len(claims)}"
    return f"{text}, {unjudged} not judged" if unjudged else text


def short_commit(commit: str | None) -> str | None:
    """The first ten digits of a commit, with `-dirty` kept."""
    if commit is None:
        return None
    digits, dash, dirty = commit.partition("-")
    return digits[:10] + dash + dirty


_READING = (
    "Measured values carry their 95 % interval in brackets; a dash means the value was not given or not measured. In "
    "the drawings a dot is the measured value, the line its interval, and the diamond the value of the paper."
)


def _title_and_paper(slug: str) -> tuple[str, str]:
    if slug not in registry.names():
        return slug, ""
    experiment = registry.get(slug)
    return experiment.title, experiment.paper


def _provenance(result: Result) -> Mapping[str, Any]:
    return {
        "command": result.command,
        "commit": result.commit,
        "seed": result.seed,
        "wall_seconds": result.wall_seconds,
        "hardware": result.hardware,
        "versions": result.versions,
    }


def _highlights(result: Result) -> list[Highlight]:
    highlights = [Highlight("wall time", write_duration(result.wall_seconds), result.hardware.get("cpu", ""))]
    if result.claims:
        highlights.insert(0, Highlight("claims that hold", *_split_count(count_claims(result.claims))))
    return highlights


def _split_count(text: str) -> tuple[str, str]:
    count, _, rest = text.partition(", ")
    return count, rest


def _tables(rows: Sequence[Row]) -> list[Table]:
    """Per metric: a short one as a list; a long one as systems by datasets, then the paper's rows, then all, folded."""
    tables = []
    for metric in _unique(row.metric for row in rows):
        group = [row for row in rows if row.metric == metric]
        datasets = _unique(row.dataset for row in group)
        if len(datasets) == 1 or len(group) < _PIVOT_FROM:
            tables.append(_list(group, _capital(metric)))
            continue
        tables.append(_pivot(group, datasets, _capital(metric)))
        published = [row for row in group if row.paper is not None]
        if published:
            tables.append(_list(published, f"{_capital(metric)}: paper and measured"))
        tables.append(_list(group, f"{_capital(metric)}: all rows", folded=True))
    return tables


def _pivot(rows: Sequence[Row], datasets: Sequence[str], title: str) -> Table:
    cells: dict[tuple[str, str], Cell] = {
        (row.system, row.dataset): Estimate(row.measured, row.low, row.high) for row in rows if row.measured is not None
    }
    systems = _unique(row.system for row in rows)
    return Table(
        ["System", *datasets],
        [[system, *(cells.get((system, dataset)) for dataset in datasets)] for system in systems],
        title,
    )


def _list(rows: Sequence[Row], title: str, *, folded: bool = False) -> Table:
    """System, dataset (if there are several), paper, measured, interval, n, drawing: columns without content go."""
    several = len({row.dataset for row in rows}) > 1
    columns: dict[str, list[Cell]] = {"System": [row.system for row in rows]}
    if several:
        columns["Dataset"] = [row.dataset for row in rows]
    columns["Paper"] = [row.paper for row in rows]
    columns["Measured"] = [row.measured for row in rows]
    columns["95 % interval"] = [
        (row.low, row.high) if row.low is not None and row.high is not None else None for row in rows
    ]
    columns["n"] = [row.n for row in rows]
    kept = {
        name: cells
        for name, cells in columns.items()
        if name in ("Paper", "Measured") or any(c is not None for c in cells)
    }
    drawings = _ranges(rows)
    if drawings:
        kept[""] = drawings
    caption = "" if several else f"Measured on {rows[0].dataset}."
    places = decimals([*columns["Measured"], *columns["95 % interval"]])
    return Table(
        list(kept),
        list(zip(*kept.values(), strict=True)),
        title,
        caption,
        folded=folded,
        decimals={"Measured": places, "95 % interval": places},
    )


def _ranges(rows: Sequence[Row]) -> list[Cell]:
    """The drawings; rows on the same dataset share a scale. None where no dataset has two values to compare."""
    ends: dict[str, tuple[float, float]] = {}
    for dataset in _unique(row.dataset for row in rows):
        numbers = [
            number
            for row in rows
            if row.dataset == dataset
            for number in (row.paper, row.measured, row.low, row.high)
            if number is not None
        ]
        ends[dataset] = (min(numbers), max(numbers))
    if all(start == end for start, end in ends.values()):
        return []
    return [Range(row.measured, row.low, row.high, row.paper, *ends[row.dataset]) for row in rows]


def _unique(names: Any) -> list[str]:
    return list(dict.fromkeys(names))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
