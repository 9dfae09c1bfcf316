"""The folder of an audit: the record by which a stopped run goes on, and what tells where its numbers come from."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from intarsia import files
from intarsia.errors import ConfigError, DataError, InputError, RunExistsError

if TYPE_CHECKING:
    from intarsia.experiments.report import Report

RECORD, RESULTS = "run.json", "results.json"


class Tables(Protocol):
    """What an audit found."""

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        ...


def open_run(
    folder: Path,
    audit: str,
    wanted: Mapping[str, Any],
    *,
    called: Mapping[str, str] | None = None,
    command: str = "",
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Starts or resumes the run in a folder; returns its record.

    Args:
        folder: Folder of the run.
        audit: Which audit it is.
        wanted: Everything the result depends on, by part, in JSON's types.
        called: What messages call a part whose fields say nothing to a user.
        command: The user's command, for the record.
        seed: Of the run, for the record.
        overwrite: Whether the run that the folder holds is thrown away first.

    Raises:
        RunExistsError: If the folder holds a run with other settings, or something else.
        DataError: If its record is that of something else.
    """
    from intarsia.experiments import provenance

    path = folder / RECORD
    if overwrite and path.is_file():
        shutil.rmtree(folder)
    if path.is_file():
        record = read_record(folder, audit, wanted)
        different = [name for part in wanted for name in _differences(part, wanted[part], record[part], called or {})]
        if different:
            raise RunExistsError(folder, what=f"a run with other settings ({', '.join(different)})")
        return record
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunExistsError(folder, what="files that are not a run")
    record = {"audit": audit, **wanted, **provenance.collect(command, seed)}
    files.write_json(path, record)
    return record


@contextmanager
def asking(folder: Path, record: dict[str, Any], *, answers: Sequence[str]) -> Iterator[None]:
    """Around the calls of a run: adds the time they take to the run's record.

    A run that is refused, or ends before anything was answered, leaves nothing that a mended command would have to
    overwrite.

    Args:
        folder: Folder of the run.
        record: Its record.
        answers: Names of the files and folders in it that hold answers.
    """
    start = time.monotonic()
    try:
        yield
    except BaseException:
        if not any((folder / name).exists() for name in (*answers, RESULTS)):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    record["wall_seconds"] = round(record.get("wall_seconds", 0.0) + time.monotonic() - start, 1)
    files.write_json(folder / RECORD, record)


def check_calls(model: str, concurrency: int, timeout: int, max_calls: int | None) -> None:
    """Raises a ConfigError if a setting that every audit has is not allowed."""
    if not model:
        raise ConfigError("model", model, "the name of a model")
    for name, value in (("concurrency", concurrency), ("timeout", timeout)):
        if value < 1:
            raise ConfigError(name, value, "at least 1")
    if max_calls is not None and max_calls < 0:
        raise ConfigError("max_calls", max_calls, "at least 0, or left out")


def require_calls(model: str, most: int, allowed: int | None, *, fewer: str) -> None:
    """Raises an InputError if a run may make more calls than it is allowed.

    Args:
        model: Who is asked.
        most: Most calls it may make.
        allowed: Most calls it is allowed; None for any number.
        fewer: What there may be fewer of, so that it makes fewer calls.
    """
    if allowed is not None and most > allowed:
        raise InputError(
            f"the run may make {most:,} calls, but only {allowed:,} are allowed",
            where=model,
            fix=f"raise max_calls, or ask less: fewer {fewer}",
        )


def read_record(folder: Path, audit: str, parts: Sequence[str] | Mapping[str, Any] = ("settings",)) -> dict[str, Any]:
    """Returns the record of a run.

    Args:
        folder: Folder of the run.
        audit: Which audit it must be.
        parts: What the record must have.

    Raises:
        InputError: If the folder holds no run.
        DataError: If it is that of another audit.
    """
    path = folder / RECORD
    if not path.is_file():
        raise InputError("the folder holds no run", where=folder, fix="give the folder of a run, or a log (.eval)")
    record = files.read_json(path)
    if not isinstance(record, dict) or record.get("audit") != audit or any(part not in record for part in parts):
        raise DataError(f"not the record of a {audit} audit", file=path)
    return record


def provenance_of(record: Mapping[str, Any], *, without: Sequence[str]) -> dict[str, Any]:
    """Returns what a report says of where its numbers come from.

    Args:
        record: The record of a run.
        without: Parts that say nothing to a reader.
    """
    shown = {name: value for name, value in record.items() if name not in ("audit", *without)}
    if "settings" in shown:
        shown["settings"] = {name: value for name, value in shown["settings"].items() if value is not None}
    return shown


def provenance_of_runs(paths: Sequence[str | Path], *, without: Sequence[str]) -> dict[str, Any]:
    """Returns what a report of runs or logs says of where its numbers come from: nothing, unless it is of one run.

    Args:
        paths: Folders of runs, or logs.
        without: Parts that say nothing to a reader.
    """
    record = Path(paths[0]) / RECORD
    if len(paths) > 1 or not record.is_file():
        return {}
    return provenance_of(files.read_json(record), without=without)


def as_tables(results: Sequence[Tables]) -> Any:
    """Returns the result of a run as JSON values; of several, a list."""
    tables = [result.to_json() for result in results]
    return tables[0] if len(tables) == 1 else tables


def write_results(folder: Path, results: Sequence[Tables], report: "Report") -> Path:
    """Writes tables and report of runs, and returns the path of the report."""
    from intarsia.experiments.report import write_report

    files.write_json(folder / RESULTS, as_tables(results))
    return write_report(report, folder)


def _differences(part: str, ours: Any, theirs: Any, called: Mapping[str, str]) -> list[str]:
    if ours == theirs:
        return []
    if part in called:
        return [called[part]]
    if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
        return [part]
    return [name for name in ours if theirs.get(name) != ours[name]] or ["of another version"]
