"""Turning tokens into text as they come."""

from collections.abc import Sequence
from typing import Any

_REPLACEMENT = "\ufffd"
# Enough tokens before an answer for its first token to be decoded as a continuation, with its leading space.
_CONTEXT_TOKENS = 5


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Decodes tokens without special ones, and without tidying spaces, which would rewrite text already given out."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


class Detokenizer:
    """Decodes a growing sequence piece by piece; the pieces joined are the text of the whole.

    A token may be a part of a character, and its text may depend on the token before (a leading space). So each token
    is decoded together with those before it, and a piece is held back while it ends inside a character.

    Args:
        tokenizer: The model's tokenizer.
        context: Tokens that precede the sequence, if its text continues theirs.
    """

    def __init__(self, tokenizer: Any, context: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._ids = list(context[-_CONTEXT_TOKENS:])
        if decode(tokenizer, self._ids).endswith(_REPLACEMENT):
            self._ids = []
        # Decoding starts at `_start`; the text of the tokens before `_end` was given out.
        self._start, self._end = 0, len(self._ids)

    def push(self, token: int) -> str:
        """Takes the next token and returns the text that is certain now."""
        self._ids.append(token)
        text = self._pending()
        if not text or text.endswith(_REPLACEMENT):
            return ""
        self._start, self._end = self._end, len(self._ids)
        return text

    def flush(self) -> str:
        """Returns the text held back: a character that was never completed, as replacement characters."""
        text = self._pending()
        self._start = self._end = len(self._ids)
        return text

    def _pending(self) -> str:
        given = decode(self._tokenizer, self._ids[self._start : self._end])
        return decode(self._tokenizer, self._ids[self._start :])[len(given) :]
