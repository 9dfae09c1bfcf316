"""Remembering what a model answered, so that a run that was stopped, or is repeated, asks nothing twice."""

import asyncio
from pathlib import Path
from weakref import WeakValueDictionary

from intarsia.evals.call import AnsweringModel, Call
from intarsia.evals.per_loop import PerLoop
from intarsia.evals.protocol import ChatModel, Reply
from intarsia.evals.reply_journal import Entry, ReplyJournal


class RecordedChat(AnsweringModel):
    """Asks a model and records its replies; what is recorded is answered without asking.

    A call is known by the model's name, the messages, temperature, `max_tokens` and seed. Its key is written beside it
    and may differ. Equal calls that are under way at the same time are asked once.

    Args:
        model: The model.
        path: The JSONL file. Several processes may record to it at once; each knows what stood in it when it began.

    Attributes:
        journal: The recorded answers.

    Raises:
        DataError: If the file holds something else.
    """

    def __init__(self, model: ChatModel, path: str | Path) -> None:
        self.model = model
        self.name = model.name
        self.journal = ReplyJournal(path)
        self._asking: PerLoop[WeakValueDictionary[str, asyncio.Lock]] = PerLoop(WeakValueDictionary)

    async def answer(self, call: Call) -> Reply:
        """Answers a call."""
        identity = call.identity(self.name)
        async with self._asking.get().setdefault(identity, asyncio.Lock()):
            reply = self.journal.find(identity)
            if reply is None:
                reply = await call.ask(self.model)
                self.journal.add(Entry(self.name, call, reply))
            return reply
