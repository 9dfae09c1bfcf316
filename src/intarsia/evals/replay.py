"""Answering from a recording alone."""

from collections.abc import Sequence
from pathlib import Path

from intarsia.errors import InputError, UnknownNameError
from intarsia.evals.call import AnsweringModel, Call
from intarsia.evals.failures import ModelCallError
from intarsia.evals.protocol import Message, Reply
from intarsia.evals.reply_journal import Entry, ReplyJournal


class ReplayChat(AnsweringModel):
    """Gives the answers that `RecordedChat` wrote, and asks nobody.

    Args:
        path: The recording.
        name: Name of the recorded model; needed if the recording has several.

    Raises:
        InputError: If there is no such file, it has no answers, or has those of several models and `name` is left out.
        UnknownNameError: If it has none of the model `name`.
    """

    def __init__(self, path: str | Path, name: str | None = None) -> None:
        if not Path(path).is_file():
            raise InputError("there is no such recording", where=path, fix="record one first: chat_model(..., record=)")
        self.journal = ReplyJournal(path)
        models = sorted(self.journal.models)
        if not models:
            raise InputError("the recording has no answers", where=path)
        if name is None and len(models) > 1:
            raise InputError(
                f"the recording has answers of several models: {', '.join(models)}",
                where=path,
                fix=f"say which, e.g. replay:{path}#{models[0]}",
            )
        if name is not None and name not in models:
            raise UnknownNameError("recorded model", name, models, where=path)
        self.name = name or models[0]

    async def answer(self, call: Call) -> Reply:
        """Answers a call.

        Raises:
            ModelCallError: If the recording has no answer to it; the message says what differs from the recorded call
                of the same key.
        """
        reply = self.journal.find(call.identity(self.name))
        if reply is None:
            near = None if call.key is None else self.journal.find_key(call.key)
            raise ModelCallError(
                f"the recording has no answer to this call{_differences(call, self.name, near)}",
                where=f"{self.journal.path}, {call.label(self.name)}",
                fix="run with the settings it was recorded with, or ask the model itself and record it",
            )
        return reply


def _differences(call: Call, model: str, near: Entry | None) -> str:
    """Says in what a call differs from the recorded one of the same key."""
    if near is None:
        return ""
    ours, theirs = call.settings(model), near.call.settings(near.model)
    parts = [
        f"{name} is {ours[name]!r} and was {theirs[name]!r}"
        for name in ("model", "temperature", "max_tokens", "seed")
        if ours[name] != theirs[name]
    ]
    if ours["messages"] != theirs["messages"]:
        parts.append(_different_message(call.messages, near.call.messages))
    return f"; of the recorded call of this key, {' and '.join(parts)}" if parts else ""


def _different_message(ours: Sequence[Message], theirs: Sequence[Message]) -> str:
    if len(ours) != len(theirs):
        return f"there are {len(ours)} messages and were {len(theirs)}"
    number, (mine, other) = next(
        (number, pair) for number, pair in enumerate(zip(ours, theirs, strict=True), start=1) if pair[0] != pair[1]
    )
    if mine.role != other.role:
        return f"message {number} is the {mine.role}'s and was the {other.role}'s"
    pairs = zip(mine.content, other.content, strict=False)
    shortest = min(len(mine.content), len(other.content))
    place = next((place for place, (a, b) in enumerate(pairs) if a != b), shortest)
    start = max(0, place - 20)
    now, before = mine.content[start : place + 20], other.content[start : place + 20]
    return f"message {number} differs at character {place + 1} ({now!r}, was {before!r})"
