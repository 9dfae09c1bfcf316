"""The places where batches of rows run: this process, threads, worker processes, Ray."""

import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from intarsia.engine.work import BatchReply
from intarsia.errors import ConfigError, UnknownNameError

Ticket: TypeAlias = Hashable
"""What stands for a batch that was handed in."""

_NAMES = ("serial", "threads", "local", "ray")


class Backend(Protocol):
    """Runs batches of rows.

    Attributes:
        workers: How many batches run at once; no more may be under way.
        decode: What brings back a value that was encoded in the backend's own way.
    """

    workers: int
    decode: Callable[[Any], Any]

    def submit(self, rows: Sequence[Any]) -> Ticket:
        """Hands in a batch."""

    def wait(self, tickets: Iterable[Ticket], *, block: bool = True) -> Sequence[Ticket]:
        """Which of the batches are finished; if none is, waits for one."""

    def result(self, ticket: Ticket) -> BatchReply:
        """The replies of a finished batch.

        Raises:
            WorkerDiedError: If its worker died.
            IntarsiaError: If no worker can run any batch.
        """

    def close(self, *, abort: bool) -> None:
        """Frees what the backend holds; `abort` ends what is still running."""


def open_backend(
    name: str,
    call: Callable[[Any], Any],
    *,
    encode: Callable[[Any], Any] | None = None,
    workers: int | None = None,
    items: int | None = None,
    gpus_per_worker: float = 0.0,
) -> Backend:
    """Opens a backend by its name.

    Args:
        name: `"serial"`, `"threads"`, `"local"`, `"ray"`, `"ray://HOST:PORT"` or `"ray:ADDRESS"`.
        call: The function of a row.
        encode: What workers make of its values; `None` for the backend's own way, which `decode` undoes.
        workers: How many batches run at once; `None` for one a core.
        items: How many rows there are, if that is known: no more workers are taken.
        gpus_per_worker: GPUs, or the fraction of one, that a Ray worker holds.

    Raises:
        UnknownNameError: If there is no such backend.
        ConfigError: If GPUs are asked of a backend that cannot deal them out, or that has none.
        InputError: If the function cannot be sent to the workers.
        MissingExtraError: If Ray is not installed.
        IntarsiaError: If no Ray cluster answers.
    """
    kind, _, address = name.partition(":")
    if kind not in _NAMES or (address and kind != "ray"):
        raise UnknownNameError("engine backend", name, [*_NAMES, "ray://HOST:PORT", "ray:ADDRESS"])
    if gpus_per_worker and kind != "ray":
        raise ConfigError("gpus_per_worker", gpus_per_worker, f"0 with the backend {name!r}: only Ray deals out GPUs")
    if kind == "ray":
        from intarsia.engine.backends.ray import open_ray

        return open_ray(name, call, encode, workers=workers, items=items, gpus_per_worker=gpus_per_worker)
    workers = at_most(workers or cores(), items)
    if kind == "local":
        from intarsia.engine.backends.local import LocalBackend

        return LocalBackend(call, encode, workers=workers)
    if kind == "threads":
        from intarsia.engine.backends.threads import ThreadsBackend

        return ThreadsBackend(call, encode, workers=workers)
    from intarsia.engine.backends.serial import SerialBackend

    return SerialBackend(call, encode)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def at_most(workers: int, items: int | None) -> int:
    """No more workers than there are items to run, where that is known, so that each gets more threads."""
    return workers if items is None else max(1, min(workers, items))
