"""The report of one or several audited models: what they can do, where they fail, and what needs no reasoning."""

from collections.abc import Mapping, Sequence
from typing import Any

from intarsia.audit.causal.results import AuditResult, Row
from intarsia.audit.failures import told
from intarsia.errors import InputError
from intarsia.experiments import plots
from intarsia.experiments.cells import Cell, Estimate
from intarsia.experiments.records import Figure
from intarsia.experiments.report import Highlight, Report, Section, Table
from intarsia.metrics.shares import wilson

TASK_NAMES = {"CP": "causal paths", "BA": "adjustment sets", "FI": "facts", "CI": "counterfactuals"}

_FAILURES = {
    "unparsable": "cannot be read",
    "unknown_name": "unknown name",
    "forbidden_node": "forbidden factor",
    "open_backdoor_path": "backdoor path left open",
    "opened_collider": "collider opened",
    "wrong_paths": "wrong or missing path",
    "wrong_state": "wrong state",
    "missing_state": "event not judged",
    "rejected": "rejected by the rule",
}
_CRITERIA = {
    "adjustment": "the adjustment criterion, which is sound and complete",
    "backdoor": "Pearl's backdoor criterion, which is stricter than need be",
    "released": "the rule of the published code, which is faulty",
}


def audit_report(results: Sequence[AuditResult], provenance: Mapping[str, Any] | None = None) -> Report:
    """Returns the page of one model, or of several on the same questions.

    Args:
        results: One result a model.
        provenance: Where the numbers come from.

    Raises:
        InputError: If there is no result.
    """
    if not results:
        raise InputError("there is no result to report")
    sections = [_overview(results)]
    for result in results:
        sections += _of_model(result, prefix=f"{result.model}: " if len(results) > 1 else "")
    models = ", ".join(result.model for result in results)
    return Report(
        f"Causal audit of {models}" if len(results) <= 3 else f"Causal audit of {len(results)} models",
        _intro(results),
        sections,
        _highlights(results[0]) if len(results) == 1 else (),
        provenance or {},
    )


def _intro(results: Sequence[AuditResult]) -> str:
    first = results[0]
    criteria = list(dict.fromkeys(_CRITERIA[result.criterion] for result in results))
    text = (
        "Questions about random causal graphs with invented names, which nobody can have memorised. Every answer key "
        "is proved.\n\nAn answer counts if it is right as a whole. Adjustment sets are judged by "
        f"{' and '.join(criteria)}."
    )
    if len(results) == 1 and first.unanswered:
        text += f"\n\n{_of(first.unanswered, first.questions)} questions got no reply and are in no share."
    return text


def _highlights(result: AuditResult) -> list[Highlight]:
    return [
        Highlight(
            f"of {TASK_NAMES[row['task']]} right",
            f"{100 * row['accuracy']:.1f} %",
            # No line break within "n = 120".
            f"95 % interval {100 * row['low']:.1f} to {100 * row['high']:.1f}, n\u00a0=\u00a0{row['n']:,}",
        )
        for row in result.by_task
    ]


def _overview(results: Sequence[AuditResult]) -> Section:
    tasks = _unique(row["task"] for result in results for row in result.by_task)
    systems: dict[str, dict[str, Cell]] = {}
    for result in results:
        systems[result.model] = {row["task"]: _percent(row) for row in result.by_task}
    # On the same questions baselines are the same; where models were asked different ones, those of the first stand.
    for row in results[0].baselines:
        systems.setdefault(row["system"], {})[row["task"]] = _percent(row)
    table = Table(
        ["System", *tasks],
        [[name, *(cells.get(task) for task in tasks)] for name, cells in systems.items()],
        "Right answers, %",
        f"{', '.join(f'{task}: {TASK_NAMES[task]}' for task in tasks)}. Baselines need no reasoning; a dash means that "
        "one does not answer the task.",
        highlight=list(range(len(results))),
    )
    groups = {
        TASK_NAMES[task]: {
            name: _estimate(cells[task]) for name, cells in systems.items() if isinstance(cells.get(task), Estimate)
        }
        for task in tasks
    }
    figures = []
    if len(results) > 1:
        models = {result.model for result in results}
        figures.append(
            plots.bar_with_intervals(
                {task: {name: value for name, value in row.items() if name in models} for task, row in groups.items()},
                title="Right answers by task",
                label="right answers, %",
            )
        )
    return Section("What is right", tables=[table], figures=figures)


def _of_model(result: AuditResult, prefix: str) -> list[Section]:
    sections = [
        Section(
            f"{prefix}by level" if prefix else "By level",
            "The level is the number of nodes in every tier of the graph.",
            tables=[_levels(result), _details(result)],
            figures=[_level_figure(result)],
        )
    ]
    if result.by_steps:
        sections.append(
            Section(
                f"{prefix}by derivation steps" if prefix else "By derivation steps",
                "Steps are the events that must be evaluated. More what-ifs do not mean more steps but fewer: every "
                "what-if cuts off the causes of what it supposes.",
                tables=[_steps(result), *_what_ifs(result)],
                figures=[_steps_figure(result)],
            )
        )
    sections.append(_failures(result, f"{prefix}why answers are wrong" if prefix else "Why answers are wrong"))
    if result.names:
        sections.append(_names(result, f"{prefix}names compared" if prefix else "Names compared"))
    if result.extraction:
        sections.append(_extraction(result, f"{prefix}who reads the replies" if prefix else "Who reads the replies"))
    return sections


def _levels(result: AuditResult) -> Table:
    """Tasks by levels; name and prompt styles have columns where there are several."""
    levels = _unique(row["level"] for row in result.table)
    varied = [name for name in ("names", "prompt") if len(_unique(row[name] for row in result.table)) > 1]
    cells: dict[tuple[str, ...], dict[int, Cell]] = {}
    for row in result.table:
        cells.setdefault((row["task"], *(row[name] for name in varied)), {})[row["level"]] = _percent(row)
    rows: list[list[Cell]] = [[*head, *(of_head.get(level) for level in levels)] for head, of_head in cells.items()]
    return Table(["Task", *(name.capitalize() for name in varied), *map(_level, levels)], rows, "Right answers, %")


def _level(level: int) -> str:
    return f"level {level}" if level else "own graphs"


def _level_figure(result: AuditResult) -> Figure:
    counts: dict[str, dict[str, tuple[int, int]]] = {}
    for row in result.table:
        of_task = counts.setdefault(row["task"], {})
        right, n = of_task.get(_level(row["level"]), (0, 0))
        of_task[_level(row["level"])] = (right + round(row["accuracy"] * row["n"]), n + row["n"])
    several = len(_unique((row["names"], row["prompt"]) for row in result.table)) > 1
    return plots.bar_with_intervals(
        {task: {level: _share(*count) for level, count in of_task.items()} for task, of_task in counts.items()},
        title="Right answers by task and level",
        label="right answers, %",
        caption="All name and prompt styles together." if several else "",
    )


def _share(right: int, n: int) -> Estimate:
    value, low, high, _ = wilson(right, n)
    return Estimate(100 * value, 100 * low, 100 * high)


def _details(result: AuditResult) -> Table:
    rows: list[list[Cell]] = []
    for row in result.by_task:
        measures = [row[name] for name in ("unparsable", "precision", "recall", "f1", "nodes_right", "minimal")]
        rows.append([row["task"], row["n"], *(None if value is None else 100 * float(value) for value in measures)])
    columns = [
        "Task",
        "Replies",
        "Cannot be read",
        "Path precision",
        "Path recall",
        "Path F1",
        "Events right",
        "Minimal",
    ]
    kept = [index for index in range(len(columns)) if index < 3 or any(row[index] is not None for row in rows)]
    return Table(
        [columns[index] for index in kept],
        [[row[index] for index in kept] for row in rows],
        "Further measures, %",
        "Path measures are of CP; events right of FI and CI; minimal is the share of valid sets from which nothing can "
        "be left out.",
    )


def _steps(result: AuditResult) -> Table:
    rows: list[list[Cell]] = [
        [row["task"], _range(row["from"], row["to"]), _percent(row), row["n"]] for row in result.by_steps
    ]
    return Table(["Task", "Steps", "Right, %", "Replies"], rows, "By derivation steps", folded=True)


def _range(least: float, most: float) -> str:
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def _steps_figure(result: AuditResult) -> Figure:
    places = sorted({(row["from"] + row["to"]) / 2 for row in result.by_steps})
    series: dict[str, list[float | None]] = {}
    for row in result.by_steps:
        values = series.setdefault(TASK_NAMES[row["task"]], [None] * len(places))
        values[places.index((row["from"] + row["to"]) / 2)] = 100 * row["accuracy"]
    return plots.lines(
        places,
        series,
        title="Right answers by derivation steps",
        xlabel="derivation steps (middle of the bin)",
        ylabel="right answers, %",
    )


def _what_ifs(result: AuditResult) -> list[Table]:
    if not result.by_what_ifs:
        return []
    counts = _unique(row["what_ifs"] for row in result.by_what_ifs)
    levels = _unique(row["level"] for row in result.by_what_ifs)
    cells = {(row["level"], row["what_ifs"]): _percent(row) for row in result.by_what_ifs}
    return [
        Table(
            ["Level", *(f"{count} what-if{'s' if count > 1 else ''}" for count in counts)],
            [[_level(level), *(cells.get((level, count)) for count in counts)] for level in levels],
            "Counterfactuals by the number of what-ifs, %",
        )
    ]


def _failures(result: AuditResult, title: str) -> Section:
    counts = {row["task"]: row["n"] for row in result.by_task}
    kinds = [kind for kind in _FAILURES if any(kind in of_task for of_task in result.failures.values())]
    if not kinds:
        return Section(title, "No reply is wrong.")
    rows: list[list[Cell]] = [
        [_FAILURES[kind], *(of_task.get(kind, 0) if kind in of_task else None for of_task in result.failures.values())]
        for kind in kinds
    ]
    table = Table(
        ["Why", *result.failures],
        rows,
        "Wrong replies",
        f"Of {', '.join(f'{n:,} {task}' for task, n in counts.items())}.",
    )
    figures = []
    found = result.failures.get("BA", {})
    if found:
        figures.append(
            plots.bar_with_intervals(
                {_FAILURES[kind]: {"BA": 100 * count / counts["BA"]} for kind, count in found.items()},
                title="Why adjustment sets are wrong",
                label="of the replies, %",
            )
        )
    unread = sum(of_task.get("unparsable", 0) for of_task in result.failures.values())
    text = f"{_of(unread, sum(counts.values()))} replies cannot be read; they count as wrong." if unread else ""
    if result.errors:
        why = told(result.errors)
        text = f"{text}\n\n{_of(result.unanswered, result.questions)} questions got no reply: {why}".strip()
    return Section(title, text, tables=[table], figures=figures)


def _names(result: AuditResult, title: str) -> Section:
    rows: list[list[Cell]] = [
        [
            f"{row['first']} and {row['second']}",
            "all tasks" if row["task"] == "all" else row["task"],
            row["n"],
            row["first_only"],
            row["second_only"],
            100 * row["difference"],
            _p(row["p_value"]),
        ]
        for row in result.names
    ]
    table = Table(
        ["Names", "Task", "Pairs", "First only", "Second only", "Difference, points", "p"],
        rows,
        "The same problems in two name styles",
        "First only: right in the first style, wrong in the second. p is McNemar's exact test.",
    )
    figure = plots.bar_with_intervals(_by_style(result), title="Right answers by name style", label="right answers, %")
    return Section(title, tables=[table], figures=[figure])


def _by_style(result: AuditResult) -> dict[str, dict[str, Estimate | float]]:
    """Task -> name style -> share, in the order in which the styles are compared."""
    styles = _unique(style for row in result.names for style in (row["first"], row["second"]))
    groups: dict[str, dict[str, Estimate | float]] = {}
    for task in _unique(row["task"] for row in result.table):
        for style in styles:
            rows = [row for row in result.table if (row["task"], row["names"]) == (task, style)]
            if rows:
                right = sum(round(row["accuracy"] * row["n"]) for row in rows)
                groups.setdefault(task, {})[style] = _share(right, sum(row["n"] for row in rows))
    return groups


def _extraction(result: AuditResult, title: str) -> Section:
    rows: list[list[Cell]] = [
        [
            row["task"],
            row["n"],
            _percent(row["rules"]),
            _percent(row["with_model"]),
            100 * row["unparsable_by_rules"],
            100 * row["unparsable_with_model"],
        ]
        for row in result.extraction
    ]
    columns = ["Task", "Replies", "Right: rules", "Right: with model", "Unread: rules", "Unread: with model"]
    text = "What the rules could not read was given to a model, which wrote out the final answer of the reply."
    return Section(title, text, tables=[Table(columns, rows, "By who reads, %")])


def _percent(row: Row) -> Estimate:
    return Estimate(100 * row["accuracy"], 100 * row["low"], 100 * row["high"])


def _estimate(cell: Cell) -> Estimate:
    assert isinstance(cell, Estimate)
    return cell


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _of(count: int, total: int) -> str:
    return f"{count:,} of {total:,}"


def _unique(values: Any) -> list[Any]:
    return list(dict.fromkeys(values))
