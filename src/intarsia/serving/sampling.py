"""Choosing the next token of every row of a batch, each row by its own settings.

There is no random state: what is drawn for a row depends on its seed, its choice index and the position only. So a
seeded request gives the same answer in any batch, and decoding that looks at a position twice (speculative decoding)
draws the same number twice.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LogitsProcessor

from intarsia.errors import ModelError

# Most nuclei are far smaller than the vocabulary; sorting all of it for each row and token would cost more than the
# model's last layer.
_NUCLEUS_GUESS = 1024


@dataclass(frozen=True)
class SamplingSettings:
    """How one row is generated.

    Attributes:
        max_tokens: Longest answer, in tokens.
        temperature: 0 takes the likeliest token, more samples.
        top_p: Probability mass of the nucleus that is sampled from.
        seed: Seed of sampling, 0 <= seed < 2**64.
        choice: Which of a request's `n` answers this is; each draws its own numbers from the same seed.
        presence_penalty: Taken off the logit of every token that was generated before.
        frequency_penalty: Taken off the logit of a token for each time it was generated before.
        stop: Texts that end the answer; they are not part of it.
        logprobs: Number of likeliest tokens reported beside each generated one; None for no report.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    choice: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None


def uniform(seed: int, choice: int, step: int) -> float:
    """Returns the number in [0, 1) that decides a token.

    Args:
        seed: The request's seed.
        choice: The answer's index in the request.
        step: The token's index in the answer.
    """
    digest = hashlib.blake2b(struct.pack("<QQQ", seed, choice, step), digest_size=6).digest()
    # 48 bits: the product with a float64 sum of probabilities then stays below that sum.
    return int.from_bytes(digest, "little") / 2.0**48


def keep_nucleus(
    probabilities: Float[Tensor, "rows vocab"], top_p: Float[Tensor, " rows"]
) -> Float[Tensor, "rows vocab"]:
    """Sets to 0 what lies outside the smallest set of likeliest tokens whose probabilities reach `top_p`."""
    size = min(_NUCLEUS_GUESS, probabilities.shape[-1])
    ordered, order = probabilities.topk(size)
    if (ordered.sum(dim=-1) < top_p).any():
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = F.pad(ordered.cumsum(dim=-1)[:, :-1], (1, 0))
    inside = before < top_p[:, None]
    inside[:, 0] = True
    return torch.zeros_like(probabilities).scatter(-1, order, ordered * inside)


def sample_tokens(
    scores: Float[Tensor, "rows vocab"],
    temperature: Float[Tensor, " rows"],
    top_p: Float[Tensor, " rows"],
    uniforms: Float[Tensor, " rows"],
) -> Int[Tensor, " rows"]:
    """Draws one token a row by inverting the cumulative distribution in the order of the vocabulary.

    Args:
        scores: Logits.
        temperature: Above 0.
        top_p: Probability mass of each row's nucleus.
        uniforms: One number in [0, 1) a row, float64.
    """
    # Relative to the largest score, a tiny temperature gives minus infinity and not a NaN.
    probabilities = ((scores - scores.amax(dim=-1, keepdim=True)) / temperature[:, None]).softmax(dim=-1)
    if (top_p < 1).any():
        probabilities = torch.where(top_p[:, None] < 1, keep_nucleus(probabilities, top_p), probabilities)
    cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
    target = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1)


class BatchSampler(LogitsProcessor):
    """Makes the highest score of each row the token that its settings choose, for a `generate` that takes the highest.

    Greedy rows keep their scores, so their answers are those of plain greedy generation whatever stands beside them.

    Args:
        settings: One for each row of the batch.
        width: Length of the padded prompts.
    """

    def __init__(self, settings: Sequence[SamplingSettings], width: int) -> None:
        self._settings = settings
        self._width = width
        self._sampled = [row for row, one in enumerate(settings) if one.temperature > 0]
        self._penalised = [row for row, one in enumerate(settings) if one.presence_penalty or one.frequency_penalty]
        self._reported = [row for row, one in enumerate(settings) if one.logprobs is not None]
        self._logprobs: dict[int, Float[Tensor, "reported vocab"]] = {}

    def __call__(
        self, input_ids: Int[Tensor, "batch seq"], scores: Float[Tensor, "batch vocab"]
    ) -> Float[Tensor, "batch vocab"]:
        """Returns the scores whose highest are the chosen tokens.

        Raises:
            ModelError: If the model's scores are NaN.
        """
        if scores.amax(dim=-1).isnan().any():
            raise ModelError("the model computed NaN scores")
        position = input_ids.shape[1]
        if self._reported:
            self._logprobs[position] = scores[self._reported].log_softmax(dim=-1)
        if not (self._sampled or self._penalised):
            return scores
        scores = scores.clone()
        for row in self._penalised:
            one = self._settings[row]
            tokens, counts = torch.unique(input_ids[row, self._width :], return_counts=True)
            scores[row, tokens] -= one.presence_penalty + one.frequency_penalty * counts
        if self._sampled:
            self._choose(scores, position - self._width)
        return scores

    def _choose(self, scores: Float[Tensor, "batch vocab"], step: int) -> None:
        # Metal has no float64.
        device = torch.device("cpu") if scores.device.type == "mps" else scores.device
        rows = [self._settings[row] for row in self._sampled]
        tokens = sample_tokens(
            scores[self._sampled].to(device),
            torch.tensor([row.temperature for row in rows], device=device),
            torch.tensor([row.top_p for row in rows], device=device),
            torch.tensor([uniform(row.seed, row.choice, step) for row in rows], dtype=torch.float64, device=device),
        ).to(scores.device)
        chosen = torch.full_like(scores[self._sampled], -torch.inf).scatter(-1, tokens[:, None], 0.0)
        scores[self._sampled] = chosen

    def logprobs(self, row: int, position: int) -> Float[Tensor, " vocab"] | None:
        """Returns the log probabilities a reported row's token at `position` was chosen from.

        They are the model's own, before penalties and temperature. None if the row asked for no report.
        """
        if self._settings[row].logprobs is None:
            return None
        return self._logprobs[position][self._reported.index(row)]

    def forget(self, position: int) -> None:
        """Drops what is kept for `logprobs` of a position whose tokens are final."""
        self._logprobs.pop(position, None)
