"""How many calls a run will make, told before it starts."""

from collections.abc import Iterable
from dataclasses import dataclass

from intarsia.evals.call import Call
from intarsia.evals.protocol import ChatModel
from intarsia.evals.recording import RecordedChat


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run will ask.

    Attributes:
        calls: Calls of the run.
        recorded: Those of them whose answers are recorded, or are asked by an equal call.
    """

    calls: int
    recorded: int = 0

    @property
    def left(self) -> int:
        """Calls that will be made."""
        return self.calls - self.recorded

    def __str__(self) -> str:
        text = f"{self.calls:,} call{'' if self.calls == 1 else 's'}"
        return f"{text}, {self.recorded:,} of them recorded: {self.left:,} to make" if self.recorded else text


def preview(model: ChatModel, calls: Iterable[Call]) -> Preview:
    """Counts calls, and those that a recording answers.

    Args:
        model: The model that will be asked.
        calls: All that it will be asked, as far as that is known before.
    """
    if not isinstance(model, RecordedChat):
        return Preview(sum(1 for _ in calls))
    identities = [call.identity(model.name) for call in calls]
    left = {identity for identity in identities if identity not in model.journal}
    return Preview(len(identities), len(identities) - len(left))
