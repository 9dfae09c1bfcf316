"""Which rows run when: batches of a fitting size, bounded in number, again after the death of a worker."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from intarsia.engine.backends import Backend, Ticket
from intarsia.engine.work import Reply, WorkerDiedError
from intarsia.errors import IntarsiaError

# A batch this long makes the cost of sending it and of syncing the output small, and little is lost by a kill.
_SECONDS_A_BATCH = 0.25
_MOST_ROWS_A_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Item:
    """A row or trial on its way: its place in the input, its key and itself."""

    index: int
    key: str
    row: Any


@dataclass(frozen=True, slots=True)
class _Batch:
    items: list[Item]
    deaths: int = 0


class Scheduler:
    """Iterates over finished batches of items with their replies, in the order they finish.

    At most one batch a worker is under way, and rows are taken from the input only when a worker is free for them. When
    a worker dies, the rows of its batch run again one by one, so that only a row that itself kills workers fails.

    Args:
        backend: Where batches run.
        items: The input, possibly endless and slow.
        chunk: Rows a batch; `None` fits it to the time they take.
        retries: How often a row that was alone on a worker that died runs again.
    """

    def __init__(self, backend: Backend, items: Iterable[Item], *, chunk: int | None, retries: int) -> None:
        self._backend = backend
        self._items = iter(items)
        self._chunk = chunk
        self._size = chunk or 1
        self._retries = retries
        self._again: deque[_Batch] = deque()
        self._running: dict[Ticket, _Batch] = {}

    def __iter__(self) -> Iterator[list[tuple[Item, Reply]]]:
        while self._fill():
            for ticket in self._backend.wait(self._running):
                yield self._collect(ticket)

    def finished(self) -> Iterator[list[tuple[Item, Reply]]]:
        """What is finished and not yet given, without waiting: what can be saved of a run that is being stopped."""
        for ticket in self._backend.wait(self._running, block=False):
            # The run already ends for a reason; a second one must not hide it.
            with suppress(IntarsiaError):
                yield self._collect(ticket)

    def _fill(self) -> bool:
        while len(self._running) < self._backend.workers:
            batch = self._again.popleft() if self._again else _Batch(list(islice(self._items, self._size)))
            if not batch.items:
                break
            self._running[self._backend.submit([item.row for item in batch.items])] = batch
        return bool(self._running)

    def _collect(self, ticket: Ticket) -> list[tuple[Item, Reply]]:
        batch = self._running.pop(ticket)
        try:
            replies, seconds = self._backend.result(ticket)
        except WorkerDiedError as death:
            return self._run_again(batch, death)
        if self._chunk is None:
            fitting = int(_SECONDS_A_BATCH * len(replies) / max(seconds, 1e-9))
            self._size = max(1, min(fitting, 2 * self._size, _MOST_ROWS_A_BATCH))
        return list(zip(batch.items, replies, strict=True))

    def _run_again(self, batch: _Batch, death: WorkerDiedError) -> list[tuple[Item, Reply]]:
        if len(batch.items) > 1:
            self._again.extend(_Batch([item]) for item in batch.items)
            return []
        if batch.deaths < self._retries:
            self._again.append(_Batch(batch.items, batch.deaths + 1))
            return []
        return [(batch.items[0], Reply(error=f"WorkerDiedError: {death.what} (attempts: {batch.deaths + 1})"))]
