"""Classifying texts: the asynchronous core that the estimator, the command and the evaluations share."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import replace

from intarsia.classification import limits
from intarsia.classification.asking import Ledger, Questions
from intarsia.classification.confidence import candidate_scores
from intarsia.classification.config import ClassifierConfig
from intarsia.classification.costs import CallEstimate, Cost, estimate_calls
from intarsia.classification.demonstrations import Demonstrations
from intarsia.classification.duels import Analyses, Duels
from intarsia.classification.labels import LabelSet
from intarsia.classification.prompts import Example
from intarsia.classification.reducers import REDUCERS, Reduction
from intarsia.classification.results import Classification, Duel, Item
from intarsia.classification.single_stage import ask_once, ask_votes, nearest_label
from intarsia.classification.tournaments import TOURNAMENTS
from intarsia.classification.vectors import LabelVectors
from intarsia.errors import ConfigError, DataError
from intarsia.evals.asking import Finished, ask_each
from intarsia.evals.protocol import ChatModel, Message
from intarsia.models.sentence_encoder import SentenceEncoder, TextEncoder


class Classifier:
    """Classifies texts by asking a chat model.

    Results do not depend on how many texts are worked on at a time: each text has its own random choices, and what is
    asked about pairs of labels is asked once and depends on nothing else.

    Args:
        model: Who is asked; may be None with the method `encoder`.
        labels: The labels, or labels with descriptions.
        config: The settings.
        examples: Texts with their labels, for demonstrations and centroids; at least one of each label. Without any,
            duels show none.
        encoder: Sentence encoder; by default MiniLM, loaded when it is first needed.
        exclude: Texts that are never shown as examples, because they are to be classified.
        keep_transcripts: Whether results hold all questions and answers.

    Raises:
        DataError: If labels or examples cannot be used, or the options do not fit what the model can read.
        ConfigError: If the settings need examples or a model and there are none.

    Attributes:
        labels: The labels.
        config: The settings.
    """

    def __init__(
        self,
        model: ChatModel | None,
        labels: LabelSet | Iterable[str] | Mapping[str, str],
        config: ClassifierConfig | None = None,
        *,
        examples: Sequence[Example] | None = None,
        encoder: TextEncoder | None = None,
        exclude: Sequence[str] = (),
        keep_transcripts: bool = False,
    ) -> None:
        self.labels = LabelSet.of(labels)
        self.config = config or ClassifierConfig()
        if model is None and self.config.asks:
            raise ConfigError("model", None, f"a chat model with the method {self.config.method}")
        if not examples and self.config.needs_examples:
            raise ConfigError("examples", [], "texts with labels: these settings are of no use without")
        self._model = model
        self._keep_transcripts = keep_transcripts
        self._ledger = Ledger(self.config.max_unmapped)
        encoder = encoder or SentenceEncoder()
        self._demonstrations = None
        if examples and self.config.uses_examples:
            self._demonstrations = Demonstrations(
                examples,
                self.labels,
                kind=self.config.demonstrations,
                shots=self.config.shots,
                encoder=encoder,
                seed=self.config.seed,
                exclude=exclude,
            )
        self._vectors = LabelVectors(self.labels, encoder, self._demonstrations, seed=self.config.seed)
        self._in_duels = self._demonstrations if self.config.shows_pairs else None
        self._analyses = None
        if model is not None:
            limits.check_context(self.labels, self.config)
            self._analyses = Analyses(model, self.labels, self.config, self._in_duels)

    @property
    def pairs(self) -> Mapping[tuple[str, str], tuple[Message, ...]]:
        """What was said so far about pairs of labels: shared aspects and contrasts, by ordered pair."""
        return self._analyses.known if self._analyses is not None else {}

    @property
    def cost(self) -> Cost:
        """What was asked so far."""
        return self._ledger.cost

    def estimate(self, texts: int) -> CallEstimate:
        """Returns how many calls a number of texts takes."""
        return estimate_calls(len(self.labels), texts, self.config)

    async def classify(self, item: Item | str) -> Classification:
        """Classifies one text.

        Raises:
            DataError: If the text is empty, or an option is not among the labels.
            ModelCallError: If the model gives no answer.
            UnmappedError: If too many answers so far name no option.
        """
        item = Item(item, item) if isinstance(item, str) else item
        text, cut = limits.one_line(item, self.config.max_characters)
        options = item.options or self.labels.names
        for option in options:
            if option not in self.labels.index:
                raise DataError(f"the option {option!r} is not among the {len(self.labels)} labels", field=item.id)
        found = await self._decide(item, text, options)
        self._ledger.cost.texts += 1
        return replace(found, cut=cut)

    async def stream(self, items: Iterable[Item], *, concurrency: int = 10) -> AsyncGenerator[Finished, None]:
        """Classifies texts and yields each as soon as it is done, in any order.

        Args:
            items: The texts; taken as others are finished, so there may be more than fit into memory.
            concurrency: Texts worked on at once; the questions of one text follow each other.

        Yields:
            The place of a text and its outcome, whose value is a `Classification`; a text whose calls failed is an
            outcome with an error.

        Raises:
            UnmappedError: If too many answers name no option.
            BudgetExceededError: If the run has made all the calls it may make.
            ModelUnusableError: If the model will not answer any call.
        """
        finished = ask_each(self.classify, items, concurrency=concurrency, key=lambda item: item.id)
        try:
            async for each in finished:
                yield each
        finally:
            await finished.aclose()
        self._ledger.close()

    async def _decide(self, item: Item, text: str, options: tuple[str, ...]) -> Classification:
        if len(options) == 1:
            return Classification(item.id, options[0], options[0], options, {options[0]: 1.0}, 1.0)
        if self._model is None or not self.config.asks:
            scores = nearest_label(self._vectors, text, options, self.config.prototypes)
            return self._result(item, tuple(scores)[: self.config.k], scores, (), None)
        name = f"{self.config.method}/{item.id}"
        questions = Questions(self._model, name, item.id, self.labels, self.config, self._ledger, shuffle=item.shuffle)
        if self.config.method == "two_stage":
            return await self._two_stages(item, text, options, questions)
        if self.config.method == "self_consistency":
            scores = await ask_votes(questions, text, options)
        else:
            scores = await ask_once(questions, text, options, self._demonstrations)
        return self._result(item, tuple(scores), scores, (), questions)

    async def _two_stages(
        self, item: Item, text: str, options: tuple[str, ...], questions: Questions
    ) -> Classification:
        if len(options) > self.config.k:
            reduction = Reduction(text, options, questions, self._vectors)
            candidates = await REDUCERS[self.config.reducer](reduction)
        else:
            # Few enough for duels at once. No order of the labels shall be an advantage, so it is a random one.
            candidates = questions.mix(options)
        assert self._analyses is not None, "a method that asks has a model"
        duels = Duels(questions, text, self._analyses, self._in_duels)
        decision = await TOURNAMENTS[self.config.tournament](candidates, duels.compare)
        scores = candidate_scores(candidates, decision)
        return self._result(item, tuple(candidates), scores, decision.duels, questions, winner=decision.winner)

    def _result(
        self,
        item: Item,
        candidates: tuple[str, ...],
        scores: dict[str, float],
        duels: tuple[Duel, ...],
        questions: Questions | None,
        *,
        winner: str | None = None,
    ) -> Classification:
        best = winner or next(iter(scores), None)
        confidence = scores[best] if best is not None else 0.0
        label = best if confidence >= self.config.abstain_below else None
        result = Classification(item.id, label, best, candidates, scores, confidence, duels)
        if questions is None:
            return result
        return replace(
            result,
            calls=questions.calls,
            unmapped=questions.unmapped,
            usage=questions.usage,
            transcript=tuple(questions.exchanges) if self._keep_transcripts else (),
        )
