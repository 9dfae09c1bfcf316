"""Asking about very many items: chunks of them in worker processes or on a Ray cluster."""

import functools
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from intarsia import engine
from intarsia.engine import Outcome
from intarsia.errors import ConfigError
from intarsia.evals.asking import ask_all
from intarsia.evals.background import run
from intarsia.evals.protocol import ChatModel
from intarsia.evals.resolving import chat_model

Item = TypeVar("Item")

_making = threading.Lock()


class Chunk(NamedTuple):
    """Items that one worker asks about at once.

    Attributes:
        number: Its place among the chunks.
        keys: What the items' outcomes are known by.
        items: The items.
    """

    number: int
    keys: list[str]
    items: list[Any]


def ask_in_workers(
    fn: Callable[[ChatModel, Item], Awaitable[Any]],
    items: Iterable[Item],
    *,
    model: str,
    options: Mapping[str, Any] | None = None,
    key: Callable[[Item], str] | None = None,
    chunk: int = 100,
    backend: str = "local",
    workers: int | None = None,
    gpus_per_worker: float = 0.0,
    description: str = "asking",
    progress: bool = True,
) -> list[Outcome]:
    """Runs a coroutine function over items in worker processes; the outcomes are those of `ask_all`, in its order.

    Each worker makes the model once and asks about one chunk after the other, `concurrency` of its items at a time.
    A stopped run continues from its recording (`options={"record": ...}`), which all workers add to: what was answered
    is not asked again, and what failed is. Workers on other machines must see the file at the same path.

    Args:
        fn: A coroutine function of the model and one item, at the top level of a module.
        items: The items; they and the results can be pickled.
        model: Name of the model, as `chat_model` takes it.
        options: Further arguments of `chat_model`.
        key: Gives each item the string its outcome is known by; by default its place, counted from 0.
        chunk: Items of a chunk.
        backend: As in `engine.map`: `"serial"`, `"threads"`, `"local"`, `"ray"` and so on.
        workers: How many workers; by default one a core.
        gpus_per_worker: GPUs, or the fraction of one, that each Ray worker holds.
        description: What the progress bar says, which counts chunks.
        progress: Whether to show a progress bar, if standard error is a terminal.

    Raises:
        ConfigError: If a setting has a value that is not allowed; `max_calls` is not for several processes.
        IntarsiaError: What `chat_model` and `engine.map` raise, and what ends a run of `ask_all`.
    """
    settings = dict(options or {})
    if chunk < 1:
        raise ConfigError("chunk", chunk, "at least 1")
    if settings.get("max_calls") is not None and backend not in ("serial", "threads"):
        allowed = "left out with worker processes, each of which would count its own calls"
        raise ConfigError("max_calls", settings["max_calls"], allowed)
    try:
        outcomes = engine.map(
            functools.partial(ask_chunk, fn=fn, model=model, options=settings),
            _chunks(items, key, chunk),
            key=lambda one: str(one.number),
            backend=backend,
            workers=workers,
            gpus_per_worker=gpus_per_worker,
            chunk=1,
            on_error="raise",
            description=description,
            progress=progress,
        )
    finally:
        # In this process (serial, threads) the next run makes its own, which knows what was recorded meanwhile.
        _made.cache_clear()
    return [outcome for one in outcomes for outcome in one.value or ()]


def ask_chunk(
    chunk: Chunk, *, fn: Callable[[ChatModel, Any], Awaitable[Any]], model: str, options: Mapping[str, Any]
) -> list[Outcome]:
    """Asks about the items of a chunk, in a worker of `engine.map`.

    Args:
        chunk: The items.
        fn: A coroutine function of the model and one item.
        model: Name of the model, which is made when the worker's first chunk needs it.
        options: Further arguments of `chat_model`.
    """
    with _making:
        asked = _made(model, tuple(sorted(options.items())))
    pairs = zip(chunk.keys, chunk.items, strict=True)
    concurrency = options.get("concurrency", 10)
    return run(ask_all(lambda pair: fn(asked, pair[1]), pairs, key=lambda pair: pair[0], concurrency=concurrency))


@functools.lru_cache(maxsize=1)
def _made(ref: str, options: tuple[tuple[str, Any], ...]) -> ChatModel:
    return chat_model(ref, **dict(options))


def _chunks(items: Iterable[Item], key: Callable[[Item], str] | None, size: int) -> Iterator[Chunk]:
    keyed = ((str(index) if key is None else key(item), item) for index, item in enumerate(items))
    number = 0
    while pairs := list(islice(keyed, size)):
        yield Chunk(number, [name for name, _ in pairs], [item for _, item in pairs])
        number += 1
