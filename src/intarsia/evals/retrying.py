"""Asking again when a model was busy, timed out or garbled its reply."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from intarsia.errors import ConfigError
from intarsia.evals.call import AnsweringModel, Call
from intarsia.evals.failures import ModelCallError
from intarsia.evals.protocol import ChatModel, Reply

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
# A server that asks for more than this is out of quota rather than busy.
LONGEST_PATIENCE = 600.0


class RetryingChat(AnsweringModel):
    """Asks again after failures that may pass.

    The waits double from one second to a minute, or are what the model asked for if that is longer. A random half is
    added, so that calls that failed together do not come back together.

    Args:
        model: The model.
        tries: How often a call is made at most.
        seed: Of the random part of the waits.
        sleep: Waits some seconds; tests pass their own.
    """

    def __init__(
        self,
        model: ChatModel,
        tries: int = 5,
        *,
        seed: int = 0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if tries < 1:
            raise ConfigError("tries", tries, "at least 1")
        self.model = model
        self.name = model.name
        self._tries = tries
        self._jitter = random.Random(seed)
        self._sleep = sleep

    async def answer(self, call: Call) -> Reply:
        """Answers a call.

        Raises:
            ModelCallError: If there is no answer after all tries, or asking again cannot help.
        """
        for number in range(1, self._tries + 1):
            try:
                return await call.ask(self.model)
            except ModelCallError as error:
                hopeless = not error.retryable or (error.wait_seconds or 0.0) > LONGEST_PATIENCE
                if hopeless or self._tries == 1:
                    raise
                if number == self._tries:
                    raise self._given_up(error) from error
                wait = error.wait_seconds
            await self._sleep(self._wait(number, wait))
        raise AssertionError("unreachable")

    def _wait(self, failures: int, asked: float | None) -> float:
        """Seconds to wait after so many failures; never less than what the model asked for."""
        wait = max(min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (failures - 1)), asked or 0.0)
        return wait * (1 + self._jitter.random() / 2)

    def _given_up(self, error: ModelCallError) -> ModelCallError:
        return ModelCallError(
            f"no answer after {self._tries} tries: {error.what}",
            where=error.where,
            fix=error.fix or "ask fewer things at once (concurrency) or allow more tries",
            retryable=True,
            wait_seconds=error.wait_seconds,
        )
