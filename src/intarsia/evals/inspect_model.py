"""Models of Inspect: every provider it knows, from hosted APIs to local engines."""

from typing import TYPE_CHECKING, Any, Literal

from intarsia.errors import InputError, MissingExtraError
from intarsia.evals.call import AnsweringModel, Call
from intarsia.evals.failures import ModelCallError
from intarsia.evals.protocol import Reply, Usage

if TYPE_CHECKING:
    from inspect_ai.model import Model, ModelOutput

_STOPS: dict[str, Literal["done", "length", "filter"]] = {
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "filter",
}


class InspectChat(AnsweringModel):
    """Asks a model through Inspect.

    A model that is given by name tries once and caches nothing: `RetryingChat` and `RecordedChat` do that, the same for
    all kinds of models. A model object keeps the retries and the cache it was made with.

    Args:
        model: Inspect's name (`provider/model`) or model object.
        api_key: Key of the API, for a name; by default what Inspect finds in the environment.
        timeout: Seconds until an answer is given up, for a name.
        concurrency: Most calls at once that Inspect lets through, for a name.

    Raises:
        MissingExtraError: If Inspect, or the provider's own package, is not installed.
        InputError: If Inspect has no such provider, or the provider lacks a setting such as its key.
    """

    def __init__(
        self,
        model: "str | Model",
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        concurrency: int = 10,
    ) -> None:
        try:
            from inspect_ai import model as inspect_model
        except ModuleNotFoundError:
            raise MissingExtraError("inspect-ai", "eval") from None
        self._inspect = inspect_model
        if isinstance(model, str):
            config = inspect_model.GenerateConfig(
                max_retries=0, attempt_timeout=max(1, round(timeout)), max_connections=concurrency
            )
            try:
                self._model = inspect_model.get_model(model, config=config, api_key=api_key, memoize=False)
            except Exception as error:
                # Providers raise whatever they like here, with what is missing in the message.
                raise InputError(f"Inspect cannot make this model: {error}", where=model) from error
        else:
            self._model = model
        self.name = model if isinstance(model, str) else str(model)

    async def answer(self, call: Call) -> Reply:
        """Answers a call."""
        inspect = self._inspect
        kinds: dict[str, Any] = {
            "system": inspect.ChatMessageSystem,
            "user": inspect.ChatMessageUser,
            "assistant": inspect.ChatMessageAssistant,
        }
        label = call.label(self.name)
        config = inspect.GenerateConfig(temperature=call.temperature, max_tokens=call.max_tokens, seed=call.seed)
        try:
            output = await self._model.generate(
                [kinds[message.role](content=message.content) for message in call.messages], config=config
            )
        except Exception as error:
            raise self._failure(error, label) from error
        if output.error is not None or output.empty:
            raise ModelCallError(output.error or "the reply is empty", where=label, retryable=output.error is None)
        return _reply(output)

    def _failure(self, error: Exception, label: str) -> ModelCallError:
        # tenacity wraps what was raised at the last try.
        attempt = getattr(error, "last_attempt", None)
        cause = (attempt.exception() if attempt is not None else None) or error
        wait = getattr(self._model.api.should_retry(cause), "retry_after", None)
        return ModelCallError(
            f"{type(cause).__name__}: {cause}".removesuffix(": "),
            where=label,
            retryable=self._model.should_retry(cause),
            wait_seconds=wait,
        )


def _reply(output: "ModelOutput") -> Reply:
    usage = None if output.usage is None else Usage(output.usage.input_tokens, output.usage.output_tokens)
    logprobs = output.choices[0].logprobs
    return Reply(
        output.completion,
        usage,
        _STOPS.get(output.stop_reason, "done"),
        None if logprobs is None else tuple(token.logprob for token in logprobs.content),
    )
