"""A model that is known through and through: it answers by utilities, with noise that grows with the options."""

import hashlib
from collections.abc import Callable, Sequence
from math import log, log2

import numpy as np
import numpy.typing as npt

from intarsia.classification.labels import LabelSet
from intarsia.classification.prompts import Asked, read_question
from intarsia.errors import ModelError
from intarsia.evals.call import AnsweringModel, Call
from intarsia.evals.protocol import Reply, Usage

Utility = Callable[[str, Sequence[str]], npt.NDArray[np.float64]]
"""Gives the utilities of options for a text, (options,)."""

_CHARACTERS_A_TOKEN = 4


class UtilityResponder(AnsweringModel):
    """Answers the questions of `Classifier` by random utilities.

    Among m options the choice is argmax((u + b [first]) / T + Gumbel noise) with T = 1 + g log2(m / 2): a softmax of
    the utilities whose temperature grows with the number of options. Questions about two options have T = 1. The noise
    is a function of the whole prompt, so the same question has the same answer.

    Args:
        utility: Utilities of options for a text.
        labels: All labels.
        growth: g, how much harder more options are; 0 is a model with nothing to gain from fewer.
        position_bias: b, added to the first option's utility.
        noise: Whether there is Gumbel noise.
        logprobs: Whether answers come with their log-probabilities.
        seed: Of the noise.
        name: What reports call it.
    """

    def __init__(
        self,
        utility: Utility,
        labels: LabelSet,
        *,
        growth: float = 0.0,
        position_bias: float = 0.0,
        noise: bool = True,
        logprobs: bool = False,
        seed: int = 0,
        name: str = "responder",
    ) -> None:
        self.name = name
        self._utility = utility
        self._labels = labels
        self._growth = growth
        self._bias = position_bias
        self._noise = noise
        self._logprobs = logprobs
        self._seed = seed

    async def answer(self, call: Call) -> Reply:
        """Answers a question. Temperature, seed and key make no difference.

        Raises:
            ModelError: If it is asked anything but a question of `Classifier`.
        """
        prompt = call.prompt
        asked = read_question(prompt, self._labels)
        if asked is not None:
            text, logprobs = self._answer(asked, prompt)
        elif "Which aspects do they share?" in prompt or "set them apart" in prompt:
            text, logprobs = "(nothing that matters here)", None
        else:
            raise ModelError("the responder only answers questions of a Classifier", where=prompt[:60])
        usage = Usage(sum(len(message.content) for message in call.messages) // _CHARACTERS_A_TOKEN, len(text) // 4)
        return Reply(text, usage, logprobs=logprobs)

    def _answer(self, asked: Asked, prompt: str) -> tuple[str, tuple[float, ...] | None]:
        utilities = np.array(self._utility(asked.text, asked.options), dtype=float)
        utilities[0] += self._bias
        scaled = utilities / (1 + self._growth * max(0.0, log2(len(utilities) / 2)))
        scores = -scaled if asked.worst else scaled
        if self._noise:
            digest = hashlib.blake2b(f"{self._seed}\x1f{prompt}".encode(), digest_size=16).digest()
            scores = scores + np.random.default_rng(int.from_bytes(digest, "little")).gumbel(size=len(scores))
        order = np.argsort(-scores, kind="stable")[: asked.most]
        named = [asked.options[place] for place in order]
        if asked.most > 1 or asked.worst:
            return f"LABELS: {', '.join(named)}", None
        logprobs = None
        if self._logprobs:
            shifted = scaled - scaled.max()
            logprobs = (float(shifted[order[0]] - log(np.exp(shifted).sum())),)
        return f"LABEL: {named[0]}", logprobs
