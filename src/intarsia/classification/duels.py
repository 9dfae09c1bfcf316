"""Comparing two labels by asking: pairwise contrastive chain of thought, and simpler questions."""

import asyncio
from collections.abc import Sequence
from math import exp, log
from typing import NamedTuple

from intarsia.classification import prompts
from intarsia.classification.asking import Ledger, Questions
from intarsia.classification.config import ClassifierConfig
from intarsia.classification.demonstrations import Demonstrations
from intarsia.classification.labels import LabelSet
from intarsia.classification.prompts import Example
from intarsia.classification.results import Duel
from intarsia.evals.protocol import ChatModel, Message, Reply, assistant, user

_MOST_LOG_ODDS = 20.0


class Verdict(NamedTuple):
    """One answer to which of two labels fits.

    Attributes:
        label: The label it names; None if neither.
        log_odds: Of that label against the other, at least 0, from the answer's log-probabilities; None without.
    """

    label: str | None
    log_odds: float | None


class Analyses:
    """What two labels share and what sets them apart: asked once for each ordered pair, used for all texts.

    Args:
        model: Who is asked.
        labels: All labels.
        config: The settings.
        demonstrations: The examples that are shown; None shows none.

    Attributes:
        known: Ordered pair -> the first four turns of a conversation on it.
    """

    def __init__(
        self, model: ChatModel, labels: LabelSet, config: ClassifierConfig, demonstrations: Demonstrations | None
    ) -> None:
        self._model = model
        self._labels = labels
        self._config = config
        self._demonstrations = demonstrations
        self.known: dict[tuple[str, str], tuple[Message, ...]] = {}
        self._under_way: dict[tuple[str, str], asyncio.Task[tuple[Message, ...]]] = {}

    async def of(self, first: str, second: str, ledger: Ledger) -> tuple[Message, ...]:
        """Returns the first four turns of the conversation on a pair."""
        pair = (first, second)
        if pair in self.known:
            ledger.cost.cache_hits += 2
            return self.known[pair]
        if pair in self._under_way:
            ledger.cost.cache_hits += 2
        else:
            self._under_way[pair] = asyncio.ensure_future(self._ask(first, second, ledger))
            self._under_way[pair].add_done_callback(lambda _: self._under_way.pop(pair, None))
        # Shielded: others may wait for the pair when the text that asked first is given up.
        return await asyncio.shield(self._under_way[pair])

    async def _ask(self, first: str, second: str, ledger: Ledger) -> tuple[Message, ...]:
        examples = self._demonstrations.of_pair(first, second) if self._demonstrations is not None else ()
        turns: list[Message] = []
        for name, question in (
            ("shared", prompts.shared_aspects(self._labels, (first, second), examples)),
            ("contrasts", prompts.CONTRASTS),
        ):
            turns.append(user(question))
            reply = await self._model.chat(
                turns,
                temperature=self._config.temperature,
                max_tokens=self._config.max_tokens,
                seed=self._config.seed,
                key=f"pairs/{first}|{second}/{name}",
            )
            ledger.note_call(reply, pair=True)
            turns.append(assistant(reply.text))
        self.known[first, second] = tuple(turns)
        return self.known[first, second]


class Duels:
    """Compares labels for one text.

    Args:
        questions: The questions of the text.
        text: The text.
        analyses: What is known of pairs.
        demonstrations: The examples that are shown; None shows none.
    """

    def __init__(
        self, questions: Questions, text: str, analyses: Analyses, demonstrations: Demonstrations | None
    ) -> None:
        self._questions = questions
        self._text = text
        self._analyses = analyses
        self._demonstrations = demonstrations

    async def compare(self, first: str, second: str) -> Duel:
        """Holds a duel, in both orders if so set; the higher-ranked label comes first and wins a draw."""
        verdicts = [await self._answer(first, second)]
        if self._questions.config.both_orders:
            verdicts.append(await self._answer(second, first))
        return settle(first, second, verdicts)

    async def _answer(self, first: str, second: str) -> Verdict:
        duel, labels, pair = self._questions.config.duel, self._questions.labels, (first, second)
        question: str | Sequence[Message]
        if duel == "pc_cot":
            analysis = await self._analyses.of(first, second, self._questions.ledger)
            question = [*analysis, user(prompts.decide(labels, pair, self._text))]
        else:
            shown: Sequence[Example] = ()
            if duel in ("few_shot", "few_shot_cot") and self._demonstrations is not None:
                shown = self._demonstrations.of_pair(first, second)
            steps = duel in ("zero_shot_cot", "few_shot_cot")
            question = prompts.compare(labels, pair, self._text, steps=steps, examples=shown)
        mapped, reply = await self._questions.pick(question, pair, duel)
        if mapped is None:
            return Verdict(None, None)
        return Verdict(mapped.label, log_odds(reply))


def settle(first: str, second: str, verdicts: Sequence[Verdict]) -> Duel:
    """Returns the duel that one or two answers make.

    With log-probabilities in every answer the mean of the log-odds decides, which cancels a preference for a position;
    otherwise votes do, and a draw goes to `first`.
    """
    unmapped = sum(verdict.label is None for verdict in verdicts)
    known = [verdict.log_odds for verdict in verdicts if verdict.log_odds is not None]
    if len(known) == len(verdicts):
        signed = [odds if verdict.label == first else -odds for odds, verdict in zip(known, verdicts, strict=True)]
        mean = sum(signed) / len(signed)
        return Duel(first, second, first if mean >= 0 else second, 1 / (1 + exp(-mean)), unmapped)
    votes = [sum(verdict.label == label for verdict in verdicts) for label in (first, second)]
    return Duel(first, second, first if votes[0] >= votes[1] else second, (votes[0] + 1) / (sum(votes) + 2), unmapped)


def log_odds(reply: Reply) -> float | None:
    """Returns the log-odds of an answer that is nothing but a label; None without log-probabilities or with more text.

    The greedy answer is at least as likely as the other label, so what is less than even odds is called even: the rest
    of the probability went to other wordings.
    """
    probability = answer_probability(reply)
    if probability is None:
        return None
    odds = log(max(probability, 1e-12)) - log(max(1 - probability, 1e-12))
    return min(max(odds, 0.0), _MOST_LOG_ODDS)


def answer_probability(reply: Reply) -> float | None:
    """Returns the probability of a reply of one line, from the log-probabilities of its tokens."""
    if reply.logprobs is None or "\n" in reply.text.strip():
        return None
    return min(exp(sum(reply.logprobs)), 1.0)
