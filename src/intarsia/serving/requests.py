"""From a request to the pieces of its answers: the way between the web server's loop and the model's thread."""

import asyncio
import contextlib
import queue
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from intarsia.serving.replies import Choice
from intarsia.serving.rows import Piece, Row
from intarsia.serving.sampling import SamplingSettings
from intarsia.serving.schemas import GenerationRequest
from intarsia.serving.worker import ModelWorker


def sampling_settings(body: GenerationRequest, max_tokens: int) -> SamplingSettings:
    """Returns how a request's answers are generated; without a seed it gets one of its own."""
    seed = secrets.randbits(64) if body.seed is None else body.seed % 2**64
    return SamplingSettings(
        max_tokens=max_tokens,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=seed,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        stop=tuple(body.stop),
        logprobs=body.reported_tokens,
    )


class Generation:
    """The answers of one request while they are generated.

    Args:
        worker: Owns the model.
        tokenizer: The model's tokenizer.
        prompts: Tokens and settings of each prompt.
        choices: Number of answers to each prompt.
        continues: Whether answers continue the text of their prompts.

    Raises:
        QueueFullError: If there is no room for the answers.
        ClosingError: If the server is about to stop.
    """

    def __init__(
        self,
        worker: ModelWorker,
        tokenizer: Any,
        prompts: Sequence[tuple[Sequence[int], SamplingSettings]],
        choices: int,
        *,
        continues: bool,
    ) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()
        self.prompt_tokens = sum(len(prompt) for prompt, _ in prompts)
        self._rows = [
            Row(
                prompt,
                replace(settings, choice=choice),
                tokenizer,
                self._listener(index * choices + choice),
                continues=continues,
            )
            for index, (prompt, settings) in enumerate(prompts)
            for choice in range(choices)
        ]
        worker.submit(self._rows)

    def _listener(self, index: int) -> Callable[[Piece], None]:
        def hand_over(piece: Piece) -> None:
            # The loop is closed if the server stopped without waiting for this answer.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._pieces.put_nowait, (index, piece))

        return hand_over

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Yields the index of an answer and its next piece, until all are complete.

        Raises:
            IntarsiaError: If the model failed or the server stops.
        """
        left = len(self._rows)
        while left:
            index, piece = await self._pieces.get()
            if piece.error is not None:
                raise piece.error
            left -= piece.is_last
            yield index, piece

    async def collect(self) -> list[Choice]:
        """Returns all answers when they are complete."""
        choices = [Choice(index) for index in range(len(self._rows))]
        async for index, piece in self.pieces():
            choices[index].add(piece)
        return choices

    def close(self) -> None:
        """Cancels what is not complete."""
        self._worker.cancel(self._rows)


def ask_and_wait(worker: ModelWorker, tokenizer: Any, prompt: Sequence[int], settings: SamplingSettings) -> str:
    """Returns the answer to a prompt; for threads other than the server's loop and the model's.

    Raises:
        IntarsiaError: If there is no room for it, the model failed or the server stops.
    """
    pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    worker.submit([Row(prompt, settings, tokenizer, pieces.put)])
    text = ""
    while True:
        piece = pieces.get()
        if piece.error is not None:
            raise piece.error
        text += piece.text
        if piece.is_last:
            return text
