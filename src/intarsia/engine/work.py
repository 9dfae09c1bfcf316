"""What runs inside a worker: a batch of rows through the function, each error caught beside its row."""

import json
import pickle
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from intarsia.engine.keys import json_default
from intarsia.errors import InputError, IntarsiaError

_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does with a row.

    Attributes:
        call: The user's function of one row.
        encode: Makes of its value what travels back. It runs in the worker, so that a value that cannot travel is an
            error of its row and not of the run.
    """

    call: Callable[[Any], Any]
    encode: Callable[[Any], Any]


class Reply(NamedTuple):
    """What a worker says of one row: an encoded value, or an error with its type, message and traceback.

    `cause` is the exception itself where it is one of ours, so that it can be raised again on the other side.
    """

    value: Any = None
    error: str | None = None
    traceback: str | None = None
    cause: IntarsiaError | None = None


class BatchReply(NamedTuple):
    """The replies to a batch, in its order, and the seconds the rows took in the worker."""

    replies: list[Reply]
    seconds: float


class WorkerDiedError(IntarsiaError):
    """The worker was gone before its batch was done."""

    def __init__(self) -> None:
        super().__init__("the worker died: killed, out of memory, or crashed in native code")


def as_is(value: Any) -> Any:
    """The value itself, for workers in this process."""
    return value


def to_json(value: Any) -> str:
    """The value as one line of JSON; NaN and infinity as Python reads them, since a diverged trial is a result."""
    return json.dumps(value, default=json_default)


def load(data: bytes) -> Any:
    """Unpickles what the other side of this run sent.

    Raises:
        InputError: If it needs a module or name that this process cannot import.
    """
    try:
        return pickle.loads(data)
    except Exception as error:
        raise InputError(
            f"a worker process cannot load the function or a row: {type(error).__name__}: {error}",
            fix="define it in a module that every worker can import, or use the backend 'threads' or 'serial'",
        ) from None


def run_batch(job: Job, rows: Sequence[Any]) -> BatchReply:
    """Runs the rows one after the other."""
    start = time.perf_counter()
    replies = [_run(job, row) for row in rows]
    return BatchReply(replies, time.perf_counter() - start)


def _run(job: Job, row: Any) -> Reply:
    try:
        return Reply(job.encode(job.call(row)))
    # SystemExit too: a function that calls an `exit` must not end the run in one backend and its row in another.
    except (Exception, SystemExit) as error:
        return _failure(error)


def _failure(error: BaseException) -> Reply:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("intarsia.engine"):
        frames = frames.tb_next
    report = traceback.TracebackException(type(error), error, frames, limit=-_FRAMES)
    message = f"{type(error).__name__}: {report}".removesuffix(": ")
    cause = error if isinstance(error, IntarsiaError) else None
    return Reply(error=message, traceback="".join(report.format()) if frames else None, cause=cause)
