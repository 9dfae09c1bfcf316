"""What became of one row or trial."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from intarsia.errors import IntarsiaError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row or trial.

    Attributes:
        key: What the item is known by in the output file.
        value: What the function returned; `None` if it failed. With an output file it has been through JSON, so a
            tuple is a list, whether the item ran now or in an earlier run.
        error: Type and message of what it raised, e.g. `"ValueError: no label"`; `None` if it succeeded.
        traceback: The last frames of the traceback, from the function inwards; `None` if there was none to take.
    """

    key: str
    value: Any = None
    error: str | None = None
    traceback: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the function returned."""
        return self.error is None


class FailedItemError(IntarsiaError):
    """An item failed in a run with `on_error="raise"`.

    Args:
        outcome: The failed item.
        fix: What the user can do about it.
    """

    def __init__(self, outcome: Outcome, *, fix: str | None = None) -> None:
        super().__init__(outcome.error or "failed", where=f"item {outcome.key!r}", fix=fix)
        self.outcome = outcome
        if outcome.traceback:
            self.add_note(outcome.traceback)

    def __reduce__(self) -> tuple[object, ...]:
        return (partial(FailedItemError, fix=self.fix), (self.outcome,))
