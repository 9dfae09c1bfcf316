"""The questions of one text: asked one after the other, mapped to options, counted."""

from collections import Counter
from collections.abc import Sequence

from intarsia.classification.answers import Mapped, map_answer, map_answers
from intarsia.classification.config import ClassifierConfig
from intarsia.classification.costs import Cost
from intarsia.classification.labels import LabelSet
from intarsia.classification.results import Exchange
from intarsia.classification.streams import shuffled
from intarsia.evals.failures import ModelUnusableError
from intarsia.evals.protocol import ChatModel, Message, Reply, Usage, user

_ENOUGH_ANSWERS = 20
"""Answers before a share of unmapped ones says something about the model."""


class UnmappedError(ModelUnusableError):
    """Too many answers named no option; the most frequent of them are in the message. It ends the run."""


class Ledger:
    """What a run asked and could not map, over all texts.

    Args:
        max_unmapped: Share of answers that may name no option.
    """

    def __init__(self, max_unmapped: float) -> None:
        self.cost = Cost()
        self._max_unmapped = max_unmapped
        self._strange: Counter[str] = Counter()

    def note_call(self, reply: Reply, *, pair: bool = False) -> None:
        """Counts a call and its tokens."""
        self.cost.calls += not pair
        self.cost.pair_calls += pair
        self.cost.usage += reply.usage or Usage()

    def note_answer(self, reply: Reply, mapped: bool) -> None:
        """Counts an answer that should name an option.

        Raises:
            UnmappedError: If too many did not.
        """
        self.cost.answers += 1
        if not mapped:
            self.cost.unmapped += 1
            self._strange[reply.text.strip()] += 1
            if self.cost.answers >= _ENOUGH_ANSWERS:
                self._check()

    def close(self) -> None:
        """Checks a run that was too short to be stopped on the way.

        Raises:
            UnmappedError: If no answer at all named an option.
        """
        if self.cost.answers and self.cost.unmapped == self.cost.answers:
            self._check()

    def _check(self) -> None:
        answers, unmapped = self.cost.answers, self.cost.unmapped
        if unmapped > self._max_unmapped * answers:
            shown = "; ".join(repr(_shorten(text)) for text, _ in self._strange.most_common(3))
            raise UnmappedError(
                f"{unmapped} of {answers} answers name no option, more than {self._max_unmapped:.0%}; "
                f"the most frequent ones: {shown}",
                where="the model's answers",
                fix="use a model that follows instructions, allow longer answers (max_tokens), or raise max_unmapped",
            )


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."


class Questions:
    """Asks about one text.

    Args:
        model: Who is asked.
        name: Begins the keys of the calls.
        item: Id of the text; shuffles go by it.
        labels: All labels.
        config: The settings.
        ledger: Where calls are counted.
        shuffle: Whether options are shuffled before each question.

    Attributes:
        calls: Questions so far.
        unmapped: Answers that named no option.
        usage: Tokens so far.
        exchanges: Questions and answers.
    """

    def __init__(
        self,
        model: ChatModel,
        name: str,
        item: str,
        labels: LabelSet,
        config: ClassifierConfig,
        ledger: Ledger,
        *,
        shuffle: bool = True,
    ) -> None:
        self.model = model
        self.name = name
        self.item = item
        self.labels = labels
        self.config = config
        self.ledger = ledger
        self.calls = 0
        self.unmapped = 0
        self.usage = Usage()
        self.exchanges: list[Exchange] = []
        self._shuffle = shuffle

    def mix(self, options: Sequence[str]) -> list[str]:
        """Returns the options in the order of the next question."""
        return shuffled(options, self.config.seed, self.item, self.calls) if self._shuffle else list(options)

    async def pick(
        self,
        prompt: str | Sequence[Message],
        options: Sequence[str],
        stage: str,
        *,
        temperature: float | None = None,
        draw: int | None = None,
    ) -> tuple[Mapped | None, Reply]:
        """Asks for one option; returns it, or None if the answer names none, and the answer."""
        messages, reply = await self._ask(prompt, stage, temperature, draw)
        mapped = map_answer(reply.text, options, self.labels.names)
        self._note(messages, reply, stage, [mapped] if mapped else [])
        return mapped, reply

    async def list(self, prompt: str, options: Sequence[str], stage: str, most: int) -> list[str]:
        """Asks for several options; returns those the answer names, in its order and `most` at most."""
        messages, reply = await self._ask(prompt, stage, None, None)
        mapped = map_answers(reply.text, options, self.labels.names)[:most]
        self._note(messages, reply, stage, mapped)
        return [each.label for each in mapped]

    async def _ask(
        self, prompt: str | Sequence[Message], stage: str, temperature: float | None, draw: int | None
    ) -> tuple[Sequence[Message], Reply]:
        messages = [user(prompt)] if isinstance(prompt, str) else prompt
        self.calls += 1
        reply = await self.model.chat(
            messages,
            temperature=self.config.temperature if temperature is None else temperature,
            max_tokens=self.config.max_tokens,
            seed=self.config.seed if draw is None else self.config.seed + draw,
            key=self._key(stage),
        )
        self.usage += reply.usage or Usage()
        self.ledger.note_call(reply)
        return messages, reply

    def _note(self, messages: Sequence[Message], reply: Reply, stage: str, mapped: Sequence[Mapped]) -> None:
        names = tuple(each.label for each in mapped)
        self.exchanges.append(Exchange(self._key(stage), messages[-1].content, reply.text, names))
        self.unmapped += not mapped
        self.ledger.note_answer(reply, bool(mapped))

    def _key(self, stage: str) -> str:
        return f"{self.name}/{self.calls}-{stage}"
