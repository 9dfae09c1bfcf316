"""What a long run shows while it works: one line a finished stage, a bar for the one under way."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS = 30


class Stages:
    """Announces stages on stderr.

    Args:
        console: Where to write; by default stderr.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        """Prints a line."""
        self._console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Shows a bar while the block runs and its time afterwards. Yields a function that advances the bar.

        Where there is no terminal, long stages write a line now and then.
        """
        start = said = time.perf_counter()
        done = 0

        def advance(count: int) -> None:
            nonlocal done, said
            bars.advance(task, count)
            done += count
            if not self._console.is_terminal and time.perf_counter() - said > _SECONDS and 0 < done != total:
                said = time.perf_counter()
                self.note(f"{title}: {done}{f' of {total}' if total else ''}, {said - start:.0f} s")

        if not self._console.is_terminal:
            self.note(f"{title} ...")
        with Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        ) as bars:
            task = bars.add_task(title, total=total)
            yield advance
        seconds = time.perf_counter() - start
        self._console.print(f"[green]done[/green] {title} [dim]{seconds:.0f} s[/dim]", soft_wrap=True)
