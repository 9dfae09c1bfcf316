"""What may stand between a client and the model: rewriting the messages of a chat and the reply."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

ChatMessages = Sequence[Mapping[str, str]]
Ask = Callable[[ChatMessages], str]


class ChatMiddleware(Protocol):
    """Rewrites chat requests on their way to the model and replies on their way back.

    Its methods run in threads of their own, several at once for several requests, and may take their time. An
    `intarsia.errors.InputError` they raise is answered with status 400 and its message. A streamed reply is rewritten
    as a whole and then sent in one piece.
    """

    def rewrite_messages(self, messages: ChatMessages, ask: Ask) -> ChatMessages:
        """Returns the messages the model is to answer.

        Args:
            messages: Each with `role` and `content`.
            ask: Gives the served model's greedy reply to other messages.
        """
        ...

    def rewrite_reply(self, messages: ChatMessages, reply: str, ask: Ask) -> str:
        """Returns the reply the client is to read.

        Args:
            messages: What the model answered, as `rewrite_messages` returned it.
            reply: What it answered.
            ask: As above.
        """
        ...
