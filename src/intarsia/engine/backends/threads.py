"""Threads of this process: for functions that wait (a server, a disk) or release the interpreter's lock."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, cast

from intarsia.engine.backends import Ticket
from intarsia.engine.work import BatchReply, Job, as_is, run_batch


class ThreadsBackend:
    """Runs batches in a thread pool. A row that is running when the run is stopped goes on to its end."""

    def __init__(self, call: Callable[[Any], Any], encode: Callable[[Any], Any] | None, *, workers: int) -> None:
        self.workers = workers
        self.decode: Callable[[Any], Any] = as_is
        self._job = Job(call, encode or as_is)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="intarsia")

    def submit(self, rows: Sequence[Any]) -> Ticket:
        return self._pool.submit(run_batch, self._job, rows)

    def wait(self, tickets: Iterable[Ticket], *, block: bool = True) -> Sequence[Ticket]:
        return finished_futures(tickets, block=block)

    def result(self, ticket: Ticket) -> BatchReply:
        return cast("Future[BatchReply]", ticket).result()

    def close(self, *, abort: bool) -> None:
        self._pool.shutdown(wait=not abort, cancel_futures=abort)


def finished_futures(tickets: Iterable[Ticket], *, block: bool) -> list[Ticket]:
    """Which futures are done; if none is and `block`, waits for one."""
    futures = cast("Iterable[Future[BatchReply]]", tickets)
    return list(wait(futures, timeout=None if block else 0, return_when=FIRST_COMPLETED).done)
