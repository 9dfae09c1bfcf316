"""The progress bar of a run: on a terminal's standard error, nowhere else."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# One console for all bars: Rich stacks the bar of a map inside a sweep under the sweep's only if they share it.
_CONSOLE = Console(stderr=True)


class ProgressBar:
    """Counts items, and failures if there are any.

    Args:
        description: What is being done.
        total: How many items there are; `None` if that is not known yet.
        shown: Whether to draw it; without a terminal it is never drawn.
    """

    def __init__(self, description: str, total: int | None, *, shown: bool = True) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=_CONSOLE,
            disable=not (shown and _CONSOLE.is_terminal),
        )
        self._task = self._progress.add_task(description, total=total, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def update(self, *, completed: int, failed: int) -> None:
        """Shows how far the run is."""
        note = f"[red]{failed} failed[/red]" if failed else ""
        self._progress.update(self._task, completed=completed, note=note)
