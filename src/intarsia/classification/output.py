"""Result files that a stopped run goes on from."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from intarsia.errors import DataError, InputError
from intarsia.files import read_json, write_json


class ResultFile:
    """A JSONL file with one line a text, written as texts are done, and beside it the settings it was made with.

    Opening it reads which texts are done; a line that a kill cut short is dropped.

    Args:
        path: The file; the settings stand in `PATH.run.json`.
        settings: What the results depend on, as JSON values.
        overwrite: Whether results of an earlier run are dropped.

    Attributes:
        done: Ids of the texts that stand in the file.

    Raises:
        InputError: If the file is of a run with other settings, or is no file of results.
        DataError: If a line of it cannot be read.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.done: set[str] = set()
        if self.path.is_dir():
            raise InputError("the output is a folder, but it must be a file", where=self.path)
        record = self.path.with_name(f"{self.path.name}.run.json")
        plain = json.loads(json.dumps(dict(settings)))
        if overwrite:
            self.path.unlink(missing_ok=True)
        elif self.path.is_file() and self.path.stat().st_size:
            self._check(record, plain)
            self._read()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(record, plain)
        self._file = self.path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a line; a killed process keeps it."""
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()

    def extend(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines."""
        for record in records:
            self.append(record)

    def _check(self, record: Path, settings: Mapping[str, Any]) -> None:
        fix = "choose another --output, or pass --overwrite to replace it"
        if not record.is_file():
            raise InputError("the output exists and is not a file of results", where=self.path, fix=fix)
        before = read_json(record)
        if before != settings:
            names = {*before, *settings} if isinstance(before, dict) else set(settings)
            differing = sorted(name for name in names if dict(before).get(name) != settings.get(name))
            raise InputError(
                f"the output is of a run with other settings: {', '.join(differing)}", where=self.path, fix=fix
            )

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self.path.open("r+b") as file:
                file.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                self.done.add(json.loads(line)["id"])
            except (ValueError, KeyError, TypeError):
                fix = "remove that line: its text is classified again"
                raise DataError("not a line of results", file=self.path, line=number, fix=fix) from None
