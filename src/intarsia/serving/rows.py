"""One answer while it is generated: a row of a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from intarsia.serving.detokenizer import Detokenizer, decode
from intarsia.serving.sampling import SamplingSettings
from intarsia.serving.stop_text import StopText

FinishReason = Literal["stop", "length"]


# JSON has no infinity; the API says this of a token that is impossible.
_IMPOSSIBLE = -9999.0


class TokenLogprob(NamedTuple):
    """A token's text and the natural logarithm of its probability."""

    text: str
    logprob: float


class TokenReport(NamedTuple):
    """A generated token and the likeliest ones at its position, best first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class Piece:
    """What one step adds to an answer.

    Attributes:
        text: New text; the pieces' texts joined are the answer.
        tokens: Number of tokens generated, the end token included.
        report: The tokens with their probabilities, if asked for.
        finish_reason: Why the answer ends with this piece; None if it goes on.
        error: What ended it instead.
    """

    text: str = ""
    tokens: int = 0
    report: tuple[TokenReport, ...] = ()
    finish_reason: FinishReason | None = None
    error: Exception | None = None

    @property
    def is_last(self) -> bool:
        """Whether no further piece comes."""
        return self.finish_reason is not None or self.error is not None


class Row:
    """A prompt, how it is to be continued, and who hears of it.

    The thread that owns the model calls `accept`, `end` and `fail`; any thread may call `cancel`.

    Args:
        prompt: Tokens, at least one.
        settings: How the answer is generated.
        tokenizer: The model's tokenizer.
        listener: Called with every piece, in the model's thread; must not block.
        continues: Whether the answer's text continues the prompt's, so that a space between them belongs to it.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        settings: SamplingSettings,
        tokenizer: Any,
        listener: Callable[[Piece], None],
        *,
        continues: bool = False,
    ) -> None:
        self.prompt = list(prompt)
        self.settings = settings
        self.done = False
        self._tokenizer = tokenizer
        self._listener = listener
        self._detokenizer = Detokenizer(tokenizer, self.prompt if continues else ())
        self._stop = StopText(settings.stop)
        self._tokens = 0

    def accept(self, token: int, *, is_end: bool, logprobs: Float[Tensor, " vocab"] | None = None) -> None:
        """Takes the next token of the answer.

        Args:
            token: Its number.
            is_end: Whether it is one that ends an answer.
            logprobs: The log probabilities it was chosen from, if the row reports them.
        """
        self._tokens += 1
        if is_end:
            self._finish(self._stop.push(self._detokenizer.flush()), "stop", 1)
            return
        report = () if logprobs is None else (self._report(token, logprobs),)
        text = self._stop.push(self._detokenizer.push(token))
        if self._stop.found:
            self._finish(text, "stop", 1, report)
        elif self._tokens >= self.settings.max_tokens:
            self._finish(text + self._stop.push(self._detokenizer.flush()), "length", 1, report)
        else:
            self._listener(Piece(text, 1, report))

    def end(self) -> None:
        """Ends the answer where it is: the model stopped by itself."""
        if not self.done:
            self._finish(self._stop.push(self._detokenizer.flush()), "stop", 0)

    def fail(self, error: Exception) -> None:
        """Ends the row with an error instead of an answer."""
        if not self.done:
            self.done = True
            self._listener(Piece(error=error))

    def cancel(self) -> None:
        """Ends the row at its next step; nobody hears of it any more."""
        self.done = True

    def _finish(self, text: str, reason: FinishReason, tokens: int, report: tuple[TokenReport, ...] = ()) -> None:
        self.done = True
        self._listener(Piece(text + self._stop.flush(), tokens, report, "stop" if self._stop.found else reason))

    def _report(self, token: int, logprobs: Float[Tensor, " vocab"]) -> TokenReport:
        top = logprobs.topk(min(self.settings.logprobs or 0, len(logprobs))).indices.tolist()
        chosen, *others = (
            TokenLogprob(decode(self._tokenizer, [number]), max(float(logprobs[number]), _IMPOSSIBLE))
            for number in (token, *top)
        )
        return TokenReport(chosen, tuple(others))
