"""One row after the other in this process: for debugging, and where the function itself uses all cores."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from intarsia.engine.backends import Ticket
from intarsia.engine.work import BatchReply, Job, as_is, run_batch


class SerialBackend:
    """Runs a batch at once when it is submitted."""

    workers = 1

    def __init__(self, call: Callable[[Any], Any], encode: Callable[[Any], Any] | None) -> None:
        self._job = Job(call, encode or as_is)
        self.decode: Callable[[Any], Any] = as_is
        self._reply = BatchReply([], 0.0)

    def submit(self, rows: Sequence[Any]) -> Ticket:
        self._reply = run_batch(self._job, rows)
        return "the only one"

    def wait(self, tickets: Iterable[Ticket], *, block: bool = True) -> Sequence[Ticket]:
        return list(tickets)

    def result(self, ticket: Ticket) -> BatchReply:
        return self._reply

    def close(self, *, abort: bool) -> None:
        pass
