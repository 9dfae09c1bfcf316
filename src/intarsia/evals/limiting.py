"""Asking a model only so many things at once."""

import asyncio

from intarsia.errors import ConfigError
from intarsia.evals.call import AnsweringModel, Call
from intarsia.evals.per_loop import PerLoop
from intarsia.evals.protocol import ChatModel, Reply


class LimitedChat(AnsweringModel):
    """Lets calls wait while the model is busy with others.

    Args:
        model: The model.
        concurrency: Most calls at once.
    """

    def __init__(self, model: ChatModel, concurrency: int) -> None:
        if concurrency < 1:
            raise ConfigError("concurrency", concurrency, "at least 1")
        self.model = model
        self.name = model.name
        self._free = PerLoop(lambda: asyncio.Semaphore(concurrency))

    async def answer(self, call: Call) -> Reply:
        """Answers a call."""
        async with self._free.get():
            return await call.ask(self.model)
