"""Outlines of roles, asked for once."""

import asyncio

from intarsia.audit.roleplay.narration import outline_messages
from intarsia.audit.roleplay.prompts import Card
from intarsia.evals.per_loop import PerLoop
from intarsia.evals.protocol import ChatModel

OUTLINE_TOKENS = 600


class Outlines:
    """Keeps the outline of every role and model, however many turns ask for it at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Card], str] = {}
        self._locks: PerLoop[dict[tuple[str, Card], asyncio.Lock]] = PerLoop(dict)

    async def get(self, model: ChatModel, card: Card, *, temperature: float = 0.0, seed: int | None = None) -> str:
        """Returns the outline of a role, and asks for it the first time.

        Args:
            model: Who writes it.
            card: The character.
            temperature: Of sampling.
            seed: Of sampling.

        Raises:
            ModelCallError: If there is no answer; then the next turn asks again.
        """
        key = (model.name, card)
        async with self._locks.get().setdefault(key, asyncio.Lock()):
            if key not in self._known:
                reply = await model.chat(
                    outline_messages(card),
                    temperature=temperature,
                    max_tokens=OUTLINE_TOKENS,
                    seed=seed,
                    key=f"outline/{card.name}",
                )
                self._known[key] = reply.text.strip()
            return self._known[key]
