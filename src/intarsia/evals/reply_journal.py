"""Answers on disk: a JSONL file with a call and its reply a line, from which later runs take what was answered before.

Unlike the journal of `engine.map`, several processes may add to it at once, and it is read by what was asked.
"""

import contextlib
import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, get_args

from intarsia.errors import DataError, InputError, IntarsiaError
from intarsia.evals.call import Call
from intarsia.evals.protocol import Message, Reply, Role, Usage

_STOPS = ("done", "length", "filter")
_TAIL_BYTES = 65536


class Entry(NamedTuple):
    """One line.

    Attributes:
        model: Name of the model that was asked.
        call: What it was asked.
        reply: What it answered.
    """

    model: str
    call: Call
    reply: Reply


class ReplyJournal:
    """Reads and extends a file of answers.

    Only the places of the lines are kept in memory. A line is written at once and whole, so a killed run leaves at
    most its last line torn; such a line is ignored, and cut off when the next is added. If a call has several lines,
    the first one counts, as it did when the file was used before.

    Args:
        path: The file. It is made when the first answer is added.

    Attributes:
        models: Names of the models with answers in the file.

    Raises:
        DataError: If a whole line is not a call with its reply.
        InputError: If `path` is a folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.models: set[str] = set()
        self._places: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        if self.path.is_dir():
            raise InputError("the recording is a folder, but it must be a file", where=self.path)
        if self.path.exists():
            self._read()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, identity: str) -> bool:
        return identity in self._places

    def find(self, identity: str) -> Reply | None:
        """Returns the reply to a call, or None.

        Args:
            identity: As `Call.identity` gives it.
        """
        place = self._places.get(identity)
        return None if place is None else self._at(place).reply

    def find_key(self, key: str) -> Entry | None:
        """Returns the first answer to a call of that key, or None."""
        place = self._keys.get(key)
        return None if place is None else self._at(place)

    def entries(self) -> Iterator[Entry]:
        """Yields the distinct answers in the order of the file."""
        for place in self._places.values():
            yield self._at(place)

    def add(self, entry: Entry) -> None:
        """Appends an answer. It is safe from a kill of this process when this returns.

        Raises:
            IntarsiaError: If the disk is full.
        """
        data = _line(entry)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b", buffering=0) as file, _locked(file):
            place = _cut_torn_line(file)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError as error:
                file.truncate(place)
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise IntarsiaError(
                    "the disk is full",
                    where=self.path,
                    fix="free some space, then run the same command again: what is recorded is not asked again",
                ) from error
        self._note(entry, place)

    def _note(self, entry: Entry, place: int) -> None:
        self.models.add(entry.model)
        self._places.setdefault(entry.call.identity(entry.model), place)
        if entry.call.key is not None:
            self._keys.setdefault(entry.call.key, place)

    def _read(self) -> None:
        with self.path.open("rb") as file:
            place = 0
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = _parse(line)
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    raise DataError(
                        f"not a recorded answer: {type(error).__name__}: {error}",
                        file=self.path,
                        line=number,
                        fix="remove that line: what it held is asked again; or give another file",
                    ) from None
                self._note(entry, place)
                place += len(line)

    def _at(self, place: int) -> Entry:
        with self.path.open("rb") as file:
            file.seek(place)
            return _parse(file.readline())


def _as_json(entry: Entry) -> dict[str, Any]:
    reply = entry.reply
    answer: dict[str, Any] = {"text": reply.text, "stop": reply.stop}
    if reply.usage is not None:
        answer["usage"] = {"input_tokens": reply.usage.input_tokens, "output_tokens": reply.usage.output_tokens}
    if reply.logprobs is not None:
        answer["logprobs"] = list(reply.logprobs)
    return {"key": entry.call.key} | entry.call.settings(entry.model) | {"reply": answer}


def _line(entry: Entry) -> bytes:
    row = _as_json(entry)
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        # Half of a character, as a model may break one off: JSON can say it, UTF-8 cannot.
        return (json.dumps(row) + "\n").encode()


def _parse(line: bytes) -> Entry:
    row = json.loads(line)
    answer = row["reply"]
    call = Call(
        tuple(_message(message) for message in row["messages"]),
        float(row["temperature"]),
        row["max_tokens"],
        row["seed"],
        row.get("key"),
    )
    if not (isinstance(row["model"], str) and isinstance(answer["text"], str)):
        raise TypeError("model and text must be strings")
    if answer["stop"] not in _STOPS:
        raise ValueError(f"stop is {answer['stop']!r}, but it must be one of {', '.join(_STOPS)}")
    usage = Usage(**answer["usage"]) if "usage" in answer else None
    logprobs = tuple(answer["logprobs"]) if "logprobs" in answer else None
    return Entry(row["model"], call, Reply(answer["text"], usage, answer["stop"], logprobs))


def _message(message: dict[str, Any]) -> Message:
    if message["role"] not in get_args(Role):
        raise ValueError(f"role is {message['role']!r}, but it must be one of {', '.join(get_args(Role))}")
    return Message(message["role"], message["content"])


def _cut_torn_line(file: BinaryIO) -> int:
    """Removes what a kill left of a line at the end of the file; returns the file's length."""
    end = file.seek(0, os.SEEK_END)
    kept = end
    while kept:
        start = max(0, kept - _TAIL_BYTES)
        file.seek(start)
        newline = file.read(kept - start).rfind(b"\n")
        if newline >= 0:
            kept = start + newline + 1
            break
        kept = start
    if kept < end:
        file.truncate(kept)
    return kept


@contextlib.contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    """Keeps other processes from writing meanwhile."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        # Some network file systems know no locks; there, one write a line keeps the lines of two processes apart.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
    yield  # Closing the file ends the lock.
