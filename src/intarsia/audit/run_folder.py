"""The folder of an audit: the record by which a stopped run goes on, and what tells where its numbers come from."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intarsia import files
from intarsia.errors import DataError, InputError, RunExistsError

RECORD = "run.json"


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


def _differences(part: str, ours: Any, theirs: Any, called: Mapping[str, str]) -> list[str]:
    if ours == theirs:
        return []
    if part in called:
        return [called[part]]
    if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
        return [part]
    return [name for name in ours if theirs.get(name) != ours[name]] or ["of another version"]
