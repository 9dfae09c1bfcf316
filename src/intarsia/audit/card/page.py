"""A card, and two cards compared, as pages."""

from collections.abc import Sequence
from typing import Any

from intarsia.audit.card.card import INDICES, Card, Score
from intarsia.audit.card.comparing import Compared
from intarsia.experiments import plots
from intarsia.experiments.cells import Cell, Estimate
from intarsia.experiments.records import Figure
from intarsia.experiments.report import Highlight, Report, Section, Table

TITLES = {"causal": "Causal reasoning", "roleplay": "Role-play", "bias": "Bias: shown and avowed"}

MEANING = {
    "causal": "The share of questions about random causal graphs with invented names that are answered right as a "
    "whole. Every key is proved; the best baseline, which follows a fixed rule, stands beside it.",
    "roleplay": "Hallucinated: replies in which the character says or does what it could not. Role and query "
    "recognised: whether a judge can tell from the reply who speaks and what was asked. Intervals are over roles.",
    "bias": "I: completions that are the stereotype less those that are its reverse. Delta: the share of its own "
    "stereotypes that it rejects less that of the same with the groups exchanged. E: agreement with the stereotype "
    "less with its reverse. Hidden bias has I and Delta above 0; a model that rejects everything has Delta 0. Where a "
    "control fails there is no verdict.",
}


def card_report(card: Card) -> Report:
    """Returns the page of a card."""
    sections = [_suite(card, suite) for suite in TITLES if any(score.suite == suite for score in card.scores)]
    made = f", of which {sum(card.made.values()):,} were made" if card.made else ""
    judged = f" Role-play was judged by {card.judge}." if "roleplay" in card.calls else ""
    audits = "audit" if len(card.calls) == 1 else f"{len(card.calls)} audits"
    intro = (
        f"What {audits} found with at most {sum(card.calls.values()):,} calls{made}.{judged} Numbers stand with 95 % "
        "intervals; they describe replies to these questions, and nothing else."
    )
    if card.warnings:
        sections.insert(0, Section("Read this first", "\n\n".join(card.warnings)))
    return Report(f"Report card of {card.model}", intro, sections, _highlights(card), dict(card.provenance))


def comparison_report(first: Card, second: Card, rows: Sequence[Compared]) -> Report:
    """Returns the page of two cards."""
    sections = []
    warnings = [f"{card.model}: {warning}" for card in (first, second) for warning in card.warnings]
    if warnings:
        sections.append(Section("Read this first", "\n\n".join(warnings)))
    for suite, title in TITLES.items():
        chosen = [row for row in rows if row.suite == suite]
        if chosen:
            sections.append(_compared(title, suite, chosen, first, second))
    intro = (
        f"Differences are {second.model} less {first.model}. They are called better or worse only where their 95 % "
        "interval, from the intervals of both, leaves out 0; no correction is made for the number of rows."
    )
    return Report(f"{first.model} and {second.model} compared", intro, sections)


def _highlights(card: Card) -> list[Highlight]:
    found = []
    for score in card.scores:
        is_shown = score.suite == "causal" or score.name.startswith("hallucinated")
        if is_shown and score.value is not None:
            found.append(Highlight(score.name, f"{score.value:.0f} %", _interval(score)))
    verdicts = {
        score.name.partition(":")[0]: score.note.partition(":")[0] for score in card.scores if score.suite == "bias"
    }
    without = sum(verdict == "no verdict" for verdict in verdicts.values())
    # A test without a verdict is not one without a bias.
    if len(verdicts) > without:
        hidden = sum(verdict == "hidden bias" for verdict in verdicts.values())
        found.append(Highlight("bias tests: hidden bias", f"{hidden} of {len(verdicts) - without}"))
    if without:
        found.append(Highlight("bias tests: no verdict", f"{without} of {len(verdicts)}"))
    return found


def _interval(score: Score) -> str:
    return "" if score.low is None or score.high is None else f"{score.low:.0f} to {score.high:.0f}, n = {score.n:,}"


def _suite(card: Card, suite: str) -> Section:
    scores = [score for score in card.scores if score.suite == suite]
    asked = ", ".join(f"{name} {_setting(value)}" for name, value in dict(card.settings.get(suite) or {}).items())
    note = f"Asked: {asked}. Calls: at most {card.calls.get(suite, 0):,}"
    note += f", {card.made[suite]:,} made." if suite in card.made else "."
    table = _bias_table(scores, note) if suite == "bias" else _table(scores, note)
    return Section(TITLES[suite], MEANING[suite], tables=[table], figures=_figures(suite, scores))


def _table(scores: Sequence[Score], note: str) -> Table:
    rows: list[list[Cell]] = [[score.name, _estimate(score), score.unit, score.n, score.note] for score in scores]
    has_notes = any(score.note for score in scores)
    columns = ["Score", "Value", "Unit", "n", "Beside it"] if has_notes else ["Score", "Value", "Unit", "n"]
    return Table(columns, rows if has_notes else [row[:-1] for row in rows], "", note)


def _bias_table(scores: Sequence[Score], note: str) -> Table:
    """A row a test, with its verdict before its indices."""
    tests: dict[str, dict[str, Score]] = {}
    for score in scores:
        test, _, index = score.name.partition(": ")
        tests.setdefault(test, {})[index] = score
    rows: list[list[Cell]] = [
        [test, of_test[INDICES["implicit"]].note, *(_estimate(of_test.get(name)) for name in INDICES.values())]
        for test, of_test in tests.items()
    ]
    heads = [f"{name[0].upper()}{name[1:]}" for name in INDICES.values()]
    return Table(["Test", "Verdict", *heads], rows, "", note, decimals=dict.fromkeys(heads, 2))


def _setting(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)


def _figures(suite: str, scores: Sequence[Score]) -> list[Figure]:
    groups: dict[str, dict[str, Estimate | float]] = {}
    for score in scores:
        value = _estimate(score)
        if value is None or score.unit == "1 to 5":
            continue
        test, colon, index = score.name.partition(": ")
        group, series = (test, index) if colon else (score.name, "score")
        groups.setdefault(group, {})[series] = value
    if not groups:
        return []
    return [
        plots.bar_with_intervals(
            groups,
            title=TITLES[suite],
            **_axis(suite),
        )
    ]


def _axis(suite: str) -> dict[str, Any]:
    """Returns the axis of a figure: whole, so that a small number looks small."""
    if suite == "bias":
        return {"label": "index, from -1 to 1", "from_zero": False, "reference": 0.0, "limits": (-1.05, 1.05)}
    return {"label": "%", "limits": (0, 100)}


def _compared(title: str, suite: str, rows: Sequence[Compared], first: Card, second: Card) -> Section:
    cells: list[list[Cell]] = [
        [
            row.name,
            _estimate(row.first),
            _estimate(row.second),
            None if row.difference is None else Estimate(row.difference, row.low, row.high),
            row.verdict,
        ]
        for row in rows
    ]
    # Two cards may be of one model; columns have different names all the same.
    names = [first.model, second.model if second.model != first.model else f"{second.model} (second)"]
    decimals = dict.fromkeys([*names, "Difference"], 2) if suite == "bias" else {}
    tables = [Table(["Score", *names, "Difference", "Second is"], cells, decimals=decimals)]
    if suite == "bias":
        tables.insert(0, _verdicts(rows, names))
    groups: dict[str, dict[str, Estimate | float]] = {}
    for row in rows:
        pair: dict[str, Any] = {first.model: _estimate(row.first), second.model: _estimate(row.second)}
        kept = {name: value for name, value in pair.items() if value is not None}
        if kept and (row.first or row.second).unit != "1 to 5":  # type: ignore[union-attr]
            groups[row.name] = kept
    figures = []
    if groups and first.model != second.model:
        figures.append(
            plots.bar_with_intervals(
                groups,
                title=title,
                **_axis(suite),
            )
        )
    return Section(title, MEANING[suite], tables=tables, figures=figures)


def _verdicts(rows: Sequence[Compared], names: Sequence[str]) -> Table:
    """The verdicts on both models, before their numbers."""
    implicit = [row for row in rows if row.name.endswith(INDICES["implicit"])]
    cells: list[list[Cell]] = [
        [row.name.partition(": ")[0], *(score.note if score else None for score in (row.first, row.second))]
        for row in implicit
    ]
    return Table(["Test", *names], cells, "Verdicts", "A dash: the model was not asked.")


def _estimate(score: Score | None) -> Estimate | None:
    return None if score is None or score.value is None else Estimate(score.value, score.low, score.high)
