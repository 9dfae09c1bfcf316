"""A question to a model with all that its answer depends on."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from intarsia.engine import stable_key
from intarsia.evals.protocol import ChatModel, Message, Reply


class Call(NamedTuple):
    """What a model is asked.

    Attributes:
        messages: The turns so far.
        temperature: Of sampling.
        max_tokens: Most tokens of the answer.
        seed: Of sampling.
        key: Name of the call within its run.
    """

    messages: tuple[Message, ...]
    temperature: float = 0.0
    max_tokens: int = 1024
    seed: int | None = None
    key: str | None = None

    @property
    def prompt(self) -> str:
        """What was said last."""
        return self.messages[-1].content

    async def ask(self, model: ChatModel) -> Reply:
        """Asks a model.

        Raises:
            ModelCallError: If there is no answer.
        """
        return await model.chat(
            self.messages, temperature=self.temperature, max_tokens=self.max_tokens, seed=self.seed, key=self.key
        )

    def settings(self, model: str) -> dict[str, Any]:
        """What the answer of a model depends on, in JSON's types. The key is not part of it.

        Args:
            model: Name of the model.
        """
        return {
            "model": model,
            "messages": [{"role": message.role, "content": message.content} for message in self.messages],
            "temperature": float(self.temperature),
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }

    def identity(self, model: str) -> str:
        """What a recording knows the call by: equal for calls whose answers may stand for each other.

        Args:
            model: Name of the model.
        """
        return stable_key(self.settings(model))

    def label(self, model: str) -> str:
        """What messages call it: the model, and the key if there is one.

        Args:
            model: Name of the model.
        """
        return model if self.key is None else f"{model}, call {self.key}"


class AnsweringModel(ABC):
    """A `ChatModel` whose subclasses are given calls in one piece.

    Attributes:
        name: What reports call it.
    """

    name: str

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
        return await self.answer(Call(tuple(messages), temperature, max_tokens, seed, key))

    @abstractmethod
    async def answer(self, call: Call) -> Reply:
        """Answers a call.

        Raises:
            ModelCallError: If there is no answer.
        """
