"""What is classified and what comes out."""

from dataclasses import dataclass, field
from typing import Any

from intarsia.evals.protocol import Usage


@dataclass(frozen=True, slots=True)
class Item:
    """A text to classify.

    Attributes:
        id: Its name; random choices and recordings go by it.
        text: The text.
        options: The labels it may have, in the order they are shown if it is not shuffled; empty: all labels.
        shuffle: Whether options are shuffled before each question.
    """

    id: str
    text: str
    options: tuple[str, ...] = ()
    shuffle: bool = True


@dataclass(frozen=True, slots=True)
class Duel:
    """A comparison of two labels.

    Attributes:
        first: The higher-ranked label.
        second: The other.
        winner: Which won.
        chance: Estimated probability that `first` is the better one: from log-probabilities where the model gives
            them, else (votes + 1) / (answers + 2), Laplace's rule.
        unmapped: Answers that named neither.
    """

    first: str
    second: str
    winner: str
    chance: float
    unmapped: int = 0

    @property
    def loser(self) -> str:
        """Which lost."""
        return self.second if self.winner == self.first else self.first

    def chance_of(self, label: str) -> float:
        """The estimated probability that `label` is the better one of the two."""
        return self.chance if label == self.first else 1 - self.chance


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer.

    Attributes:
        key: Name of the call.
        prompt: What was said last.
        reply: What the model said.
        mapped: The options the answer names.
    """

    key: str
    prompt: str
    reply: str
    mapped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Classification:
    """What became of a text.

    Attributes:
        id: The item.
        label: Its label; None if it abstained, or no answer named an option.
        best: The label before abstention.
        candidates: What the first stage left, most likely first; for one question over all options, its answer.
        scores: Probabilities of the candidates; all other labels have none.
        confidence: That of `best`.
        duels: The comparisons of the second stage.
        calls: Questions asked about this text; what two labels have in common is asked once for all texts and is not
            among them.
        unmapped: Answers that named no option.
        usage: Tokens of the calls.
        cut: Whether the text was too long and its end was left out.
        transcript: Questions and answers, if they are kept.
    """

    id: str
    label: str | None
    best: str | None
    candidates: tuple[str, ...]
    scores: dict[str, float]
    confidence: float
    duels: tuple[Duel, ...] = ()
    calls: int = 0
    unmapped: int = 0
    usage: Usage = field(default_factory=Usage)
    cut: bool = False
    transcript: tuple[Exchange, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """What is written for the text: JSON values, the same however many texts are worked on at a time."""
        record: dict[str, Any] = {
            "id": self.id,
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "candidates": list(self.candidates),
            "scores": {label: round(score, 6) for label, score in self.scores.items()},
            "calls": self.calls,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
        }
        if self.label != self.best:
            record["abstained_from"] = self.best
        if self.unmapped:
            record["unmapped"] = self.unmapped
        if self.cut:
            record["cut"] = True
        return record
