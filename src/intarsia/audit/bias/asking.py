"""Asking a model both stages of an item."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from intarsia.audit.bias.completion import Completion, CompletionClass, completion_prompt, read_completion
from intarsia.audit.bias.config import RejudgeConfig
from intarsia.audit.bias.items import Item, call_seed, item_from_json
from intarsia.audit.bias.judgement import judgement_messages
from intarsia.errors import DataError
from intarsia.evals.protocol import ChatModel, user

OWN, TWIN = "own", "twin"
"""Which of an item's two statements is judged: the completed one, or the one with the groups exchanged."""

_JUDGED = (CompletionClass.STEREOTYPE, CompletionClass.ANTI_STEREOTYPE)


class JudgementReply(NamedTuple):
    """One reply of the second stage, word for word.

    Attributes:
        context: What the judge saw.
        scale: How it was asked.
        of: `"own"` or `"twin"`.
        reply: What it said.
    """

    context: str
    scale: str
    of: str
    reply: str


@dataclass(frozen=True, slots=True)
class Record:
    """What a model said about an item, word for word; scores are made from it again and again.

    Attributes:
        item: The item.
        completion: The reply of the first stage; None for statements that are only judged.
        judgements: The replies of the second.
        error: Why the item has no replies.
        epoch: Which repetition of the whole run, from 1.
    """

    item: Item
    completion: str | None
    judgements: tuple[JudgementReply, ...] = ()
    error: str | None = None
    epoch: int = 1

    def read(self) -> Completion:
        """Returns the completion as it is read; of statements that are only judged, the stereotype or true form."""
        if not self.item.has_first_stage:
            return Completion(CompletionClass.STEREOTYPE, self.item.stereotype, self.item.reversed)
        return read_completion(self.item, self.completion or "")

    def to_json(self) -> dict[str, Any]:
        """Returns the record as JSON values."""
        return {
            "item": self.item.to_json(),
            "completion": self.completion,
            "judgements": [list(each) for each in self.judgements],
            "error": self.error,
            "epoch": self.epoch,
        }


def record_from_json(row: Mapping[str, Any], *, where: str | None = None) -> Record:
    """Reads what `Record.to_json` gave.

    Raises:
        DataError: If it is something else, or the first stage is missing.
    """
    try:
        item = item_from_json(row["item"], where=where)
        judgements = tuple(JudgementReply(*each) for each in row["judgements"])
        completion, failure, epoch = row["completion"], row.get("error"), row.get("epoch", 1)
    except (KeyError, TypeError) as error:
        raise DataError(f"not a record of a re-judge run: {error}", file=where) from None
    if item.has_first_stage and completion is None and failure is None:
        raise DataError(
            "the item has judgements, but no completion: the first stage is missing",
            file=where,
            field=item.id,
            fix="run both stages, or give a log whose first stage was run",
        )
    return Record(item, completion, judgements, failure, epoch)


async def ask_item(
    model: ChatModel, item: Item, config: RejudgeConfig, *, epoch: int = 1, completion: str | None = None
) -> Record:
    """Asks both stages, one call after the other.

    Args:
        model: The model.
        item: What is asked.
        config: The settings.
        epoch: Which repetition of the run; repetitions differ in the seeds of sampling.
        completion: A reply of the first stage that is there already, so that only the second is asked.

    Raises:
        ModelCallError: If a call got no answer.
    """
    reply = completion
    if item.has_first_stage and reply is None:
        answer = await model.chat(
            [user(completion_prompt(item))],
            temperature=config.temperature,
            max_tokens=config.completion_tokens,
            seed=_seed(item, epoch, "completion"),
            key=_key(item, epoch, "completion"),
        )
        reply = answer.text
    record = Record(item, reply, epoch=epoch)
    kind, own, twin = record.read()
    if kind not in _JUDGED or own is None or twin is None:
        return record
    before = _before(item, reply)
    judgements = []
    for context in config.contexts:
        for scale in config.scales:
            for of, statement in ((OWN, own), (TWIN, twin)):
                answer = await model.chat(
                    judgement_messages(statement, scale, context, item.wording, before),
                    temperature=config.temperature,
                    max_tokens=config.judgement_tokens,
                    seed=_seed(item, epoch, context, scale, of),
                    key=_key(item, epoch, context, scale, of),
                )
                judgements.append(JudgementReply(context, scale, of, answer.text))
    return Record(item, reply, tuple(judgements), epoch=epoch)


def most_calls(items: int, judged_only: int, config: RejudgeConfig, *, has_completions: bool = False) -> int:
    """Returns the most calls of a run: one for a completion, and two for each scale and context of its judgement.

    Args:
        items: Items with a completion.
        judged_only: Statements that are only judged.
        config: The settings.
        has_completions: Whether the first stage is there already.
    """
    judgements = 2 * len(config.scales) * len(config.contexts)
    return items * (judgements + (0 if has_completions else 1)) + judged_only * judgements


def _before(item: Item, reply: str | None) -> tuple[str, str]:
    """Returns what `same_chat` shows: the first stage, or for a given statement that it was written."""
    if item.has_first_stage:
        return completion_prompt(item), reply or ""
    return "Write one sentence.", item.stereotype


def _seed(item: Item, epoch: int, *parts: str) -> int:
    return call_seed(item.seed, str(epoch), *parts)


def _key(item: Item, epoch: int, *parts: str) -> str:
    return "/".join([item.id, *([] if epoch == 1 else [f"epoch-{epoch}"]), *parts])
