"""The report of one or several models: indices with their meaning beside them, controls first, verdicts last."""

from collections.abc import Mapping, Sequence
from typing import Any

from intarsia.audit.bias.indices import completions_needed, pairs_needed
from intarsia.audit.bias.results import BiasResult, Row
from intarsia.audit.bias.verdicts import VERDICTS
from intarsia.errors import InputError
from intarsia.experiments import plots
from intarsia.experiments.cells import Cell, Estimate
from intarsia.experiments.records import Figure
from intarsia.experiments.report import Highlight, Report, Section, Table

INDICES = {
    "I": "Implicit: stereotypes less reverses among its completions. 1: always the stereotype; 0: as often the "
    "reverse; -1: never.",
    "E": "Explicit: its agreement with stereotypes less that with the same statements with the groups exchanged. "
    "0: it treats both alike, whether it rejects or accepts them.",
    "RJI": "Re-judge inconsistency: the share of stereotypes it wrote itself and rejects when asked. High for a model "
    "that rejects everything, so it says nothing without the next one.",
    "Twins": "The share it rejects of the same statements with the groups exchanged, which it did not write.",
    "Delta": "Stereotype-specific inconsistency: RJI less Twins. Above 0 only if it rejects the stereotype more than "
    "its reverse; a model with one belief, shown and avowed alike, has Delta = -I.",
    "d'": "The same as Delta in units that do not depend on how ready it is to reject at all. 0: it cannot tell, or "
    "does not care.",
    "Gap": "I less E: how much more it shows than it avows.",
    "Unscored": "The share of judgements that are refusals or cannot be read; they are in no index.",
    "Coverage": "The share of completions that are the stereotype or its reverse; the rest are refusals or cannot be "
    "used.",
}
"""What each index means, in a sentence or two."""

_SERIES = {"I (completes)": "implicit", "E (avows)": "explicit", "Delta (rejects its own)": "delta"}


def bias_report(results: Sequence[BiasResult], provenance: Mapping[str, Any] | None = None) -> Report:
    """Returns the page of one model, or of several.

    Args:
        results: One result a model.
        provenance: Where the numbers come from.

    Raises:
        InputError: If there is no result.
    """
    if not results:
        raise InputError("there is no result to report")
    sections = [_compared(results)] if len(results) > 1 else []
    for result in results:
        sections += _of_model(result, f"{result.model}: " if len(results) > 1 else "")
    sections.insert(1, _meaning())
    sections.append(_power())
    models = ", ".join(result.model for result in results)
    return Report(
        f"Bias audit of {models}" if len(results) <= 3 else f"Bias audit of {len(results)} models",
        _intro(results),
        sections,
        _highlights(results[0]) if len(results) == 1 else (),
        provenance or {},
    )


def _intro(results: Sequence[BiasResult]) -> str:
    told = []
    for result in results:
        if problems := _problems(result):
            of = f" of {result.model}" if len(results) > 1 else ""
            told.append(f"There is no verdict on any test{of}, because a control failed: {'; '.join(problems)}.")
    first = "goes on with sentences" if any(result.form == "open" for result in results) else "completes statements"
    told += [
        f"Each model {first} about two groups of people, and then judges what it wrote. Rejecting what one wrote is no "
        "proof of anything by itself: every number below stands beside a control.",
        "Content warning: the statements behind these numbers are stereotypes. They are not printed here.",
    ]
    for result in results:
        if result.unanswered:
            prefix = f"{result.model}: " if len(results) > 1 else ""
            told.append(f"{prefix}{result.unanswered:,} of {result.items:,} items got no reply and are in no number.")
    return "\n\n".join(told)


def _problems(result: BiasResult) -> list[str]:
    """Returns which controls failed on the scale and in the context that verdicts rest on."""
    deciding = (result.contexts[0], result.scales[0])
    failed = [row for row in result.controls if (row["context"], row["scale"]) == deciding]
    return list(dict.fromkeys(problem for row in failed for problem in row["problems"]))


def _highlights(result: BiasResult) -> list[Highlight]:
    rows = _headline(result)
    counts = {name: sum(row["verdict"] == name for row in rows) for name in VERDICTS}
    # A test without a verdict is not one without a bias.
    decided = len(rows) - counts["no verdict"]
    found = {name: (counts[name], decided) for name in ("hidden bias", "open bias") if decided}
    if counts["no verdict"]:
        found["no verdict"] = (counts["no verdict"], len(rows))
    return [
        Highlight(f"{'test' if count == 1 else 'tests'}: {name}", f"{count} of {n}", _note(name))
        for name, (count, n) in found.items()
    ]


def _note(name: str) -> str:
    return {
        "hidden bias": "completes the stereotype, rejects it when asked",
        "open bias": "completes the stereotype and agrees with it",
        "no verdict": "a control failed or too little could be read",
    }[name]


def _headline(result: BiasResult) -> list[Row]:
    return [row for row in result.tests if row["context"] == result.contexts[0]]


def _of_model(result: BiasResult, prefix: str) -> list[Section]:
    return [
        _verdicts(result, prefix),
        _controls(result, prefix),
        _categories(result, prefix),
        _counts(result, prefix),
        _stability(result, prefix),
        *_variants(result, prefix),
    ]


def _title(prefix: str, title: str) -> str:
    return f"{prefix}{title[0].lower()}{title[1:]}" if prefix else title


def _compared(results: Sequence[BiasResult]) -> Section:
    verdicts = [{row["test"]: row["verdict"] for row in _headline(result)} for result in results]
    tests = list(dict.fromkeys(test for of_model in verdicts for test in of_model))
    rows: list[list[Cell]] = [[test, *(of_model.get(test) for of_model in verdicts)] for test in tests]
    table = Table(["Test", *(result.model for result in results)], rows, "", "A dash: the model was not asked.")
    return Section("Models beside one another", tables=[table])


def _verdicts(result: BiasResult, prefix: str) -> Section:
    rows: list[list[Cell]] = []
    for row in _headline(result):
        # What failed for all tests stands at the top of the page.
        own = [reason for reason in row["reasons"] if reason not in _problems(result)]
        why = f": {'; '.join(own)}" if own else ""
        rows.append(
            [
                row["test"],
                f"{row['verdict']}{why}",
                _estimate(row["implicit"]),
                _estimate(row["delta"]),
                _estimate(row["explicit"]),
                _percent(row["unscored"]),
            ]
        )
    table = Table(
        ["Test", "Verdict", "I: completes it", "Delta: rejects its own", "E: avows it", "Unscored, %"],
        rows,
        "Verdicts",
        "I: stereotypes less reverses among its completions. Delta: the share of its own stereotypes that it rejects, "
        "less that of the same statements with the groups exchanged. E: its agreement with stereotypes less with their "
        "reverses. All lie between -1 and 1, and 0 is no difference. Intervals are 95 %, over wordings and attribute "
        "pairs. Verdicts rest on p-values adjusted for the number of tests, and are given only where the controls "
        "below hold.",
        highlight=[place for place, row in enumerate(_headline(result)) if row["verdict"] == "hidden bias"],
        decimals={"I: completes it": 2, "Delta: rejects its own": 2, "E: avows it": 2},
    )
    used = [name for name in VERDICTS if any(row["verdict"] == name for row in _headline(result))]
    legend = Table(["Verdict", "What it says"], [[name, VERDICTS[name]] for name in used])
    text = (
        f"Judged in the context `{result.contexts[0]}`, on the scale `{result.scales[0]}`. A verdict describes replies "
        "to these questions; it does not say that a model knows or intends anything."
    )
    return Section(_title(prefix, "Verdicts"), text, tables=[table, legend])


def _meaning() -> Section:
    rows: list[list[Cell]] = [[name, text] for name, text in INDICES.items()]
    return Section("What the indices mean", tables=[Table(["Index", "Meaning"], rows)])


def _controls(result: BiasResult, prefix: str) -> Section:
    if not result.controls:
        return Section(
            _title(prefix, "Controls"), "No neutral statements were judged, so there is no verdict on any test."
        )
    rows: list[list[Cell]] = [
        [
            row["context"],
            row["scale"],
            _percent_estimate(row["true_rejected"]),
            _percent_estimate(row["false_rejected"]),
            _percent(row["unscored"]),
            "; ".join(row["problems"]) or "holds",
        ]
        for row in result.controls
    ]
    table = Table(
        ["Context", "Scale", "True ones rejected, %", "False ones rejected, %", "Unscored, %", "Control"],
        rows,
        "Neutral statements",
        "Statements about things, not people, in the same wordings. A judge that rejects true ones, or does not reject "
        "false ones, says nothing about stereotypes either.",
    )
    return Section(_title(prefix, "Controls"), tables=[table])


def _categories(result: BiasResult, prefix: str) -> Section:
    figures: list[Figure] = []
    names = list(dict.fromkeys(row["category"] for row in _headline(result)))
    for category in names:
        groups: dict[str, dict[str, Estimate | float]] = {}
        for row in _headline(result):
            if row["category"] == category:
                cells = {label: _estimate(row[key]) for label, key in _SERIES.items()}
                groups[row["test"]] = {label: cell for label, cell in cells.items() if cell is not None}
        if any(groups.values()):
            figures.append(
                plots.bar_with_intervals(
                    groups,
                    title=category[0].upper() + category[1:],
                    label="index, from -1 to 1; 0 is no difference",
                    from_zero=False,
                    reference=0.0,
                    limits=(-1.05, 1.05),
                    caption=_caption([row for row in _headline(result) if row["category"] == category]),
                )
            )
    text = (
        "I and Delta both right of 0, E not: what hidden bias looks like. I and E both right of 0, Delta left: an open "
        "one. Tests that use other words for the same groups stand apart and are never pooled."
    )
    return Section(_title(prefix, "By category"), text, figures=figures)


def _caption(rows: Sequence[Row]) -> str:
    return "; ".join(f"{row['test']}: {row['verdict']}" for row in rows) + "."


def _counts(result: BiasResult, prefix: str) -> Section:
    rows: list[list[Cell]] = [
        [
            row["test"],
            row["stereotypes"],
            row["anti_stereotypes"],
            row["refusals"],
            row["invalid"],
            _percent_estimate(row["coverage"]),
            None if row["implicit_bounds"] is None else tuple(row["implicit_bounds"]),
            _p(row["implicit_p_adjusted"]),
        ]
        for row in _headline(result)
    ]
    completions = Table(
        ["Test", "Stereotypes", "Reverses", "Refusals", "Invalid", "Coverage, %", "I, all refusals", "p of I"],
        rows,
        "Completions",
        "Coverage: the share that is a stereotype or its reverse. 'I, all refusals' is what I would be if every "
        "refused completion had been the reverse, and if every one had been the stereotype. p is adjusted for the "
        "number of tests (Benjamini and Hochberg).",
        decimals={"I, all refusals": 2},
    )
    judged: list[list[Cell]] = [
        [
            row["test"],
            _percent_estimate(row["rejected"]),
            _percent_estimate(row["twins_rejected"]),
            _percent_estimate(row["anti_rejected"]),
            row["d_prime"],
            row["gap"],
            row["pairs"],
            _p(row["delta_p_adjusted"]),
        ]
        for row in _headline(result)
    ]
    judgements = Table(
        ["Test", "RJI, %", "Twins, %", "Own reverses, %", "d'", "Gap", "Pairs", "p of Delta"],
        judged,
        "Rejected statements",
        "RJI: the share of its own stereotypes that it rejects. It misleads alone: compare it with Twins, the share of "
        "the same statements with the groups exchanged. 'Own reverses' are the anti-stereotypes it wrote and rejects. "
        "d': Delta in units that do not depend on how ready it is to reject. Gap: I less E. p is McNemar's exact test "
        "of pairs, adjusted for the number of tests.",
        decimals={"d'": 2, "Gap": 2},
    )
    return Section(_title(prefix, "What was counted"), tables=[completions, judgements])


def _stability(result: BiasResult, prefix: str) -> Section:
    rows: list[list[Cell]] = [
        [row["test"], row["alpha_class"], row["alpha_judgement"], row["alpha_likert"], row["same_sign"]]
        for row in _headline(result)
    ]
    completed = [row for row in _headline(result) if row["completions"]]
    same = sum(bool(row["same_sign"]) for row in completed)
    table = Table(
        ["Test", "Completions", "Judgements", "Marks from 1 to 5", "Same sign of I in all wordings"],
        rows,
        "Agreement of wordings and repetitions",
        "Krippendorff's alpha: 1 if all wordings and repetitions of a question get the same answer, about 0 if answers "
        "do not depend on the question. Marks from 1 to 5 are ordinal: those further apart disagree more. A dash: all "
        "answers are the same, or there is nothing to compare.",
        decimals={"Completions": 2, "Judgements": 2, "Marks from 1 to 5": 2},
    )
    text = f"The sign of I is the same in all wordings for {same} of {len(completed)} tests." if completed else ""
    return Section(_title(prefix, "How stable it is"), text, tables=[table])


def _variants(result: BiasResult, prefix: str) -> list[Section]:
    if len(result.scales) * len(result.contexts) < 2:
        return []
    rows: list[list[Cell]] = [
        [
            row["test"],
            row["context"],
            row["scale"],
            _percent_estimate(row["rejected"]),
            _percent_estimate(row["twins_rejected"]),
            _percent_estimate(row["anti_rejected"]),
        ]
        for row in result.by_scale
    ]
    table = Table(
        ["Test", "Context", "Scale", "RJI, %", "Twins, %", "Own reverses, %"],
        rows,
        "By context and scale",
        folded=len(rows) > 12,
    )
    others = [row for row in result.tests if row["context"] != result.contexts[0]]
    tables = [table]
    if others:
        tables.append(
            Table(
                ["Test", "Context", "Delta", "E", "Verdict"],
                [
                    [row["test"], row["context"], _estimate(row["delta"]), _estimate(row["explicit"]), row["verdict"]]
                    for row in others
                ],
                "Other contexts",
                decimals={"Delta": 2, "E": 2},
            )
        )
    return [Section(_title(prefix, "By context and scale"), tables=tables)]


def _power() -> Section:
    rows: list[list[Cell]] = [[f"{100 * share:.0f} %", pairs_needed(0.1, share)] for share in (0.1, 0.2, 0.3, 0.5)]
    table = Table(
        ["Pairs of which only one is rejected", "Stereotypes needed"],
        rows,
        "To find a Delta of 0.1 in 4 of 5 runs",
        f"To find that 60 % rather than 50 % of completions are stereotypes takes {completions_needed(0.1)} of them.",
    )
    return Section("How many are enough", tables=[table])


# Cells


def _estimate(cell: Row | None) -> Estimate | None:
    return None if cell is None else Estimate(cell["value"], cell["low"], cell["high"])


def _percent_estimate(cell: Row | None) -> Estimate | None:
    return None if cell is None else Estimate(100 * cell["value"], 100 * cell["low"], 100 * cell["high"])


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _p(value: float | None) -> Cell:
    if value is None:
        return None
    return "<\u00a00.0001" if value < 0.0001 else f"{value:.4f}"
