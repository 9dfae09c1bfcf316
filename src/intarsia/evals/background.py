"""Running a coroutine to its end from ordinary code: scripts, commands, and notebooks, whose own loop is busy."""

import asyncio
import functools
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_THREAD = "intarsia-asking"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in the library's own event loop and returns its result.

    The loop lives in a thread of its own for as long as the process, so models keep their connections from one call to
    the next. Ctrl-C cancels the coroutine, waits until it has tidied up, and goes on as usual.

    Raises:
        RuntimeError: If called by a coroutine that runs in that loop: it can await instead.
    """
    if threading.current_thread().name == _THREAD:
        coroutine.close()
        raise RuntimeError("run() was called by a coroutine that run() runs: use await there")
    loop = _background_loop()
    started: list[asyncio.Task[T]] = []
    ended = threading.Event()

    def start() -> None:
        task = loop.create_task(coroutine)
        task.add_done_callback(lambda _: ended.set())
        started.append(task)

    def cancel() -> None:
        if started:
            started[0].cancel()
        else:
            coroutine.close()
            ended.set()

    try:
        loop.call_soon_threadsafe(start)
        ended.wait()
    except BaseException:
        # Ctrl-C may come before the start is under way, too.
        loop.call_soon_threadsafe(cancel)
        ended.wait()
        raise
    return started[0].result()


@functools.cache
def _background_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name=_THREAD, daemon=True).start()
    return loop
