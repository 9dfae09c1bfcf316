"""Worker processes on this machine.

Each worker is an executor of one process, not one executor of many: when a process dies, `concurrent.futures` breaks
its whole executor and does not say which call did it. So a death costs one batch, and it is known which.

Processes are spawned, never forked: a fork of a process in which torch has started its threads can hang.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, cast

from intarsia.engine.backends import Ticket, cores
from intarsia.engine.backends.threads import finished_futures
from intarsia.engine.work import BatchReply, Job, WorkerDiedError, load, run_batch
from intarsia.errors import InputError, IntarsiaError

# What the numeric libraries read, once, when they are imported.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)


class LocalBackend:
    """Runs batches in processes that are started as they are needed and live as long as the run.

    Each gets an even share of the cores for its threads, unless the environment already says how many. All die with
    this process, even if it is killed.

    Raises:
        InputError: If the function cannot be sent to another process.
    """

    def __init__(self, call: Callable[[Any], Any], encode: Callable[[Any], Any] | None, *, workers: int) -> None:
        self.workers = workers
        self.decode: Callable[[Any], Any] = pickle.loads
        self._threads = max(1, cores() // workers)
        try:
            self._job = pickle.dumps(Job(call, encode or pickle.dumps))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"the function cannot be sent to worker processes: {error}",
                fix="define it at the top level of a module and bind settings with functools.partial, "
                "or use the backend 'threads' or 'serial'",
            ) from None
        self._idle: list[_Worker] = []
        self._busy: dict[Ticket, _Worker] = {}

    def submit(self, rows: Sequence[Any]) -> Ticket:
        try:
            data = pickle.dumps(rows)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"a row cannot be sent to worker processes: {error}", fix="use the backend 'threads' or 'serial'"
            ) from None
        worker = self._idle.pop() if self._idle else _Worker(self._job, self._threads)
        try:
            ticket = worker.executor.submit(_run_batch, data)
        except BrokenProcessPool:  # It died while it was idle.
            worker = _Worker(self._job, self._threads)
            ticket = worker.executor.submit(_run_batch, data)
        self._busy[ticket] = worker
        return ticket

    def wait(self, tickets: Iterable[Ticket], *, block: bool = True) -> Sequence[Ticket]:
        return finished_futures(tickets, block=block)

    def result(self, ticket: Ticket) -> BatchReply:
        worker = self._busy.pop(ticket)
        try:
            reply = cast("Future[BatchReply]", ticket).result()
        except BrokenProcessPool:
            if worker.ready.exception() is not None:
                raise IntarsiaError(
                    "worker processes cannot start; their own message stands above",
                    fix="a script must call this under `if __name__ == '__main__':`; code typed into an interpreter "
                    "needs the backend 'threads' or 'serial'",
                ) from None
            raise WorkerDiedError from None
        self._idle.append(worker)
        return reply

    def close(self, *, abort: bool) -> None:
        for worker in [*self._idle, *self._busy.values()]:
            worker.close(abort=abort)


@dataclass
class _Worker:
    """One process; `ready` is done once it has started."""

    job: bytes
    threads: int
    context: "_Context" = field(init=False)
    executor: ProcessPoolExecutor = field(init=False)
    ready: "Future[int]" = field(init=False)

    def __post_init__(self) -> None:
        self.context = _Context()
        self.executor = ProcessPoolExecutor(1, mp_context=self.context, initializer=_prepare, initargs=(self.job,))
        # The process starts inside this call, and with spawn it takes the environment as it is now.
        with _threads_in_environment(self.threads):
            self.ready = self.executor.submit(os.getpid)

    def close(self, *, abort: bool) -> None:
        if abort:
            self.context.process.terminate()  # An executor would wait for the row, which may take hours.
        self.executor.shutdown(wait=True, cancel_futures=abort)


class _Context(SpawnContext):
    """Spawning as usual, but it remembers the one process it made, to which executors give no access."""

    process: SpawnProcess

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]
        self.process = SpawnProcess(*args, **kwargs)
        return self.process


_environment_lock = threading.Lock()


@contextmanager
def _threads_in_environment(threads: int) -> Iterator[None]:
    with _environment_lock:
        added = [name for name in _THREAD_VARIABLES if name not in os.environ]
        os.environ.update(dict.fromkeys(added, str(threads)))
        try:
            yield
        finally:
            for name in added:
                del os.environ[name]


# Below: what runs in the worker process. It knows one job, unpickled with the first batch rather than at the start,
# where an error would kill the process without a word.

_pickled_job = b""
_job: Job | None = None


def _prepare(job: bytes) -> None:
    global _pickled_job
    _pickled_job = job
    # Ctrl-C goes to the whole terminal; the parent decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _run_batch(rows: bytes) -> BatchReply:
    global _job
    if _job is None:
        _job = load(_pickled_job)
    return run_batch(_job, load(rows))
