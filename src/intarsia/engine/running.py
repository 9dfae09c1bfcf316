"""A run from its input to its outcomes: keys, what is done already, what is left, the output and the bar."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from intarsia.engine.backends import open_backend
from intarsia.engine.journal import Journal, outcome_line
from intarsia.engine.keys import job_name, job_settings, stable_key
from intarsia.engine.outcomes import FailedItemError, Outcome
from intarsia.engine.progress import ProgressBar
from intarsia.engine.scheduling import Item, Scheduler
from intarsia.engine.work import Reply, to_json
from intarsia.errors import ConfigError, InputError, IntarsiaError

OnError = Literal["capture", "raise"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a run is run; the meaning of each is documented at `intarsia.engine.map`."""

    output: str | Path | None
    backend: str
    workers: int | None
    gpus_per_worker: float
    chunk: int | None
    retries: int
    on_error: OnError
    description: str | None
    progress: bool

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("chunk", self.chunk)):
            if value is not None and value < 1:
                raise ConfigError(name, value, "at least 1")
        for name, amount in (("retries", self.retries), ("gpus_per_worker", self.gpus_per_worker)):
            if amount < 0:
                raise ConfigError(name, amount, "at least 0")
        if self.on_error not in ("capture", "raise"):
            raise ConfigError("on_error", self.on_error, "'capture' or 'raise'")


def run(
    job: Callable[..., Any],
    call: Callable[[Any], Any],
    rows: Iterable[Any],
    settings: Settings,
    *,
    key: Callable[[Any], str] | None = None,
) -> list[Outcome]:
    """Runs `call` over `rows`; `job` is the user's function that it stands for, whose name goes into the output."""
    total = len(rows) if isinstance(rows, Sized) else None
    with ExitStack() as stack:
        journal = None
        if settings.output is not None:
            journal = stack.enter_context(Journal(settings.output, job=job_name(job), settings=job_settings(job)))
        bar = ProgressBar(settings.description or job_name(job), total, shown=settings.progress)
        ledger = _Ledger(journal, stack.enter_context(bar))
        left = ledger.left(rows, key)
        first = next(left, None)
        ledger.show()
        # Workers are started only if there is work: a finished run returns at once.
        if first is not None:
            _run_left(call, chain([first], left), total, settings, ledger)
        return ledger.in_order()


def _run_left(
    call: Callable[[Any], Any], left: Iterable[Item], total: int | None, settings: Settings, ledger: "_Ledger"
) -> None:
    backend = open_backend(
        settings.backend,
        call,
        encode=to_json if settings.output is not None else None,
        workers=settings.workers,
        items=total,
        gpus_per_worker=settings.gpus_per_worker,
    )
    decode = json.loads if settings.output is not None else backend.decode
    scheduler = Scheduler(backend, left, chunk=settings.chunk, retries=settings.retries)
    try:
        for finished in scheduler:
            failed = ledger.record(finished, decode)
            if failed and settings.on_error == "raise":
                raise _failure(*failed[0], settings)
    except BaseException:
        # Ctrl-C included. What is finished is kept; that keeping it may fail too must not hide why the run ends.
        with suppress(IntarsiaError):
            for finished in scheduler.finished():
                ledger.record(finished, decode)
        backend.close(abort=True)
        raise
    backend.close(abort=False)


def _failure(outcome: Outcome, reply: Reply, settings: Settings) -> IntarsiaError:
    if reply.cause is not None:
        return reply.cause
    fix = None
    if settings.output is not None:
        fix = f"what is done is in {settings.output}: the same call continues from there"
    return FailedItemError(outcome, fix=fix)


class _Ledger:
    """The outcomes so far, by place in the input."""

    def __init__(self, journal: Journal | None, bar: ProgressBar) -> None:
        self._journal = journal
        self._bar = bar
        self._outcomes: dict[int, Outcome] = {}
        self._failed = 0

    def left(self, rows: Iterable[Any], key: Callable[[Any], str] | None) -> Iterator[Item]:
        """The items that are not done, taken from `rows` one by one."""
        done = self._journal.done if self._journal is not None else {}
        for index, (name, row) in enumerate(_keyed(rows, key)):
            before = done.get(name)
            if before is not None and before.ok:
                self._outcomes[index] = before
            else:
                yield Item(index, name, row)

    def record(
        self, finished: Sequence[tuple[Item, Reply]], decode: Callable[[Any], Any]
    ) -> list[tuple[Outcome, Reply]]:
        """Adds replies, to the output first; returns those of failed items."""
        recorded = [
            (Outcome(item.key, None if reply.error else decode(reply.value), reply.error, reply.traceback), reply)
            for item, reply in finished
        ]
        if self._journal is not None and recorded:
            self._journal.append(outcome_line(outcome, reply.value) for outcome, reply in recorded)
        for (item, _), (outcome, _) in zip(finished, recorded, strict=True):
            self._outcomes[item.index] = outcome
        failed = [(outcome, reply) for outcome, reply in recorded if not outcome.ok]
        self._failed += len(failed)
        self.show()
        return failed

    def show(self) -> None:
        """Brings the progress bar up to date."""
        self._bar.update(completed=len(self._outcomes), failed=self._failed)

    def in_order(self) -> list[Outcome]:
        """All outcomes in the order of the input."""
        return [self._outcomes[index] for index in range(len(self._outcomes))]


def _keyed(rows: Iterable[Any], key: Callable[[Any], str] | None) -> Iterator[tuple[str, Any]]:
    seen: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        name = stable_key(row) if key is None else key(row)
        if not isinstance(name, str):
            raise InputError(f"key gave {name!r}, but it must give a string", where=f"row {number}")
        seen[name] += 1
        if seen[name] > 1:
            if key is not None:
                raise InputError(f"two rows have the key {name!r}", where=f"row {number}", fix="make keys unique")
            # Equal rows are run each: a function may draw at random. The order of the input tells them apart.
            name = f"{name}-{seen[name]}"
        yield name, row
