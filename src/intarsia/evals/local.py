"""A transformers model in this process; what is asked at the same time is generated together."""

import asyncio
import contextlib
import secrets
import weakref
from collections.abc import Sequence
from concurrent.futures import Future

from intarsia.errors import ModelError
from intarsia.evals.call import AnsweringModel, Call
from intarsia.evals.failures import ModelCallError
from intarsia.evals.protocol import Message, Reply, Usage
from intarsia.models import CausalLM, render_prompt
from intarsia.serving.config import ServingConfig
from intarsia.serving.rows import Piece, Row
from intarsia.serving.sampling import SamplingSettings
from intarsia.serving.worker import ClosingError, ModelFailedError, ModelWorker

# Callers wait in `ask_all` or behind a limit, not in the worker's queue.
_UNLIMITED = 2**31


class LocalChat(AnsweringModel):
    """Asks a model in this process.

    It batches as `intarsia serve` does: a thread owns the model, and calls that wait are generated together. Answers at
    temperature 0, or with a seed, do not depend on what else is asked at the time, up to rounding.

    Args:
        loaded: Model and tokenizer, as `load_causal_lm` gives them. Nothing else may use the model meanwhile.
        name: What reports call it; by default what it was loaded from.
        max_batch: Most calls generated at once.
        max_batch_tokens: Most positions of a batch: calls times (longest conversation + longest answer).
    """

    def __init__(
        self, loaded: CausalLM, *, name: str | None = None, max_batch: int = 32, max_batch_tokens: int = 32768
    ) -> None:
        self.name = name or loaded.model.name_or_path or type(loaded.model).__name__
        self._tokenizer = loaded.tokenizer
        self._context = _context_length(loaded.model)
        config = ServingConfig(max_batch=max_batch, max_batch_tokens=max_batch_tokens, max_queue=_UNLIMITED)
        self._worker = ModelWorker(loaded, config, self._context)
        self._worker.start()
        # The first call puts settings of the tokenizer's file right; later ones only read, from any thread.
        self._tokenizer("", verbose=False)
        # The thread would keep the model in memory for ever.
        self._end = weakref.finalize(self, _end, self._worker)

    def close(self) -> None:
        """Ends the thread, so that the model can leave the memory. Calls under way fail."""
        self._end()

    async def answer(self, call: Call) -> Reply:
        """Answers a call.

        The answer ends where the model's context does, with `stop` "length".

        Raises:
            ModelCallError: If the conversation leaves no room for an answer, the chat template refuses it, or the
                model failed.
        """
        label = call.label(self.name)
        prompt = await asyncio.to_thread(self._tokens, call.messages, label)
        settings = SamplingSettings(
            max_tokens=min(call.max_tokens, self._room(prompt, label)),
            temperature=call.temperature,
            seed=secrets.randbits(64) if call.seed is None else call.seed % 2**64,
        )
        answer = _Answer()
        row = Row(prompt, settings, self._tokenizer, answer.take)
        try:
            self._worker.submit([row])
            last = await asyncio.wrap_future(answer.done)
        except asyncio.CancelledError:
            self._worker.cancel([row])
            raise
        except ClosingError:
            raise ModelCallError("the model was closed", where=label, fix="make a new one") from None
        except ModelFailedError as error:
            what = "the model failed while it answered"
            raise ModelCallError(what, where=label, fix="see the log for its own error") from error
        return Reply(answer.text, Usage(len(prompt), answer.tokens), "length" if last == "length" else "done")

    def _tokens(self, messages: Sequence[Message], label: str) -> list[int]:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = render_prompt(self._tokenizer, turns)
        except ModelError as error:
            raise ModelCallError(error.what, where=label, fix=error.fix) from None
        # A template writes the special tokens itself.
        special = self._tokenizer.chat_template is None
        return list(self._tokenizer(text, add_special_tokens=special, verbose=False).input_ids)

    def _room(self, prompt: Sequence[int], label: str) -> int:
        """Returns how many tokens the model's context leaves for the answer."""
        if not prompt:
            raise ModelCallError("the conversation has no tokens", where=label, fix="say something")
        if self._context is None:
            return _UNLIMITED
        if len(prompt) >= self._context:
            raise ModelCallError(
                f"the conversation has {len(prompt):,} tokens, but the model reads {self._context:,} "
                "with its answer included",
                where=label,
                fix="shorten the conversation, or ask a model with a longer context",
            )
        return self._context - len(prompt)


class _Answer:
    """Puts an answer together in the model's thread."""

    def __init__(self) -> None:
        self.text = ""
        self.tokens = 0
        self.done: Future[str | None] = Future()

    def take(self, piece: Piece) -> None:
        self.text += piece.text
        self.tokens += piece.tokens
        # The caller may have cancelled just now; then nobody hears of the end.
        if piece.is_last and self.done.set_running_or_notify_cancel():
            if piece.error is not None:
                self.done.set_exception(piece.error)
            else:
                self.done.set_result(piece.finish_reason)


def _context_length(model: object) -> int | None:
    """Returns the most positions a model was made for; a fused one says what all of its models can read."""
    own = getattr(model, "context_length", None)
    config = model.config.get_text_config()  # type: ignore[attr-defined]
    made_for = own or getattr(config, "max_position_embeddings", None)
    return made_for if isinstance(made_for, int) else None


def _end(worker: ModelWorker) -> None:
    worker.stop()
    # The last reference may go in the model's own thread, which cannot wait for itself.
    with contextlib.suppress(RuntimeError):
        worker.join()
