"""`map`: a function over rows."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from intarsia.engine.outcomes import Outcome
from intarsia.engine.running import OnError, Settings, run

Row = TypeVar("Row")


def map(
    fn: Callable[[Row], Any],
    rows: Iterable[Row],
    *,
    key: Callable[[Row], str] | None = None,
    output: str | Path | None = None,
    backend: str = "local",
    workers: int | None = None,
    gpus_per_worker: float = 0.0,
    chunk: int | None = None,
    retries: int = 2,
    on_error: OnError = "capture",
    description: str | None = None,
    progress: bool = True,
) -> list[Outcome]:
    """Runs a function over rows and returns what became of each, in the order of the rows.

    The outcomes are the same whatever the backend. Rows are taken from their iterable as workers become free, so it may
    be longer than memory. A worker lives for many rows: let the function load its model through a cached loader
    (`functools.cache`), not once a row.

    Examples:
        >>> outcomes = engine.map(functools.partial(score, model="asset:minilm-l6"), rows, output="scores.jsonl")
        >>> [outcome.value for outcome in outcomes if outcome.ok]

    Args:
        fn: A function of one row. For `"local"` it is defined at the top level of a module, or is a
            `functools.partial` of such a function.
        rows: The rows.
        key: Gives each row the string it is known by; unique. By default a hash of the row's content.
        output: A JSONL file to which outcomes are added as they come; values must have a JSON form. If the file is
            there, what succeeded in it is not run again, and what failed is. Safe from kills at any point.
        backend: `"serial"` (this process), `"threads"`, `"local"` (processes of this machine), `"ray"` (the cluster
            Ray finds, or one started here for the run), `"ray://HOST:PORT"` or `"ray:ADDRESS"`.
        workers: How many rows run at once; by default one a core of the machine or cluster.
        gpus_per_worker: GPUs, or the fraction of one, that each Ray worker holds.
        chunk: Rows sent to a worker, and synced to the output, at once. By default as many as take a quarter second.
        retries: How often a row whose worker died (killed, out of memory) runs again before that is its error.
        on_error: `"capture"` puts errors of `fn` into the outcomes; `"raise"` ends the run at the first.
        description: What the progress bar says; by default the name of `fn`.
        progress: Whether to show a progress bar, if standard error is a terminal.

    Raises:
        ConfigError: If a setting has a value that is not allowed.
        UnknownNameError: If there is no such backend.
        MissingExtraError: If the backend is Ray, and Ray is not installed.
        InputError: If `output` is of another function, of the same with other bound settings, or is written by another
            run; if keys are not unique strings; if `fn` cannot be sent to the workers.
        FailedItemError: If an item failed and `on_error` is `"raise"`. An `IntarsiaError` of `fn` is raised as itself.
        IntarsiaError: If no worker can start or no cluster answers, or the disk is full.
    """
    settings = Settings(
        output=output,
        backend=backend,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        chunk=chunk,
        retries=retries,
        on_error=on_error,
        description=description,
        progress=progress,
    )
    return run(fn, fn, rows, settings, key=key)
