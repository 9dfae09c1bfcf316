"""The output of a run: JSON lines appended as results come, from which a stopped run continues."""

import errno
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from intarsia.engine.outcomes import Outcome
from intarsia.errors import DataError, InputError, IntarsiaError


class Journal:
    """A JSONL file whose first line names the job and each other line holds one outcome.

    Opening it reads what is done, drops the last line if a kill cut it short, and locks the file against a second run.
    If an item has several lines, the last one counts.

    Args:
        path: The file; made, with its folders, if it is not there.
        job: Import name of the function.
        settings: Hash of what is bound to the function.

    Attributes:
        done: What the file held when it was opened, by key.

    Raises:
        InputError: If the file is of another job, is no journal, or another run is writing it.
        DataError: If a line before the last is not an outcome.
    """

    def __init__(self, path: str | Path, *, job: str, settings: str) -> None:
        self.path = Path(path)
        self.done: dict[str, Outcome] = {}
        if self.path.is_dir():
            raise InputError("the output is a folder, but it must be a file", where=self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered, so that what a failed write left over is not written again when the file is closed.
        self._file = self.path.open("ab", buffering=0)
        try:
            _lock(self._file.fileno(), self.path)
            header = {"intarsia_journal": 1, "job": job, "settings": settings}
            with self.path.open("rb") as file:
                self._end = self._read(file, header)
            if self._end == 0:
                self._write(json.dumps(header) + "\n")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def append(self, lines: Iterable[str]) -> None:
        """Adds lines made by `outcome_line`; they are safe from a kill and a power cut when this returns.

        Raises:
            IntarsiaError: If the disk is full. What was there before is untouched.
        """
        self._write("".join(f"{line}\n" for line in lines))

    def _write(self, text: str) -> None:
        data = text.encode("ascii")
        try:
            # What an interrupt or a full disk left of an earlier write is cut off, so that no line continues it.
            self._file.truncate(self._end)
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise IntarsiaError(
                "the disk is full",
                where=self.path,
                fix="free some space, then run the same command again: it continues from what is written",
            ) from error
        self._end += len(data)

    def _read(self, file: BinaryIO, header: dict[str, Any]) -> int:
        """Fills `done`; returns how many bytes of the file are whole."""
        first = file.readline()
        if not first.endswith(b"\n") and json.dumps(header).encode().startswith(first):
            return 0  # The file is new, or a kill cut its first line short.
        self._check_header(first, header)
        end = len(first)
        for number, line in enumerate(file, start=2):
            outcome = _parse(line)
            if outcome is None:
                if file.read(1):
                    raise DataError(
                        "not a line of results",
                        file=self.path,
                        line=number,
                        fix="remove that line: what it held is run again",
                    )
                break
            self.done[outcome.key] = outcome
            end += len(line)
        return end

    def _check_header(self, line: bytes, ours: dict[str, Any]) -> None:
        fix = "choose another output, or delete this file"
        try:
            theirs = json.loads(line)
        except ValueError:
            theirs = None
        if not isinstance(theirs, dict) or theirs.get("intarsia_journal") != 1:
            raise InputError("the output exists and is not a file of results", where=self.path, fix=fix)
        if theirs.get("job") != ours["job"]:
            raise InputError(f"the output is of {theirs.get('job')}, not of {ours['job']}", where=self.path, fix=fix)
        if theirs != ours:
            raise InputError(f"the output is of {ours['job']} with other settings", where=self.path, fix=fix)


def outcome_line(outcome: Outcome, value: str | None) -> str:
    """One outcome as a line; `value` is its value as JSON, if it has one."""
    if outcome.ok:
        return f'{{"key": {json.dumps(outcome.key)}, "value": {value}}}'
    return json.dumps({"key": outcome.key, "error": outcome.error, "traceback": outcome.traceback})


def _parse(line: bytes) -> Outcome | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return Outcome(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _lock(descriptor: int, path: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            "another run is writing this output", where=path, fix="wait until it ends, or choose another output"
        ) from None
    except OSError as error:
        # Some network file systems know no locks; there it is up to the user to keep two runs apart.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
