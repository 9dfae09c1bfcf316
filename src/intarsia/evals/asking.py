"""Asking about many items at once: bounded, each failure beside its item."""

import asyncio
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sized
from typing import Any, NamedTuple, TypeVar

from intarsia.engine import Outcome
from intarsia.engine.progress import ProgressBar
from intarsia.errors import ConfigError, IntarsiaError
from intarsia.evals.failures import BudgetExceededError, ModelUnusableError

Item = TypeVar("Item")

_FRAMES = 8


class Finished(NamedTuple):
    """An item that is done.

    Attributes:
        place: The item's among the items, counted from 0.
        outcome: What became of it.
    """

    place: int
    outcome: Outcome


async def ask_each(
    fn: Callable[[Item], Awaitable[Any]],
    items: Iterable[Item],
    *,
    concurrency: int = 10,
    key: Callable[[Item], str] | None = None,
) -> AsyncGenerator[Finished, None]:
    """Runs a coroutine function over items and yields each as soon as it is done, in any order.

    Items are taken from their iterable as others are finished, so it may be longer than memory. An item whose function
    raises is an outcome with an error; the others go on. If the consumer stops or is cancelled, what is under way is
    cancelled and has ended when this returns.

    Args:
        fn: A coroutine function of one item.
        items: The items.
        concurrency: How many items are under way at once.
        key: Gives each item the string its outcome is known by; by default its place, counted from 0.

    Raises:
        BudgetExceededError: If the run has made all the calls it may make.
        ModelUnusableError: If the model will not answer any call.
        ConfigError: If `concurrency` is not positive.
    """
    if concurrency < 1:
        raise ConfigError("concurrency", concurrency, "at least 1")
    waiting = enumerate(items)
    running: dict[asyncio.Task[Outcome], int] = {}

    def start() -> None:
        while len(running) < concurrency and (following := next(waiting, None)) is not None:
            index, item = following
            name = str(index) if key is None else key(item)
            running[asyncio.create_task(_outcome(fn, item, name))] = index

    end: BaseException | None = None
    try:
        start()
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            errors = [error for task in done if (error := task.exception()) is not None]
            # What is under way when the run must end is paid for, so it may finish.
            end = end or next(iter(errors), None)
            finished = [(running.pop(task), task) for task in done]
            if end is None:
                # The free places are filled before the consumer, which may be slow, has its turn.
                start()
            for index, task in finished:
                if task.exception() is None:
                    yield Finished(index, task.result())
        if end is not None:
            raise end
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def ask_all(
    fn: Callable[[Item], Awaitable[Any]],
    items: Iterable[Item],
    *,
    concurrency: int = 10,
    key: Callable[[Item], str] | None = None,
    on_result: Callable[[Outcome], None] | None = None,
    description: str = "asking",
    progress: bool = False,
) -> list[Outcome]:
    """Runs a coroutine function over items; returns what became of each, in the order of the items.

    Examples:
        >>> outcomes = run(ask_all(lambda text: model.chat([user(text)]), texts, progress=True))
        >>> [outcome.value.text for outcome in outcomes if outcome.ok]

    Args:
        fn: A coroutine function of one item.
        items: The items.
        concurrency: How many items are under way at once.
        key: Gives each item the string its outcome is known by; by default its place, counted from 0.
        on_result: Called with each outcome as soon as it is there.
        description: What the progress bar says.
        progress: Whether to show a progress bar, if standard error is a terminal.

    Raises:
        BudgetExceededError: If the run has made all the calls it may make.
        ModelUnusableError: If the model will not answer any call.
    """
    outcomes: dict[int, Outcome] = {}
    failed = 0
    total = len(items) if isinstance(items, Sized) else None
    finished = ask_each(fn, items, concurrency=concurrency, key=key)
    with ProgressBar(description, total, shown=progress) as bar:
        try:
            async for index, outcome in finished:
                outcomes[index] = outcome
                failed += not outcome.ok
                bar.update(completed=len(outcomes), failed=failed)
                if on_result is not None:
                    on_result(outcome)
        finally:
            await finished.aclose()
    return [outcomes[index] for index in range(len(outcomes))]


async def _outcome(fn: Callable[[Item], Awaitable[Any]], item: Item, key: str) -> Outcome:
    try:
        return Outcome(key, await fn(item))
    except (BudgetExceededError, ModelUnusableError):
        raise
    except Exception as error:
        # Our own errors say all there is to say.
        known = isinstance(error, IntarsiaError)
        frames = None if known else "".join(traceback.format_exception(error, limit=-_FRAMES))
        return Outcome(key, error=f"{type(error).__name__}: {error}".removesuffix(": "), traceback=frames)
