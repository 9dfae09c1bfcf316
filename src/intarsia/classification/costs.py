"""What a classification costs: an estimate before it starts, and what it came to."""

from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

from intarsia.classification.config import ClassifierConfig
from intarsia.evals.protocol import Usage


@dataclass
class Cost:
    """What was asked so far.

    Attributes:
        texts: Texts classified.
        calls: Questions about single texts.
        pair_calls: Questions about pairs of labels, whose answers serve all texts.
        cache_hits: Questions about pairs that had been answered before.
        usage: Tokens of all calls, where the model tells them.
        answers: Answers that should name an option.
        unmapped: Those that named none.
    """

    texts: int = 0
    calls: int = 0
    pair_calls: int = 0
    cache_hits: int = 0
    usage: Usage = field(default_factory=Usage)
    answers: int = 0
    unmapped: int = 0

    def describe(self) -> str:
        """Returns the figures in one line."""
        parts = [f"{self.texts} texts", f"{self.calls + self.pair_calls} calls"]
        if self.pair_calls:
            parts[-1] += f" ({self.pair_calls} about pairs of labels, {self.cache_hits} more answered from memory)"
        if self.usage.input_tokens or self.usage.output_tokens:
            parts.append(f"{self.usage.input_tokens} tokens in, {self.usage.output_tokens} out")
        if self.unmapped:
            parts.append(f"{self.unmapped} of {self.answers} answers named no option")
        return ", ".join(parts)


class CallEstimate(NamedTuple):
    """Calls that a run takes if every answer names an option.

    Attributes:
        per_text: Questions about each text.
        pairs: Questions about pairs of labels, at most; they are asked once.
        total: All of them, at most.
    """

    per_text: int
    pairs: int
    total: int


def estimate_calls(labels: int, texts: int, config: ClassifierConfig) -> CallEstimate:
    """Returns how many calls a run takes.

    Args:
        labels: Number of labels.
        texts: Number of texts.
        config: The settings.
    """
    if not config.asks or labels == 1:
        return CallEstimate(0, 0, 0)
    if config.method != "two_stage":
        per_text = config.votes if config.method == "self_consistency" else 1
        return CallEstimate(per_text, 0, per_text * texts)
    kept = candidates_kept(labels, config)
    duels = kept * (kept - 1) // 2 if config.tournament == "round_robin" else kept - 1
    held = duels * (2 if config.both_orders else 1)
    per_text = reducer_calls(labels, config) + held
    pairs = 2 * min(labels * (labels - 1), held * texts) if config.duel == "pc_cot" else 0
    return CallEstimate(per_text, pairs, per_text * texts + pairs)


def candidates_kept(labels: int, config: ClassifierConfig) -> int:
    """Returns how many labels reach the second stage, at most."""
    if labels <= config.k:
        return labels
    return {
        "one_shot": min(config.k, config.top),
        "self_consistency": min(config.k, config.top),
        "supervised": 2,
    }.get(config.reducer, config.k)


def reducer_calls(labels: int, config: ClassifierConfig) -> int:
    """Returns how many questions the first stage asks; none where there are no more than `k` labels."""
    if labels <= config.k:
        return 0
    return {
        "itr": config.k,
        "remove": config.k + 1,
        "cbwr": window_count(labels, config.window, config.window_keep) + 1,
        "one_shot": 1,
        "self_consistency": config.votes,
    }.get(config.reducer, 0)


def window_count(labels: int, window: int, keep: int) -> int:
    """Returns the windows of a clustered reduction: ceil((n - K) / (K - keep)), none for n <= K."""
    return max(0, ceil((labels - window) / (window - keep)))
