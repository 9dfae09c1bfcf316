"""A model report card: scores with intervals, and what was asked, so that cards can be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from intarsia import files
from intarsia.errors import DataError, InputError

CARD = "card.json"
VERSION = 1
BETTER = ("higher", "lower", "none")
INDICES = {"implicit": "I, completes the stereotype", "delta": "Delta, rejects its own", "explicit": "E, avows it"}


@dataclass(frozen=True, slots=True)
class Score:
    """One number of a card.

    Attributes:
        suite: `"causal"`, `"roleplay"` or `"bias"`.
        name: What it is.
        value: Its value; None if it could not be measured.
        low: Lower end of its 95 % interval.
        high: Upper end.
        n: Replies it rests on.
        better: Which way is better: `"higher"`, `"lower"`, or `"none"` where neither is by itself.
        unit: `"%"`, `"1 to 5"` or `"index"`.
        note: A verdict or warning that belongs beside it.
    """

    suite: str
    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    better: str
    unit: str = "%"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A model report card.

    Attributes:
        model: The model.
        judge: Who judged role-play.
        budget: Calls it was allowed.
        calls: Most calls of each audit, as planned.
        settings: What each audit asked.
        scores: The numbers.
        warnings: What must be read with them: failed controls, unanswered questions, audits that did not run.
        provenance: Command, commit, versions, hardware.
        made: Answers each audit got, which are its calls unless some failed.
        version: Of the format.
    """

    model: str
    judge: str
    budget: int
    calls: Mapping[str, int]
    settings: Mapping[str, Any]
    scores: Sequence[Score]
    warnings: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, int] = field(default_factory=dict)
    version: int = VERSION

    def to_json(self) -> dict[str, Any]:
        """Returns the card as JSON values."""
        return asdict(self)


def read_card(path: str | Path) -> Card:
    """Reads a card.

    Args:
        path: The file, or the folder that `intarsia audit all` wrote.

    Raises:
        InputError: If there is none.
        DataError: If it is something else.
    """
    path = Path(path)
    file = path / CARD if path.is_dir() else path
    if not file.is_file():
        raise InputError("there is no model report card", where=file, fix="make one: intarsia audit all")
    content = files.read_json(file)
    if not isinstance(content, dict) or content.get("version") != VERSION or "scores" not in content:
        raise DataError("not a model report card of this version", file=file, fix="make it again: intarsia audit all")
    try:
        scores, warnings = [Score(**score) for score in content["scores"]], tuple(content["warnings"])
        return Card(**{**content, "scores": scores, "warnings": warnings})
    except (TypeError, KeyError) as error:
        raise DataError(f"not a model report card: {error}", file=file) from None


def causal_scores(result: Mapping[str, Any]) -> list[Score]:
    """Returns the scores of a causal audit's tables."""
    names = {"CP": "causal paths", "BA": "adjustment sets", "FI": "facts", "CI": "counterfactuals"}
    best: dict[str, float] = {}
    for row in result["baselines"]:
        best[row["task"]] = max(best.get(row["task"], 0.0), row["accuracy"])
    return [
        Score(
            "causal",
            f"{names[row['task']]} right",
            100 * row["accuracy"],
            100 * row["low"],
            100 * row["high"],
            row["n"],
            "higher",
            note="; ".join(
                [
                    *([f"best baseline {100 * best[row['task']]:.0f} %"] if row["task"] in best else []),
                    *([f"{100 * row['unparsable']:.0f} % unreadable"] if row["unparsable"] else []),
                ]
            ),
        )
        for row in result["by_task"]
    ]


def roleplay_scores(result: Mapping[str, Any]) -> list[Score]:
    """Returns the scores of a role-play audit's tables, over all attacks."""
    wanted = (
        ("hr", "hallucinated", "lower", "%", 100.0),
        ("rf", "role recognised", "higher", "%", 100.0),
        ("qf", "query recognised", "higher", "%", 100.0),
        ("sc", "coherence", "higher", "1 to 5", 1.0),
    )
    scores = []
    for row in result["table"]:
        if row["attack"] != "all":
            continue
        for key, name, better, unit, factor in wanted:
            cell = row[key]
            if cell is not None:
                value, low, high = (factor * cell[end] for end in ("value", "low", "high"))
                title = f"{name} ({row['defence']})"
                scores.append(Score("roleplay", title, value, low, high, cell["n"], better, unit))
    return scores


def bias_scores(result: Mapping[str, Any]) -> list[Score]:
    """Returns the indices of a bias audit's tables; a verdict stands beside each."""
    scores = []
    # What failed for all tests is a warning of the card.
    shared = {problem for row in result["controls"] for problem in row["problems"]}
    for row in result["tests"]:
        if row["context"] != result["contexts"][0]:
            continue
        own = [reason for reason in row["reasons"] if reason not in shared]
        why = f": {'; '.join(own)}" if own else ""
        for key, name in INDICES.items():
            cell = row[key]
            value, low, high = (None if cell is None else cell[end] for end in ("value", "low", "high"))
            n = 0 if cell is None else cell["n"]
            # Only I says by itself that less is better; Delta and E are read together with it.
            better = "lower" if key == "implicit" else "none"
            title, note = f"{row['test']}: {name}", f"{row['verdict']}{why}"
            scores.append(Score("bias", title, value, low, high, n, better, "index", note))
    return scores
