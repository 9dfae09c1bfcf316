"""`sweep`: a function over trials of settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.engine.outcomes import Outcome
from intarsia.engine.running import OnError, Settings, run
from intarsia.errors import InputError


def sweep(
    fn: Callable[..., Any],
    trials: Sequence[Mapping[str, Any]],
    *,
    output: str | Path | None = None,
    backend: str = "local",
    workers: int | None = None,
    gpus_per_worker: float = 0.0,
    retries: int = 2,
    on_error: OnError = "capture",
    description: str | None = None,
    progress: bool = True,
) -> list[Outcome]:
    """Runs `fn(**trial)` for each trial and returns what became of each, in the order of the trials.

    A trial is known by a hash of its (nested) settings, not by its place or the order of its fields, so trials may be
    added to a sweep that has run. Each is sent and recorded on its own. All else is as in `intarsia.engine.map`.

    Examples:
        >>> trials = [{"rank": rank, "seed": seed} for rank in (4, 8, 16) for seed in range(3)]
        >>> outcomes = engine.sweep(train, trials, output="trials.jsonl", workers=1)

    Args:
        fn: A function of the fields of a trial; with `output`, its value must have a JSON form.
        trials: The settings of each trial, of JSON types, nested as needed.
        output: As in `map`.
        backend: As in `map`.
        workers: How many trials run at once; by default one a core of the machine or cluster.
        gpus_per_worker: As in `map`.
        retries: As in `map`.
        on_error: As in `map`.
        description: As in `map`.
        progress: As in `map`.

    Raises:
        InputError: If a trial is not a mapping with strings as keys; and as in `map`.
        IntarsiaError: As in `map`.
    """
    for number, trial in enumerate(trials, start=1):
        if not isinstance(trial, Mapping) or not all(isinstance(name, str) for name in trial):
            raise InputError(
                f"a trial must map names of arguments to values, not be {trial!r}", where=f"trial {number}"
            )
    settings = Settings(
        output=output,
        backend=backend,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        chunk=1,
        retries=retries,
        on_error=on_error,
        description=description,
        progress=progress,
    )
    return run(fn, _Trial(fn), [dict(trial) for trial in trials], settings)


@dataclass(frozen=True)
class _Trial:
    """Calls the function with the fields of a trial as its arguments."""

    fn: Callable[..., Any]

    def __call__(self, trial: Mapping[str, Any]) -> Any:
        return self.fn(**trial)
