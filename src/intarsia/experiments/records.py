"""What an experiment returns, and the result file it becomes.

A result file (`results/<slug>/<scale>.json`) has exactly the fields of `Result`; numbers are finite or absent.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from intarsia import files
from intarsia.errors import DataError


@dataclass(frozen=True, slots=True)
class Row:
    """One number of an experiment, beside the paper's.

    Args:
        system: The method or model, e.g. `"Twin-Merging, rank 8"`.
        dataset: What it was measured on, e.g. `"sst2"` or `"average"`.
        metric: The measure with its unit, e.g. `"normalised score"`.
        paper: The value the paper gives, if it gives one.
        measured: The value we got; absent if this scale does not measure it.
        low: Lower end of the 95 % interval of `measured`.
        high: Upper end of it.
        n: How many items (or seeds) `measured` rests on.

    Raises:
        DataError: If a name is empty, a number is not finite, there is neither a paper nor a measured value, or the
            interval is half there or upside down.
    """

    system: str
    dataset: str
    metric: str
    paper: float | None = None
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None

    def __post_init__(self) -> None:
        where = f"row ({self.system!r}, {self.dataset!r}, {self.metric!r})"
        for name in ("system", "dataset", "metric"):
            _require_text(getattr(self, name), name, where)
        for name in ("paper", "measured", "low", "high"):
            # Numpy scalars become plain floats here, so that every row can be written as JSON.
            object.__setattr__(self, name, _finite_or_none(getattr(self, name), name, where))
        if self.paper is None and self.measured is None:
            raise DataError(f"{where} has neither a paper value nor a measured one", field="measured")
        if (self.low is None) != (self.high is None):
            raise DataError(f"{where} has one end of its interval only", field="low" if self.low is None else "high")
        if self.low is not None and self.high is not None:
            if self.measured is None:
                raise DataError(f"{where} has an interval but no measured value", field="measured")
            if self.low > self.high:
                raise DataError(f"{where} has an interval upside down: {self.low} > {self.high}", field="low")
        if self.n is not None:
            object.__setattr__(self, "n", int(self.n))
            if self.n < 1:
                raise DataError(f"{where} has n = {self.n}, but it must be at least 1", field="n")


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement of the paper and whether it held here.

    Args:
        id: Short name, unique in its experiment.
        text: The statement, in one sentence, with the bar it has to pass.
        source: Where the paper makes it, e.g. `"Table 2"`.
        holds: True, False, or None where this run could not judge it.
        evidence: The measured numbers that decide it, or why it could not be judged.

    Raises:
        DataError: If a text is empty, `holds` is not a truth value, or a judged claim has no evidence.
    """

    id: str
    text: str
    source: str
    holds: bool | None = None
    evidence: str = ""

    def __post_init__(self) -> None:
        where = f"claim {self.id!r}"
        for name in ("id", "text", "source"):
            _require_text(getattr(self, name), name, where)
        if self.holds is not None:
            if not isinstance(self.holds, bool) and type(self.holds).__name__ not in ("bool_", "bool"):
                raise DataError(
                    f"{where} has holds = {self.holds!r}, but it must be true, false or absent", field="holds"
                )
            object.__setattr__(self, "holds", bool(self.holds))
            _require_text(self.evidence, "evidence", where)


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture of a report.

    Args:
        title: Heading, also the picture's name for those who cannot see it.
        svg: A complete `<svg>` element, as `intarsia.experiments.plots` makes them.
        caption: What to see in it.

    Raises:
        DataError: If `svg` is not an `<svg>` element.
    """

    title: str
    svg: str
    caption: str = ""

    def __post_init__(self) -> None:
        _require_text(self.title, "title", "figure")
        if not (self.svg.startswith("<svg") and self.svg.rstrip().endswith("</svg>")):
            raise DataError(f"figure {self.title!r} is not an <svg> element", field="svg")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything an experiment found.

    Args:
        rows: The table.
        claims: The paper's statements, judged.
        figures: Pictures for the report; they are not part of the result file.
        notes: Sentences the reader needs: what was left out, what differs from the paper.

    Raises:
        DataError: If there are no rows, or two rows or claims have the same name.
    """

    rows: list[Row]
    claims: list[Claim] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.rows:
            raise DataError("the experiment returned no rows", field="rows")
        _refuse_duplicates((f"({row.system!r}, {row.dataset!r}, {row.metric!r})" for row in self.rows), "row")
        _refuse_duplicates((claim.id for claim in self.claims), "claim")


@dataclass(frozen=True, slots=True)
class Result:
    """The content of one result file.

    Args:
        experiment: The slug.
        scale: `"laptop"`, `"paper"`, ...
        commit: Commit of the source checkout, `-dirty` appended if it had changes; None outside a checkout.
        command: The command line that makes this file.
        seed: The seed of the run.
        versions: Package name -> version.
        hardware: `cpu`, `cores`, `memory_gib`, `gpu`.
        wall_seconds: How long it took, over all attempts of a resumed run.
        rows: The table.
        claims: The judged statements.
        notes: Sentences the reader needs.
    """

    experiment: str
    scale: str
    commit: str | None
    command: str
    seed: int
    versions: dict[str, str]
    hardware: dict[str, Any]
    wall_seconds: float
    rows: list[Row]
    claims: list[Claim]
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The content as JSON values; `notes` is left out where there are none."""
        content = asdict(self)
        if not self.notes:
            del content["notes"]
        return content

    @classmethod
    def from_json(cls, content: Any, *, where: str | Path | None = None) -> "Result":
        """Checks and reads the content of a result file.

        Args:
            content: What the JSON file holds.
            where: The file, for the message.

        Raises:
            DataError: If a field is missing, unknown or has a wrong value.
        """
        known = {item.name for item in fields(cls)}
        if not is_result(content):
            given = set(content) if isinstance(content, Mapping) else set()
            missing, unknown = sorted(known - given - {"notes"}), sorted(map(str, given - known))
            raise DataError(f"not a result file: missing fields {missing}, unknown fields {unknown}", file=where)
        try:
            rows = [Row(**row) for row in content["rows"]]
            claims = [Claim(**claim) for claim in content["claims"]]
        except TypeError as error:
            raise DataError(f"a row or claim has wrong fields: {error}", file=where) from None
        return cls(**{**content, "rows": rows, "claims": claims})


def is_result(content: Any) -> bool:
    """Whether a JSON value has exactly the fields of a result file."""
    known = {item.name for item in fields(Result)}
    return isinstance(content, Mapping) and known - {"notes"} <= set(content) <= known


def write_result(path: str | Path, result: Result) -> None:
    """Writes a result file, atomically."""
    files.write_json(path, result.to_json())


def read_result(path: str | Path) -> Result:
    """Reads a result file.

    Raises:
        DataError: If it is not one.
        IntarsiaError: If it is missing or not JSON.
    """
    return Result.from_json(files.read_json(path), where=path)


def _require_text(value: Any, name: str, where: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where} needs a text for {name}, not {value!r}", field=name)


def _finite_or_none(value: Any, name: str, where: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: {name} is {value!r}, but it must be a number or absent", field=name) from None
    if not math.isfinite(number):
        raise DataError(f"{where}: {name} is {number}, but it must be finite", field=name)
    return number


def _refuse_duplicates(names: Iterable[str], kind: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"two {kind}s are named {name}")
        seen.add(name)
