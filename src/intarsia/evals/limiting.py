"""Asking a model only so many things at once."""

import asyncio
from collections.abc import Sequence

from intarsia.errors import ConfigError
from intarsia.evals.per_loop import PerLoop
from intarsia.evals.protocol import ChatModel, Message, Reply


class LimitedChat:
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

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int | None = None,
        key: str | None = None,
    ) -> Reply:
        """Answers a conversation; see `ChatModel.chat`."""
        async with self._free.get():
            return await self.model.chat(messages, temperature=temperature, max_tokens=max_tokens, seed=seed, key=key)
