"""How long work tells its caller how far it is."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

# Called with the number of steps done since the last call.
Progress = Callable[[int], None]

# Opens a stage of the work with a title and, if known, its number of steps; yields what advances it.
Stage = Callable[[str, int | None], AbstractContextManager[Progress]]


@contextmanager
def silent(title: str, total: int | None) -> Iterator[Progress]:
    """A stage that nobody is told of."""
    yield lambda count: None
