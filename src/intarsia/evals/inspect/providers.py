"""Providers of Inspect that are models of ours.

`--model intarsia/REF` is any model that `intarsia.evals.chat_model` knows, e.g. `intarsia/asset:smollm2-135m-instruct`
or `intarsia/replay:answers.jsonl`, with `-M record=FILE` to remember its answers. `--model scripted/NAME` is a function
that was given a name with `add_script`.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from intarsia.errors import InputError, UnknownNameError
from intarsia.evals.protocol import ChatModel, Message, Reply, assistant, system, user
from intarsia.evals.scripted import Script, ScriptedChat

DEFAULT_MAX_TOKENS = 1024
DEFAULT_CONNECTIONS = 10

_STOPS: Mapping[str, StopReason] = {"done": "stop", "length": "max_tokens", "filter": "content_filter"}
_key: ContextVar[str | None] = ContextVar("call_key", default=None)
_scripts: dict[str, Script] = {}


@contextmanager
def naming_call(key: str) -> Iterator[None]:
    """Within the block, calls of our providers have this key, by which recordings find their answers."""
    token = _key.set(key)
    try:
        yield
    finally:
        _key.reset(token)


class ChatModelAPI(ModelAPI):
    """A chat model as a provider of Inspect.

    Args:
        model_name: What follows the provider's name in `--model`.
        base_url: Where it is served, if it is.
        api_key: Its key.
        config: How it generates.
        model_args: What `-M` gave.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008
        **model_args: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self.calls_at_once = config.max_connections or DEFAULT_CONNECTIONS
        self.chat_model = self.open(model_args)

    @abstractmethod
    def open(self, model_args: Mapping[str, Any]) -> ChatModel:
        """Returns the chat model of this name."""

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Asks the chat model.

        Raises:
            ModelCallError: If it gave no answer.
            InputError: If it is given tools.
        """
        if tools:
            raise InputError("a chat model of Intarsia calls no tools", where=self.model_name, fix="use another task")
        reply = await self.chat_model.chat(
            [_message(message) for message in input],
            temperature=config.temperature or 0.0,
            max_tokens=config.max_tokens or DEFAULT_MAX_TOKENS,
            seed=config.seed,
            key=_key.get(),
        )
        return _output(self.model_name, reply)

    def max_connections(self) -> int:
        """How many calls are made at once unless `max_connections` says otherwise."""
        return DEFAULT_CONNECTIONS

    def connection_key(self) -> str:
        """Calls of different models do not wait for one another."""
        return self.model_name


@modelapi("intarsia")
class ReferredChatAPI(ChatModelAPI):
    """`intarsia/REF`: whatever `intarsia.evals.chat_model` makes of the reference."""

    def open(self, model_args: Mapping[str, Any]) -> ChatModel:
        """Returns the model, which tries calls again itself: it waits as long as it is asked to, Inspect does not."""
        from intarsia.evals.resolving import chat_model

        record = model_args.get("record")
        return chat_model(
            self.model_name,
            base_url=self.base_url,
            api_key=self.api_key,
            record=Path(record) if record else None,
            concurrency=self.calls_at_once,
            **{name: value for name, value in model_args.items() if name != "record"},
        )


@modelapi("scripted")
class ScriptedChatAPI(ChatModelAPI):
    """`scripted/NAME`: a function of the call."""

    def open(self, model_args: Mapping[str, Any]) -> ChatModel:
        """Returns the script's model."""
        if self.model_name not in _scripts:
            raise UnknownNameError("script", self.model_name, _scripts)
        return ScriptedChat(_scripts[self.model_name], name=f"scripted/{self.model_name}")


def provider_name(ref: str) -> str:
    """Returns what Inspect calls a model that `intarsia.evals.chat_model` knows by `ref`.

    Args:
        ref: E.g. `asset:smollm2-135m-instruct`, which is `intarsia/asset:smollm2-135m-instruct`, or
            `openai/gpt-4o-mini`, which stays what it is.
    """
    starts = ("asset:", "replay:", "http://", "https://", "hf/", ".", "/", "~")
    is_ours = ref.startswith(starts) or ref.endswith(".gguf") or "/" not in ref or Path(ref).is_dir()
    return f"intarsia/{ref}" if is_ours else ref


def add_script(name: str, script: Script) -> None:
    """Makes a function the model `scripted/NAME`, in this process."""
    _scripts[name] = script


def _message(message: ChatMessage) -> Message:
    if isinstance(message, ChatMessageSystem):
        return system(message.text)
    return assistant(message.text) if isinstance(message, ChatMessageAssistant) else user(message.text)


def _output(model: str, reply: Reply) -> ModelOutput:
    usage = None
    if reply.usage is not None:
        tokens = reply.usage
        usage = ModelUsage(
            input_tokens=tokens.input_tokens,
            output_tokens=tokens.output_tokens,
            total_tokens=tokens.input_tokens + tokens.output_tokens,
        )
    message = ChatMessageAssistant(content=reply.text, model=model, source="generate")
    choice = ChatCompletionChoice(message=message, stop_reason=_STOPS[reply.stop])
    return ModelOutput(model=model, choices=[choice], usage=usage)
