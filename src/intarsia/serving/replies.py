"""The bodies of answers, whole and in chunks."""

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from intarsia.serving.rows import FinishReason, Piece, TokenLogprob, TokenReport


@dataclass
class Choice:
    """One answer of a request, put together from its pieces."""

    index: int
    text: str = ""
    tokens: int = 0
    report: list[TokenReport] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    def add(self, piece: Piece) -> None:
        """Appends a piece."""
        self.text += piece.text
        self.tokens += piece.tokens
        self.report += piece.report
        self.finish_reason = piece.finish_reason


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Returns the numbers of tokens of a request."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


class ReplyStyle(ABC):
    """The shapes one kind of request is answered in.

    Args:
        model: The model's name.
        reports: Whether the request asks for log probabilities.
        includes_usage: Whether a stream's chunks have a field for the numbers of tokens.
    """

    prefix: str
    kind: str
    chunk_kind: str

    def __init__(self, model: str, *, reports: bool, includes_usage: bool) -> None:
        self._head = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._reports = reports
        self._no_usage: dict[str, Any] = {"usage": None} if includes_usage else {}

    def whole(self, choices: Sequence[Choice], prompt_tokens: int) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        return self._head | {
            "object": self.kind,
            "choices": [self.whole_choice(choice) for choice in choices],
            "usage": usage(prompt_tokens, sum(choice.tokens for choice in choices)),
        }

    @abstractmethod
    def whole_choice(self, choice: Choice) -> dict[str, Any]:
        """One choice of such a body."""

    @abstractmethod
    def chunk(self, index: int, piece: Piece, *, is_first: bool) -> Iterable[dict[str, Any]]:
        """The chunks a piece is streamed as."""

    def usage_chunk(self, usage: dict[str, int]) -> dict[str, Any]:
        """The chunk that ends a stream with the numbers of tokens."""
        return self._head | {"object": self.chunk_kind, "choices": [], "usage": usage}

    def _chunk(self, index: int, finish_reason: FinishReason | None, **fields: Any) -> dict[str, Any]:
        choice = {"index": index, **fields, "finish_reason": finish_reason}
        return self._head | {"object": self.chunk_kind, "choices": [choice], **self._no_usage}


class ChatStyle(ReplyStyle):
    """Answers of `/v1/chat/completions`."""

    prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def whole_choice(self, choice: Choice) -> dict[str, Any]:
        """One choice of an answer that is not streamed."""
        return {
            "index": choice.index,
            "message": {"role": "assistant", "content": choice.text, "refusal": None},
            "logprobs": self._logprobs(choice.report),
            "finish_reason": choice.finish_reason,
        }

    def chunk(self, index: int, piece: Piece, *, is_first: bool) -> Iterable[dict[str, Any]]:
        """The chunks a piece is streamed as: the role first, the reason of the end last and alone."""
        if is_first:
            yield self._chunk(index, None, delta={"role": "assistant", "content": ""}, logprobs=None)
        if piece.text or piece.report:
            yield self._chunk(index, None, delta={"content": piece.text}, logprobs=self._logprobs(piece.report))
        if piece.finish_reason is not None:
            yield self._chunk(index, piece.finish_reason, delta={}, logprobs=None)

    def _logprobs(self, report: Sequence[TokenReport]) -> dict[str, Any] | None:
        if not self._reports:
            return None
        return {
            "content": [_token(one.chosen) | {"top_logprobs": [_token(other) for other in one.top]} for one in report],
            "refusal": None,
        }


class CompletionStyle(ReplyStyle):
    """Answers of `/v1/completions`."""

    prefix, kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def __init__(self, model: str, *, reports: bool, includes_usage: bool) -> None:
        super().__init__(model, reports=reports, includes_usage=includes_usage)
        self._offsets: dict[int, int] = {}

    def whole_choice(self, choice: Choice) -> dict[str, Any]:
        """One choice of an answer that is not streamed."""
        return {
            "index": choice.index,
            "text": choice.text,
            "logprobs": self._logprobs(choice.index, choice.report),
            "finish_reason": choice.finish_reason,
        }

    def chunk(self, index: int, piece: Piece, *, is_first: bool) -> Iterable[dict[str, Any]]:
        """The chunks a piece is streamed as."""
        if piece.text or piece.report or piece.finish_reason is not None:
            logprobs = self._logprobs(index, piece.report)
            yield self._chunk(index, piece.finish_reason, text=piece.text, logprobs=logprobs)

    def _logprobs(self, index: int, report: Sequence[TokenReport]) -> dict[str, Any] | None:
        if not self._reports:
            return None
        offsets = []
        for one in report:
            offsets.append(self._offsets.setdefault(index, 0))
            self._offsets[index] += len(one.chosen.text)
        return {
            "tokens": [one.chosen.text for one in report],
            "token_logprobs": [one.chosen.logprob for one in report],
            # Parts of characters look alike; of those, the likeliest is kept.
            "top_logprobs": [{other.text: other.logprob for other in reversed(one.top)} for one in report],
            "text_offset": offsets,
        }


def _token(token: TokenLogprob) -> dict[str, Any]:
    # A token that is a part of a character has no text, and its bytes cannot be told from that.
    whole = "\ufffd" not in token.text
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.text.encode()) if whole else None}


def model_object(name: str, created: int, context: int) -> dict[str, Any]:
    """Returns the description of the model in `/v1/models`."""
    return {"id": name, "object": "model", "created": created, "owned_by": "intarsia", "max_model_len": context}
