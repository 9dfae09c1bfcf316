"""Models behind an HTTP API like OpenAI's: `intarsia serve`, vLLM, llama.cpp, Ollama and most hosted ones."""

import json
import math
import os
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from intarsia.errors import ConfigError, MissingExtraError
from intarsia.evals.call import AnsweringModel, Call
from intarsia.evals.failures import ModelCallError, ModelUnusableError
from intarsia.evals.per_loop import PerLoop
from intarsia.evals.protocol import Reply, Usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI

KEY_VARIABLE = "INTARSIA_API_KEY"

# Busy, timed out, conflicting with another request: asking again can help.
_PASSING = (408, 409, 425, 429)
_FIXES = {
    401: f"give the API's key (api_key, or the environment variable {KEY_VARIABLE})",
    403: "the key may not use this model: give another key or another model",
    404: "check the address, which usually ends in /v1, and the model's name: GET .../models lists those there are",
}
_STOPS: dict[str | None, Literal["done", "length", "filter"]] = {"length": "length", "content_filter": "filter"}
_SHOWN_CHARACTERS = 300


class OpenAICompatibleChat(AnsweringModel):
    """Asks a chat model over HTTP. It tries once: `RetryingChat` tries again.

    Args:
        base_url: Address of the API, e.g. `http://127.0.0.1:8000/v1`.
        model: The model's name there, which is also what reports call it.
        api_key: Key of the API; by default the environment variable `INTARSIA_API_KEY`, or none. Keys meant for
            another provider (`OPENAI_API_KEY`) are not sent to an address that was given.
        timeout: Seconds until an answer is given up.

    Raises:
        MissingExtraError: If the `openai` package is not installed.
        ConfigError: If the address, the name or the timeout cannot be one.
    """

    def __init__(self, base_url: str, model: str, *, api_key: str | None = None, timeout: float = 120.0) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError("base_url", base_url, "an address such as http://127.0.0.1:8000/v1")
        if not model:
            raise ConfigError("model", model, "the name of a model")
        if not 0 < timeout < math.inf:
            raise ConfigError("timeout", timeout, "a positive number of seconds")
        try:
            import openai
        except ModuleNotFoundError:
            raise MissingExtraError("openai", "eval") from None
        self.base_url = base_url.rstrip("/")
        self.name = model
        self._openai = openai
        self._timeout = timeout
        self._key = api_key or os.environ.get(KEY_VARIABLE) or "none"
        self._clients = PerLoop(self._client)

    async def answer(self, call: Call) -> Reply:
        """Answers a call."""
        request: dict[str, Any] = call.settings(self.name)
        if call.seed is None:
            del request["seed"]
        openai = self._openai
        try:
            # The raw text: the client takes replies that are not what they should be for objects with fields missing.
            response = await self._clients.get().chat.completions.with_raw_response.create(**request)
        except openai.APITimeoutError:
            raise self._failure(call, f"no answer within {self._timeout:g} s", retryable=True) from None
        except openai.APIConnectionError as error:
            reason = error.__cause__ or error
            raise self._failure(
                call,
                f"the connection failed: {type(reason).__name__}: {reason}".removesuffix(": "),
                fix="check that the server runs and the address is right",
                retryable=True,
            ) from None
        except openai.APIStatusError as error:
            raise self._refusal(call, error) from None
        return self._reply(call, response.text)

    def _client(self) -> "AsyncOpenAI":
        return self._openai.AsyncOpenAI(base_url=self.base_url, api_key=self._key, timeout=self._timeout, max_retries=0)

    def _reply(self, call: Call, text: str) -> Reply:
        """Reads the body of an answer; one that cannot be read may be right the next time."""
        try:
            body = json.loads(text)
        except ValueError:
            raise self._garbled(call, "is not JSON", text) from None
        try:
            if not body["choices"]:
                raise self._garbled(call, "has no choices", text)
            choice = body["choices"][0]
            # A model that was stopped by a filter, or only thought, may say null.
            content = choice["message"]["content"] or ""
            if not isinstance(content, str):
                raise TypeError("content is no text")
            stop = _STOPS.get(choice.get("finish_reason"), "done")
            return Reply(content, _usage(body.get("usage")), stop)
        except (KeyError, TypeError, AttributeError, IndexError):
            raise self._garbled(call, "is no chat completion", text) from None

    def _garbled(self, call: Call, what: str, text: str) -> ModelCallError:
        return self._failure(
            call,
            f"the server's reply {what}: {_shortened(text)!r}",
            fix="check that the address is that of an OpenAI-compatible API",
            retryable=True,
        )

    def _refusal(self, call: Call, error: Any) -> ModelCallError:
        status, body = int(error.status_code), error.body
        detail = body if isinstance(body, Mapping) else {}
        said = detail.get("message") or error.response.text or error.message
        what = f"the server answered {status}: {_shortened(str(said))}"
        if status in (401, 403, 404):
            return ModelUnusableError(what, where=self._where(call), fix=_FIXES[status])
        if detail.get("code") == "insufficient_quota":
            return ModelUnusableError(what, where=self._where(call), fix="the account has no credit left: add some")
        retryable = status in _PASSING or status >= 500
        fix = None if retryable else "the call itself is refused: change what the message names"
        return self._failure(call, what, fix=fix, retryable=retryable, wait=_retry_after(error.response.headers))

    def _failure(
        self, call: Call, what: str, *, fix: str | None = None, retryable: bool = False, wait: float | None = None
    ) -> ModelCallError:
        return ModelCallError(what, where=self._where(call), fix=fix, retryable=retryable, wait_seconds=wait)

    def _where(self, call: Call) -> str:
        return f"{self.base_url}, {call.label(self.name)}"


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, Mapping):
        return None
    return Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to be left alone, which it gives as a number or as a date."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
