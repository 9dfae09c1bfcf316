"""The table of LoRA runs that a scaling law is fitted to."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.errors import DataError, InputError, UnknownNameError
from intarsia.files import write_json, write_text
from intarsia.finetune.scaling.config import AXES, Axis

_FIXED_COLUMNS = ("dataset", "policy", "N", "R", "D", "seed", "alpha", "scale")


@dataclass(frozen=True)
class Run:
    """One LoRA run and what was measured on it.

    Attributes:
        N: Parameters of the base model.
        R: LoRA rank.
        D: Training examples (or tokens, if all rows of a table do so).
        alpha: LoRA's alpha.
        policy: How alpha follows the rank, e.g. `fixed` or `proportional`.
        metrics: Measured values by name, e.g. `miub`, `ce`, `ppl`, `accuracy`.
        dataset: Name of the data set.
        seed: Seed of the run; None if the table has no seeds.
        scale: Factor on the update; None: alpha / R. rsLoRA uses alpha / sqrt(R).
    """

    N: float
    R: float
    D: float
    alpha: float
    policy: str
    metrics: Mapping[str, float]
    dataset: str = "data"
    seed: int | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        for axis in AXES:
            _require_positive(axis, getattr(self, axis))
        _require_positive("alpha", self.alpha)
        if self.scale is None:
            object.__setattr__(self, "scale", self.alpha / self.R)

    @property
    def cell(self) -> tuple[str, str, float, float, float]:
        """What repetitions of a run with other seeds share."""
        return (self.dataset, self.policy, self.N, self.R, self.D)

    def axis(self, axis: Axis) -> float:
        """The run's value on `axis`."""
        return float(getattr(self, axis))


@dataclass(frozen=True)
class RunTable:
    """Runs, checked for duplicates.

    Raises:
        InputError: If two runs share data set, policy, N, R, D and seed.
    """

    runs: tuple[Run, ...]

    def __post_init__(self) -> None:
        seen: set[tuple[object, ...]] = set()
        for run in self.runs:
            key = (*run.cell, run.seed)
            if key in seen:
                where = f"dataset={run.dataset} policy={run.policy} N={run.N:g} R={run.R:g} D={run.D:g}"
                if run.seed is None:
                    raise InputError(
                        "two rows describe the same cell and there is no seed column to tell them apart",
                        where=where,
                        fix="add a column `seed`, or keep one row per cell",
                    )
                raise InputError("two rows describe the same run", where=f"{where} seed={run.seed}")
            seen.add(key)

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that every run has."""
        if not self.runs:
            return []
        return [name for name in self.runs[0].metrics if all(name in run.metrics for run in self.runs)]

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets, in order of appearance."""
        return list(dict.fromkeys(run.dataset for run in self.runs))

    @property
    def policies(self) -> list[str]:
        """The alpha policies, in order of appearance."""
        return list(dict.fromkeys(run.policy for run in self.runs))

    def where(self, *, dataset: str | None = None, policy: str | None = None) -> "RunTable":
        """The runs of one data set, of one policy, or both.

        Raises:
            UnknownNameError: If no run has that data set or policy.
        """
        for kind, name, known in (("dataset", dataset, self.datasets), ("policy", policy, self.policies)):
            if name is not None and name not in known:
                raise UnknownNameError(kind, name, known)
        return self.filter(lambda run: dataset in (None, run.dataset) and policy in (None, run.policy))

    def filter(self, keep: Callable[[Run], bool]) -> "RunTable":
        """The runs for which `keep` is true."""
        return RunTable(tuple(run for run in self.runs if keep(run)))

    def axis_values(self, axis: Axis) -> list[float]:
        """The distinct values on `axis`, rising."""
        return sorted({run.axis(axis) for run in self.runs})

    def values(self, metric: str) -> list[float]:
        """The values of `metric`, one a run.

        Raises:
            UnknownNameError: If no run has the metric.
            InputError: If some run lacks it, or its value is not finite.
        """
        known = {name for run in self.runs for name in run.metrics}
        if metric not in known:
            raise UnknownNameError("metric (missing column)", metric, known)
        for run in self.runs:
            value = run.metrics.get(metric)
            if value is None or not math.isfinite(value):
                raise InputError(
                    f"metric {metric!r} is {'missing' if value is None else value}",
                    where=f"dataset={run.dataset} N={run.N:g} R={run.R:g} D={run.D:g} seed={run.seed}",
                    fix="run that cell again, or leave it out of the table",
                )
        return [float(run.metrics[metric]) for run in self.runs]

    def require_one_policy(self) -> None:
        """Refuses a table whose runs follow different alpha policies.

        The policy decides the direction of the internal metric along the rank, so a fit over both means nothing.

        Raises:
            InputError: If there is more than one policy.
        """
        if len(self.policies) > 1:
            raise InputError(
                f"the runs mix alpha policies: {', '.join(self.policies)}",
                where="column 'policy'",
                fix="fit each policy on its own: table.where(policy=...)",
            )

    def to_records(self) -> list[dict[str, Any]]:
        """One flat mapping per run: the columns of the CSV."""
        return [{**{name: getattr(run, name) for name in _FIXED_COLUMNS}, **run.metrics} for run in self.runs]

    @classmethod
    def from_records(cls, records: Iterable[Mapping[str, Any]], *, file: str | Path | None = None) -> "RunTable":
        """Builds a table from flat mappings; whatever is no known column is a metric.

        `N`, `R`, `D` and `alpha` are needed. `policy` is inferred from how alpha follows the rank if it is absent;
        `dataset`, `seed` and `scale` are optional.

        Raises:
            DataError: If a column is missing or a value is no number (names file, line and field).
        """
        rows = list(records)
        if not rows:
            raise DataError("the table has no rows", file=file)
        return cls(tuple(_with_policy([_run(row, file, line) for line, row in enumerate(rows, start=2)], file)))

    @classmethod
    def read(cls, path: str | Path) -> "RunTable":
        """Reads a `.csv`, `.tsv` or `.json` table.

        Raises:
            InputError: If the file is missing or of another kind, or a row is wrong.
        """
        path = Path(path)
        if path.suffix not in (".csv", ".tsv", ".json"):
            raise InputError(f"a table ends in .csv, .tsv or .json, not {path.suffix!r}", where=path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise InputError("file not found", where=path) from None
        if path.suffix == ".json":
            try:
                rows = json.loads(text)["runs"]
            except (json.JSONDecodeError, KeyError, TypeError):
                raise InputError("not a run table: a JSON object with a list `runs` was expected", where=path) from None
            return cls.from_records(rows, file=path)
        reader = csv.DictReader(io.StringIO(text), delimiter="\t" if path.suffix == ".tsv" else ",")
        return cls.from_records(reader, file=path)

    def write(self, path: str | Path) -> None:
        """Writes the table as `.csv`, `.tsv` or `.json`, by the name's ending."""
        path = Path(path)
        records = self.to_records()
        if path.suffix == ".json":
            write_json(path, {"runs": records})
            return
        columns = list(dict.fromkeys(name for record in records for name in record))
        buffer = io.StringIO()
        writer = csv.DictWriter(
            buffer, columns, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n", restval=""
        )
        writer.writeheader()
        writer.writerows({name: "" if value is None else value for name, value in record.items()} for record in records)
        write_text(path, buffer.getvalue())


def infer_policy(runs: Sequence[tuple[float, float]]) -> str | None:
    """The policy that pairs of (rank, alpha) follow, or None if neither alpha nor alpha/rank is constant."""
    if len({alpha for _, alpha in runs}) == 1:
        return "fixed"
    ratios = [alpha / rank for rank, alpha in runs]
    return "proportional" if max(ratios) - min(ratios) < 1e-6 * max(ratios) else None


def _require_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} is {value!r}, but it must be positive", where=f"column {name!r}")


def _run(record: Mapping[str, Any], file: str | Path | None, line: int) -> Run:
    missing = [name for name in (*AXES, "alpha") if name not in record]
    if missing:
        raise DataError(
            f"missing columns: {', '.join(missing)}",
            file=file,
            fix="each row needs N (base parameters), R (rank), D (training examples) and alpha",
        )

    def number(name: str) -> float:
        try:
            return float(record[name])
        except (TypeError, ValueError):
            raise DataError(f"{record[name]!r} is no number", file=file, line=line, field=name) from None

    def given(name: str) -> bool:
        return record.get(name) not in (None, "")

    metrics = {name: number(name) for name in record if name not in _FIXED_COLUMNS and given(name)}
    try:
        return Run(
            N=number("N"),
            R=number("R"),
            D=number("D"),
            alpha=number("alpha"),
            policy=str(record["policy"]) if given("policy") else "",
            metrics=metrics,
            dataset=str(record["dataset"]) if given("dataset") else "data",
            seed=int(number("seed")) if given("seed") else None,
            scale=number("scale") if given("scale") else None,
        )
    except DataError:
        raise
    except InputError as error:
        raise DataError(error.what, file=file, line=line) from None


def _with_policy(runs: list[Run], file: str | Path | None) -> list[Run]:
    """Fills in the policy where no row names one."""
    if all(run.policy for run in runs):
        return runs
    policy = infer_policy([(run.R, run.alpha) for run in runs])
    if policy is None:
        raise DataError(
            "the rows mix alpha policies: neither alpha nor alpha/R is constant",
            file=file,
            field="alpha",
            fix="add a column `policy`; each policy is fitted on its own",
        )
    return [Run(**{**run.__dict__, "policy": run.policy or policy}) for run in runs]
