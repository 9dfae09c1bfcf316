"""Hearing of samples as they are finished, without a display of Inspect's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from inspect_ai.solver import TaskState

_observer: ContextVar[Callable[[], None] | None] = ContextVar("sample_observer", default=None)


@contextmanager
def watching_samples(observer: Callable[[], None]) -> Iterator[None]:
    """Within the block, `observer` is called after each sample of a task that has `report_sample` as its cleanup."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


async def report_sample(state: TaskState) -> None:
    """Tells the observer, if there is one, that a sample is finished: the `cleanup` of a task."""
    observer = _observer.get()
    if observer is not None:
        observer()
