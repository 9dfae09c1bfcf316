"""Narrator Mode between clients and a served model: a role card in, a narrated reply out."""

import threading
from collections.abc import Sequence

from intarsia.audit.roleplay.narration import NarratorConfig, Scene, outline_messages
from intarsia.audit.roleplay.prompts import Card
from intarsia.audit.roleplay.roles import Role, parse_card, role_from_record
from intarsia.errors import InputError, IntarsiaError
from intarsia.evals.protocol import Message
from intarsia.serving.middleware import Ask, ChatMessages

_KEPT = 256


class _NarratedMessages(list[dict[str, str]]):
    """Messages that know the scene they belong to, so that the reply to them can be checked."""

    scene: Scene
    query: str


class NarratorMiddleware:
    """Plays characters in Narrator Mode.

    The system message of a chat is the role card: YAML or JSON with at least `name` and `description`, or a plain
    description. With a role of the server's own, chats need none. Chats without either pass unchanged. The outline of a
    role is written once and kept.

    Args:
        role: The character of chats that bring no card.
        config: Which parts of Narrator Mode are on.
    """

    def __init__(self, role: Role | None = None, config: NarratorConfig | None = None) -> None:
        self._role = role
        self._config = config or NarratorConfig()
        self._outlines: dict[Card, str] = {}
        self._locks: dict[Card, threading.Lock] = {}
        self._guard = threading.Lock()

    def rewrite_messages(self, messages: ChatMessages, ask: Ask) -> ChatMessages:
        """Returns the messages with the scene in place of the card.

        Raises:
            InputError: If the last message is not the user's.
            DataError: If the card has no name or no description.
        """
        cards = [message["content"] for message in messages if message["role"] == "system"]
        card = card_of("\n".join(cards)) if cards else None
        if card is None and self._role is not None:
            card = Card(self._role.name, self._role.description, self._role.wiki)
        if card is None:
            return messages
        turns = [dict(message) for message in messages if message["role"] != "system"]
        if not turns or turns[-1]["role"] != "user":
            raise InputError("there is nothing to answer: the last message is not the user's")
        scene = Scene(card, self._config, self._outline(card, ask) if self._config.outline else "")
        narrated = _NarratedMessages([{"role": "system", "content": scene.system_prompt()}, *turns])
        narrated.scene, narrated.query = scene, turns[-1]["content"]
        return narrated

    def rewrite_reply(self, messages: ChatMessages, reply: str, ask: Ask) -> str:
        """Returns what the character says: checked, and without plot."""
        if not isinstance(messages, _NarratedMessages):
            return reply
        checking = messages.scene.check(messages.query, messages.scene.read(reply))
        answer: str | None = None
        while True:
            try:
                asked = next(checking) if answer is None else checking.send(answer)
            except StopIteration as end:
                return str(end.value.reply)
            answer = ask(_plain(asked))

    def _outline(self, card: Card, ask: Ask) -> str:
        with self._guard:
            lock = self._locks.setdefault(card, threading.Lock())
        with lock:
            known = self._outlines.get(card)
            if known is None:
                known = ask(_plain(outline_messages(card))).strip()
                with self._guard:
                    # Clients bring any number of cards; the oldest go.
                    while len(self._outlines) >= _KEPT:
                        oldest = next(iter(self._outlines))
                        del self._outlines[oldest]
                        self._locks.pop(oldest, None)
                    self._outlines[card] = known
            return known


def card_of(text: str) -> Card | None:
    """Returns the card that a system message holds; None if it is empty.

    A text that is no mapping is the description of a character without a name.

    Raises:
        DataError: If it is a card without name or description.
    """
    if not text.strip():
        return None
    try:
        content = parse_card(text)
    except IntarsiaError:
        content = text
    if not isinstance(content, dict) or not ({"name", "description"} & set(content)):
        return Card("the character described here", text.strip())
    role = role_from_record(content)
    return Card(role.name, role.description, role.wiki)


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
