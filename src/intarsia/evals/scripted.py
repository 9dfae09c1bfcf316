"""A model that is a function: for tests, simulated agents and baselines."""

from collections.abc import Awaitable, Callable
from inspect import isawaitable

from intarsia.evals.call import AnsweringModel, Call
from intarsia.evals.protocol import Reply

Script = Callable[[Call], str | Reply | Awaitable[str | Reply]]


class ScriptedChat(AnsweringModel):
    """Answers with what a function returns, and remembers what it was asked.

    Args:
        script: Gives the answer to a call; may be a coroutine function, and may raise `ModelCallError`.
        name: What reports call it.

    Attributes:
        calls: Everything it was asked, in order.
    """

    def __init__(self, script: Script, *, name: str = "scripted") -> None:
        self._script = script
        self.name = name
        self.calls: list[Call] = []

    async def answer(self, call: Call) -> Reply:
        """Answers a call."""
        self.calls.append(call)
        answer = self._script(call)
        if isawaitable(answer):
            answer = await answer
        return answer if isinstance(answer, Reply) else Reply(answer)
