"""The classifier as a scikit-learn estimator."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from intarsia.classification.classifier import Classifier
from intarsia.classification.config import ClassifierConfig
from intarsia.classification.costs import CallEstimate, Cost
from intarsia.classification.results import Classification, Item
from intarsia.engine import FailedItemError
from intarsia.errors import DataError
from intarsia.evals.background import run
from intarsia.evals.protocol import ChatModel
from intarsia.models.sentence_encoder import SentenceEncoder, TextEncoder


class PairwiseClassifier(ClassifierMixin, BaseEstimator):
    """Classifies texts with a chat model: reduces the labels to a few, then compares them two at a time.

    `fit` trains nothing: it keeps the examples, of which some are shown where two labels are compared. A text is asked
    about once; `predict`, `predict_proba` and `classify` share what was found. An error of the model while one text is
    classified is raised.

    Examples:
        >>> classifier = PairwiseClassifier("openai/gpt-4o-mini").fit(texts, intents)
        >>> classifier.predict(["where is my card"])

    Args:
        model: A chat model, or a reference as `intarsia.evals.chat_model` takes it. May be left out with the method
            `encoder`.
        labels: The labels, or labels with descriptions; by default those of `y`.
        encoder: A sentence encoder: an object with `embed`, or a model argument.
        concurrency: Texts worked on at once.
        abstain_label: What `predict` gives for a text without a label.
        method: See `ClassifierConfig` for this and the others.

    Attributes:
        classes_: The labels, (n_classes,).
        classifier_: The asynchronous classifier.
    """

    def __init__(
        self,
        model: ChatModel | str | None = None,
        labels: Sequence[Any] | Mapping[str, str] | None = None,
        *,
        encoder: TextEncoder | str | None = None,
        concurrency: int = 10,
        abstain_label: Any = None,
        method: str = "two_stage",
        reducer: str = "itr",
        duel: str = "pc_cot",
        tournament: str = "king",
        k: int = 5,
        both_orders: bool = False,
        demonstrations: str = "boundary",
        shots: int = 3,
        few_shot: int = 5,
        window: int = 16,
        window_keep: int = 3,
        windows: str = "diverse",
        top: int = 3,
        votes: int = 5,
        vote_temperature: float = 0.7,
        prototypes: str = "names",
        temperature: float = 0.0,
        max_tokens: int = 200,
        max_characters: int = 512,
        context_tokens: int = 8192,
        max_unmapped: float = 0.2,
        abstain_below: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.labels = labels
        self.encoder = encoder
        self.concurrency = concurrency
        self.abstain_label = abstain_label
        self.method = method
        self.reducer = reducer
        self.duel = duel
        self.tournament = tournament
        self.k = k
        self.both_orders = both_orders
        self.demonstrations = demonstrations
        self.shots = shots
        self.few_shot = few_shot
        self.window = window
        self.window_keep = window_keep
        self.windows = windows
        self.top = top
        self.votes = votes
        self.vote_temperature = vote_temperature
        self.prototypes = prototypes
        self.temperature = temperature
        self.max_tokens = max_tokens
        self.max_characters = max_characters
        self.context_tokens = context_tokens
        self.max_unmapped = max_unmapped
        self.abstain_below = abstain_below
        self.seed = seed

    def fit(self, X: Iterable[str], y: Iterable[Any] | None = None) -> Self:
        """Keeps the labels, and the texts as examples of them.

        Args:
            X: Example texts, (n_texts,); may be empty if `labels` are given.
            y: Their labels, (n_texts,).

        Returns:
            The estimator itself.

        Raises:
            DataError: If texts and labels do not go together, or there are no labels.
            ConfigError: If a setting is out of range, or needs examples or a model that are not there.
        """
        config = ClassifierConfig(**{field.name: getattr(self, field.name) for field in fields(ClassifierConfig)})
        texts, given = _texts(X, may_be_empty=self.labels is not None), None if y is None else np.asarray(y).tolist()
        if given is not None and len(given) != len(texts):
            raise DataError(f"there are {len(texts)} texts and {len(given)} labels", field="y")
        if self.labels is None and given is None:
            raise DataError("there are no labels", field="labels", fix="give labels=, or fit with y")
        # Labels may be numbers; the model reads their text.
        known = list(self.labels) if self.labels is not None else np.unique(np.asarray(given)).tolist()
        names = [str(label) for label in known]
        described = self.labels if isinstance(self.labels, Mapping) else names
        self.classes_ = np.asarray(known)
        self.classifier_ = Classifier(
            self._chat_model(),
            described,
            config,
            examples=list(zip(texts, map(str, given), strict=True)) if given is not None else None,
            encoder=SentenceEncoder(self.encoder) if isinstance(self.encoder, str) else self.encoder,
        )
        self._found: dict[str, Classification] = {}
        self._places = {name: place for place, name in enumerate(names)}
        return self

    def predict(self, X: Iterable[str]) -> npt.NDArray[Any]:
        """Returns the label of each text, (n_texts,); `abstain_label` where there is none."""
        return self._labels_of(self.classify(X))

    def predict_proba(self, X: Iterable[str]) -> npt.NDArray[np.float64]:
        """Returns the probabilities of the labels of each text, (n_texts, n_classes).

        After two stages all of it belongs to the candidates; what an answer leaves open otherwise is spread evenly over
        the labels it did not name.
        """
        return np.stack([self._probabilities(each) for each in self.classify(X)])

    def classify(self, X: Iterable[str]) -> list[Classification]:
        """Returns all that was found out about each text: candidates, duels, confidence, calls."""
        check_is_fitted(self, "classifier_")
        texts = _texts(X)
        run(self._find(texts))
        return [self._found[text] for text in texts]

    async def apredict(self, X: Iterable[str]) -> npt.NDArray[Any]:
        """As `predict`, for code that is asynchronous itself."""
        check_is_fitted(self, "classifier_")
        texts = _texts(X)
        await self._find(texts)
        return self._labels_of([self._found[text] for text in texts])

    async def aclassify(self, X: Iterable[str]) -> AsyncGenerator[tuple[int, Classification], None]:
        """Yields the place and the classification of each text as soon as it is done, in any order."""
        check_is_fitted(self, "classifier_")
        places: dict[str, list[int]] = {}
        for place, text in enumerate(_texts(X)):
            places.setdefault(text, []).append(place)
        new = [text for text in places if text not in self._found]
        for text in places.keys() - set(new):
            for place in places[text]:
                yield place, self._found[text]
        stream = self._stream(new)
        try:
            async for found in stream:
                for place in places[found.id]:
                    yield place, found
        finally:
            await stream.aclose()

    def estimate_calls(self, texts: int) -> CallEstimate:
        """Returns how many calls a number of texts takes."""
        check_is_fitted(self, "classifier_")
        return self.classifier_.estimate(texts)

    @property
    def cost_(self) -> Cost:
        """What was asked so far: calls, tokens, answers from memory."""
        check_is_fitted(self, "classifier_")
        return self.classifier_.cost

    async def _find(self, texts: Sequence[str]) -> None:
        async for _ in self._stream(list(dict.fromkeys(text for text in texts if text not in self._found))):
            pass

    async def _stream(self, texts: Sequence[str]) -> AsyncGenerator[Classification, None]:
        # Going by the text itself, a result does not depend on the other texts.
        items = [Item(text, text) for text in texts]
        finished = self.classifier_.stream(items, concurrency=self.concurrency)
        try:
            async for place, outcome in finished:
                found = outcome.value
                if found is None:
                    raise FailedItemError(outcome)
                self._found[texts[place]] = found
                yield found
        finally:
            await finished.aclose()

    def _labels_of(self, found: Sequence[Classification]) -> npt.NDArray[Any]:
        if all(each.label is not None for each in found):
            return self.classes_[[self._places[str(each.label)] for each in found]]
        labels = np.empty(len(found), dtype=object)
        for place, each in enumerate(found):
            labels[place] = self.abstain_label if each.label is None else self.classes_[self._places[each.label]]
        return labels

    def _probabilities(self, found: Classification) -> npt.NDArray[np.float64]:
        row = np.zeros(len(self.classes_))
        for label, score in found.scores.items():
            row[self._places[label]] = score
        open_places = row == 0
        if found.duels or not open_places.any():
            return row / row.sum()
        row[open_places] = max(0.0, 1 - row.sum()) / open_places.sum()
        return row / row.sum()

    def _chat_model(self) -> ChatModel | None:
        if isinstance(self.model, str):
            from intarsia.evals.resolving import chat_model

            return chat_model(self.model, concurrency=self.concurrency)
        return self.model

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        return tags


def _texts(given: Iterable[str], *, may_be_empty: bool = False) -> list[str]:
    if isinstance(given, str):
        raise DataError("one text was given where several are expected", field="X", fix="give a list: [text]")
    texts = list(given)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"text {place + 1} is {type(text).__name__}, not text", field="X", fix="give strings")
    if not texts and not may_be_empty:
        raise DataError("there are no texts", field="X")
    return [str(text) for text in texts]
