"""Counting calls and tokens, and stopping a run that needs more calls than it may make."""

from dataclasses import dataclass, field

from intarsia.errors import ConfigError
from intarsia.evals.call import AnsweringModel, Call
from intarsia.evals.failures import BudgetExceededError
from intarsia.evals.protocol import ChatModel, Reply, Usage


@dataclass(frozen=True, slots=True)
class Spent:
    """What a model was asked and what it cost.

    Attributes:
        calls: Questions put to the model. Asking again after a failure and recorded answers do not count.
        usage: Tokens of its replies, as far as it says.
    """

    calls: int = 0
    usage: Usage = field(default_factory=Usage)

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.calls + other.calls, self.usage + other.usage)


class BudgetedChat(AnsweringModel):
    """Counts what a model is asked, and refuses calls beyond a number.

    Args:
        model: The model.
        max_calls: Most calls; None only counts.

    Attributes:
        spent: What was spent so far.
    """

    def __init__(self, model: ChatModel, max_calls: int | None = None) -> None:
        if max_calls is not None and max_calls < 0:
            raise ConfigError("max_calls", max_calls, "at least 0, or left out")
        self.model = model
        self.name = model.name
        self.spent = Spent()
        self._max_calls = max_calls

    async def answer(self, call: Call) -> Reply:
        """Answers a call.

        Raises:
            BudgetExceededError: If all allowed calls are made.
        """
        if self._max_calls is not None and self.spent.calls >= self._max_calls:
            raise BudgetExceededError(self.name, self._max_calls)
        # Counted before it is made: calls under way must not exceed the number together.
        self.spent += Spent(1)
        reply = await call.ask(self.model)
        self.spent += Spent(0, reply.usage or Usage())
        return reply


def spent(model: ChatModel) -> Spent:
    """Returns what was spent on a model made by `chat_model`."""
    inner: ChatModel | None = model
    while inner is not None and not isinstance(inner, BudgetedChat):
        inner = getattr(inner, "model", None)
    return inner.spent if inner is not None else Spent()
