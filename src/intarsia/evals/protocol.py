"""What a black-box method knows of a language model: it answers a conversation.

Methods that only read text (audits, classification by comparison) are written against `ChatModel`, so they run on a
provider of Inspect, a local model, an HTTP endpoint, stored answers or a function, and their tests need no engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: Who says it.
        content: What is said.
    """

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a call cost.

    Attributes:
        input_tokens: Tokens of the conversation.
        output_tokens: Tokens of the reply.
    """

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered.

    Attributes:
        text: The answer.
        usage: Tokens it cost; None where the model does not say.
        stop: Why it ended: the model was done, `max_tokens` was reached, or a filter stopped it.
        logprobs: Natural-log probabilities of the answer's tokens; None where the model does not give them.
    """

    text: str
    usage: Usage | None = None
    stop: Literal["done", "length", "filter"] = "done"
    logprobs: tuple[float, ...] | None = None


class ChatModel(Protocol):
    """A language model that answers conversations.

    Attributes:
        name: What reports call it, e.g. `openai/gpt-4o-mini`.
    """

    @property
    def name(self) -> str:
        """What reports call the model."""
        ...

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int | None = None,
        key: str | None = None,
    ) -> Reply:
        """Answers a conversation.

        Args:
            messages: The turns so far; the last one is the user's.
            temperature: Of sampling; 0 takes the most likely token.
            max_tokens: Most tokens of the answer.
            seed: Of sampling. Repeated draws of one conversation differ in it, so that no cache takes one for another.
            key: Names the call within a run, e.g. `item-17/duel-2`. Recordings find their answer by it.

        Raises:
            ModelCallError: If there is no answer; its `retryable` says whether asking again can help.
        """
        ...


def user(content: str) -> Message:
    """Returns what the user says."""
    return Message("user", content)


def system(content: str) -> Message:
    """Returns an instruction that precedes the conversation."""
    return Message("system", content)


def assistant(content: str) -> Message:
    """Returns what the model said."""
    return Message("assistant", content)
