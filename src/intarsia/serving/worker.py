"""The one thread that owns the model: it gathers waiting rows into batches and generates them."""

import logging
import threading
import time
from collections.abc import Sequence

from intarsia.errors import IntarsiaError
from intarsia.models import CausalLM
from intarsia.serving.config import ServingConfig
from intarsia.serving.generation import end_tokens, generate_rows
from intarsia.serving.rows import Row

log = logging.getLogger(__name__)

_JOIN_SECONDS = 10.0


class QueueFullError(IntarsiaError):
    """There is no room for more waiting rows."""


class ClosingError(IntarsiaError):
    """The server is about to stop."""


class ModelFailedError(IntarsiaError):
    """The model raised an exception while it generated a batch."""


def take_batch(waiting: list[Row], max_rows: int, max_positions: int, context: int | None) -> list[Row]:
    """Removes from the waiting rows those that are generated next, the longest-waiting first.

    Rows that do not fit beside the first ones are skipped and come first next time, so none waits for ever.

    Args:
        waiting: Rows in the order of their arrival; changed in place.
        max_rows: Most rows of a batch.
        max_positions: Most positions of a batch: rows times (longest prompt + longest answer).
        context: Most positions of a padded row; None for no limit.
    """
    batch: list[Row] = []
    left: list[Row] = []
    prompt = answer = 0
    for row in waiting:
        width = max(prompt, len(row.prompt)) + max(answer, row.settings.max_tokens)
        fits = width * (len(batch) + 1) <= max_positions and (context is None or width <= context)
        # The first is taken as it is: what one row may need was checked when it came.
        if not batch or (len(batch) < max_rows and fits):
            batch.append(row)
            prompt, answer = max(prompt, len(row.prompt)), max(answer, row.settings.max_tokens)
        else:
            left.append(row)
    waiting[:] = left
    return batch


class ModelWorker:
    """Owns the model and generates batch after batch.

    Args:
        loaded: Model and tokenizer.
        config: Limits of batches and of the queue.
        context: Most positions of a row; None if the model has no limit.
    """

    def __init__(self, loaded: CausalLM, config: ServingConfig, context: int | None) -> None:
        self._loaded = loaded
        self._config = config
        self._context = context
        self._ends = end_tokens(loaded)
        self._changed = threading.Condition()
        self._waiting: list[Row] = []
        self._running: list[Row] = []
        self._closing = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="intarsia-model", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def closing(self) -> bool:
        """Whether new rows are refused because the server is about to stop."""
        return self._closing

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of rows that are generated and that wait."""
        with self._changed:
            return sum(not row.done for row in self._running), len(self._waiting)

    def submit(self, rows: Sequence[Row]) -> None:
        """Queues the rows of a request.

        Raises:
            ClosingError: If the server is about to stop.
            QueueFullError: If they do not all find room.
        """
        with self._changed:
            if self._closing:
                raise ClosingError("the server is shutting down")
            if len(self._waiting) + len(rows) > self._config.max_queue:
                raise QueueFullError(f"{len(self._waiting)} requests are waiting already", fix="try again later")
            self._waiting += rows
            self._changed.notify_all()

    def cancel(self, rows: Sequence[Row]) -> None:
        """Drops rows nobody waits for any more. Those that run end with the next token."""
        with self._changed:
            for row in rows:
                row.cancel()
            self._waiting = [row for row in self._waiting if not row.done]

    def close(self) -> None:
        """Refuses new rows from now on; those that wait or run go on."""
        self._closing = True

    def stop(self) -> None:
        """Ends the thread after the current token; rows that are not finished fail with `ClosingError`."""
        with self._changed:
            self._closing = self._stopped = True
            for row in (*self._running, *self._waiting):
                row.fail(ClosingError("the server is shutting down"))
            self._waiting = []
            self._changed.notify_all()

    def join(self) -> None:
        """Waits until the thread has ended, for ten seconds at most."""
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        while batch := self._next_batch():
            start = time.perf_counter()
            try:
                generate_rows(self._loaded, batch, self._ends)
            except Exception as error:
                log.exception("the model failed on a batch of %d", len(batch))
                for row in batch:
                    row.fail(ModelFailedError(f"the model failed ({type(error).__name__}); see the server's log"))
            log.debug("batch of %d rows in %.3f s", len(batch), time.perf_counter() - start)

    def _next_batch(self) -> list[Row]:
        """Waits for rows and returns the next batch; an empty one when the thread is to end."""
        config = self._config
        with self._changed:
            self._running = []
            while not self._stopped:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                self._changed.wait_for(
                    lambda: len(self._waiting) >= config.max_batch or self._stopped, config.gather_seconds
                )
                # Stopping and cancelling empty the queue while we wait.
                if self._waiting:
                    self._running = take_batch(self._waiting, config.max_batch, config.max_batch_tokens, self._context)
                    break
            return self._running
