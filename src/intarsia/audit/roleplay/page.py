"""The report of one or several audited models: how characters break, and what each defence costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from intarsia.audit.failures import told
from intarsia.audit.roleplay.attacks import ATTACKS, MECHANISMS
from intarsia.audit.roleplay.defences import DEFENCES
from intarsia.audit.roleplay.judging import METRICS, QF, RF
from intarsia.audit.roleplay.results import ALL, RoleplayResult, Row
from intarsia.audit.roleplay.rules import RULES
from intarsia.errors import InputError
from intarsia.experiments import plots
from intarsia.experiments.cells import Cell, Estimate
from intarsia.experiments.records import Figure
from intarsia.experiments.report import Highlight, Report, Section, Table

_HEADS = {"hr": "Hallucination, %", "rf": "Role fidelity, %", "qf": "Query fidelity, %", "sc": "Coherence (1 to 5)"}
_MEANS = (
    "Hallucination is the share of replies that the judge finds inconsistent with the character; lower is better. Role "
    "fidelity is how often the judge tells the speaker from its three nearest neighbours by the reply alone, query "
    "fidelity how often it tells the question from three others; guessing gives 25 %. Coherence marks the story that "
    "character, question and reply make. Intervals are of 95 %, over roles."
)


def audit_report(results: Sequence[RoleplayResult], provenance: Mapping[str, Any] | None = None) -> Report:
    """Returns the page of one model, or of several.

    Args:
        results: One result a model or a log.
        provenance: Where the numbers come from.

    Raises:
        InputError: If there is no result.
    """
    if not results:
        raise InputError("there is no result to report")
    several = len(results) > 1
    sections = [_overview(results)]
    for result in results:
        sections += _of_model(result, f"{result.model}: " if several else "")
    models = ", ".join(dict.fromkeys(result.model for result in results))
    return Report(
        f"Role-play audit of {models}" if len(results) <= 3 else f"Role-play audit of {len(results)} runs",
        _intro(results),
        sections,
        _highlights(results[0]) if not several else (),
        provenance or {},
    )


def _intro(results: Sequence[RoleplayResult]) -> str:
    first = results[0]
    text = (
        "Questions that lure a character out of its role: from domains it cannot know, in a language it was not "
        "trained in, on gaps of its life, and such as were meant for another character.\n\n" + _MEANS
    )
    judges = ", ".join(dict.fromkeys(judge for result in results for judge in result.judges[:1]))
    text += f"\n\nJudged by {judges}."
    for result in results:
        for judge in result.same_model:
            text += f" `{judge}` judges itself, which favours it in role fidelity."
    for result in results:
        text = "\n\n".join([*_doubts(result), text])
    if len(results) == 1 and first.unanswered:
        text += (
            f"\n\n{first.unanswered:,} of {first.queries:,} queries got no reply and are in no score: "
            f"{told(first.errors)}"
        )
    return text


def _doubts(result: RoleplayResult) -> list[str]:
    """Returns why scores are not to be relied on: they stand first on the page."""
    row = result.judging[0]
    judge, found = row["judge"], []
    if row["sensitivity"] is not None and row["sensitivity"] + row["specificity"] <= 1:
        found.append(f"{judge} judges planted replies no better than a coin: its scores of {result.model} say nothing.")
    if row["unread"]:
        share = f"{100 * row['unread']:.1f} %"
        found.append(f"{share} of what {judge} wrote about {result.model} gives no verdict and is in no score.")
    return found


def _highlights(result: RoleplayResult) -> list[Highlight]:
    row = next(row for row in result.table if row["attack"] == ALL)
    shown = []
    for metric, name in METRICS.items():
        value = row[metric]
        if value is not None:
            scale, unit, places = (1, "", 2) if metric == "sc" else (100, " %", 1)
            estimate, low, high = (f"{scale * value[end]:.{places}f}" for end in ("value", "low", "high"))
            title = f"{name}, {row['defence']}"
            shown.append(Highlight(title, f"{estimate}{unit}", f"95 % interval {low} to {high}, n = {value['n']:,}"))
    return shown


def _overview(results: Sequence[RoleplayResult]) -> Section:
    rows: list[list[Cell]] = []
    for result in results:
        for row in result.table:
            if row["attack"] == ALL:
                name = f"{result.model}, {row['defence']}" if len(results) > 1 else row["defence"]
                rows.append([name, *_cells(row), _cell(row["hr_corrected"], 100), row["n"]])
    columns = ["Defence", *_HEADS.values(), "Corrected, %", "n"]
    table = Table(
        columns,
        rows,
        "All attacks",
        "n: replies. Corrected: the hallucination rate without the judge's errors, as far as the planted controls tell "
        "them (Rogan and Gladen). A dash: the judge's errors are not known, or it is no better than a coin.",
        decimals={"Coherence (1 to 5)": 2},
    )
    return Section("Scores", tables=[table])


def _of_model(result: RoleplayResult, prefix: str) -> list[Section]:
    def title(text: str) -> str:
        return f"{prefix}{text[0].lower()}{text[1:]}" if prefix else text

    sections = [Section(title("By attack"), _attacks_text(result), tables=_by_attack(result), figures=_figures(result))]
    if result.differences:
        sections.append(
            Section(
                title("Defences compared"),
                "Differences on the same queries. One whose interval excludes 0 is established for this judge.",
                tables=[_differences(result)],
            )
        )
    sections.append(
        Section(
            title("Rules"),
            "What needs no judge. R1, R3, R4 and R6 mean a break of character. A refusal (R5) is none: a model that "
            "refuses everything never hallucinates, and tells no story.",
            tables=[_rules(result)],
        )
    )
    sections.append(_judging(result, title("How good the judge is")))
    sections.append(Section(title("Cost"), tables=[_cost(result)]))
    return sections


def _attacks_text(result: RoleplayResult) -> str:
    attacks = [row["attack"] for row in result.table if row["attack"] != ALL]
    text = " ".join(f"`{attack}`: {ATTACKS[attack]} ({MECHANISMS[attack]})." for attack in dict.fromkeys(attacks))
    if "perturbation" in attacks:
        text += (
            "\n\nUnder perturbation a question rests on a false premise, and to correct it politely is in character; "
            "judges differ on this, so read each attack by itself."
        )
    return text


def _by_attack(result: RoleplayResult) -> list[Table]:
    rows: list[list[Cell]] = [
        [row["attack"], row["defence"], *_cells(row), row["n"]]
        for row in sorted(result.table, key=lambda row: _order(result, row["attack"]))
        if row["attack"] != ALL
    ]
    columns = ["Attack", "Defence", *_HEADS.values(), "n"]
    return [Table(columns, rows, "Scores by attack", decimals={"Coherence (1 to 5)": 2})]


def _order(result: RoleplayResult, attack: str) -> int:
    return list(dict.fromkeys(row["attack"] for row in result.table)).index(attack)


def _figures(result: RoleplayResult) -> list[Figure]:
    attacks = [attack for attack in dict.fromkeys(row["attack"] for row in result.table) if attack != ALL]
    figures = []
    for metric, heading in _HEADS.items():
        scale = 1 if metric == "sc" else 100
        groups = {
            attack.replace("_", " "): {
                row["defence"]: estimate
                for row in result.table
                if row["attack"] == attack and isinstance(estimate := _cell(row[metric], scale), Estimate)
            }
            for attack in attacks
        }
        groups = {attack: values for attack, values in groups.items() if values}
        if groups:
            reference = 25.0 if metric in (RF, QF) else None
            name = METRICS[metric]
            figures.append(
                plots.bar_with_intervals(
                    groups,
                    title=f"{name[0].upper()}{name[1:]} by attack and defence",
                    label=heading,
                    caption="The dashed line is guessing." if reference else "",
                    reference=reference,
                    from_zero=metric != "sc",
                    limits=(0.9, 5.1) if metric == "sc" else (0, 100),
                )
            )
    return figures


def _differences(result: RoleplayResult) -> Table:
    rows: list[list[Cell]] = []
    for row in result.differences:
        values = [_cell(row[metric], 1 if metric == "sc" else 100) for metric in METRICS]
        n = next((row[metric]["n"] for metric in METRICS if row[metric]), 0)
        rows.append([f"{row['first']} minus {row['second']}", *values, n])
    heads = ["Hallucination, points", "Role fidelity, points", "Query fidelity, points", "Coherence"]
    return Table(["Defences", *heads, "Queries"], rows, "Paired differences", decimals={"Coherence": 2})


def _rules(result: RoleplayResult) -> Table:
    rows: list[list[Cell]] = [
        [f"{rule.upper()}: {meaning}", *(_percent(row[rule]) for row in result.rules)]
        for rule, meaning in RULES.items()
    ]
    rows.append(["any break of character", *(_percent(row["break"]) for row in result.rules)])
    return Table(
        ["Rule", *(row["defence"] for row in result.rules)],
        rows,
        "Replies that meet a rule, %",
        highlight=[len(rows) - 1],
    )


def _judging(result: RoleplayResult, title: str) -> Section:
    rows: list[list[Cell]] = []
    for row in result.judging:
        rows.append(
            [
                row["judge"],
                _percent(row["sensitivity"]),
                _percent(row["specificity"]),
                row["controls"],
                row["kappa_with_rules"],
                _percent(row["unread"]),
                row["sc_length_correlation"],
            ]
        )
    columns = ["Judge", "Finds, %", "Spares, %", "Controls", "Kappa with rules", "Unread, %", "Coherence and length"]
    quality = Table(
        columns,
        rows,
        "Judges",
        "Finds: planted hallucinations found. Spares: planted good replies left alone. Kappa: agreement on "
        "hallucination with the rules beyond chance. Unread: writings without a verdict. The last column is the rank "
        "correlation of the mark with the number of words.",
    )
    choices: list[list[Cell]] = []
    for row in result.judging:
        for score in (RF, QF):
            letters = row[f"{score}_letters"]
            choices.append(
                [
                    row["judge"],
                    METRICS[score],
                    *letters.values(),
                    _p(row[f"{score}_position_p"]),
                    _percent(row[f"{score}_embedding"]),
                    _percent(row[f"{score}_embedding_agrees"]),
                ]
            )
    columns = ["Judge", "Score", "A", "B", "C", "D", "p", "Embedding right, %", "Embedding agrees, %"]
    positions = Table(
        columns,
        choices,
        "Letters chosen",
        "Right answers stand equally often at each letter, so a small p (chi-square) means that the judge favours one. "
        "Embedding: the nearest card or query by a sentence encoder.",
    )
    parts = []
    if result.alpha is not None:
        parts.append(f"The judges agree on hallucination with Krippendorff's alpha {result.alpha:.2f}.")
    if result.mean_neighbour_cosine is not None:
        parts.append(
            f"The nearest other role has a cosine of {result.mean_neighbour_cosine:.2f} on average: the nearer, the "
            "harder is role fidelity."
        )
    for row in result.judging:
        if row["missed"]:
            wrong = ", ".join(f"{count} of the kind {kind}" for kind, count in row["missed"].items())
            parts.append(f"Planted controls that {row['judge']} got wrong: {wrong}.")
    return Section(title, " ".join(parts), tables=[quality, positions])


def _cost(result: RoleplayResult) -> Table:
    rows: list[list[Cell]] = [
        [
            row["defence"],
            row["replies"],
            row["calls"],
            row["calls"] / row["replies"] if row["replies"] else None,
            row["revised"],
            row["format_failures"],
        ]
        for row in result.calls
    ]
    columns = ["Defence", "Replies", "Calls", "Calls a reply", "Revised", "Not in the asked form"]
    caption = "; ".join(f"{name}: {DEFENCES[name]}" for name in (row["defence"] for row in result.calls))
    note = f"Outlines, one a role, are not counted. {caption}."
    sure = next((row["confidence"] for row in result.calls if row["confidence"] is not None), None)
    if sure is not None:
        note += f" RoleFact kept facts without support of which the model was at least {sure:g} of 100 sure."
    return Table(columns, rows, "Calls of the model", note)


def _cells(row: Row) -> list[Cell]:
    return [_cell(row[metric], 1 if metric == "sc" else 100) for metric in METRICS]


def _cell(value: Row | None, scale: float) -> Cell:
    return None if value is None else Estimate(*(scale * float(value[end]) for end in ("value", "low", "high")))


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * float(value)


def _p(value: float | None) -> str | None:
    if value is None:
        return None
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
