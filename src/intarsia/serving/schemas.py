"""The bodies of requests.

What the server does not do is refused by name: a parameter that is accepted and ignored would give an answer to
another question. Only parameters that cannot change the answer are ignored.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

_MOST_STOPS = 16

# They label, bill or cache a request.
_WITHOUT_EFFECT = {
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    "parallel_tool_calls",
}

# Not supported, but clients send them with values that ask for nothing.
_ASKS_FOR_NOTHING: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "modalities": (None, ["text"]),
    "prediction": (None,),
    "reasoning_effort": (None,),
    "response_format": (None, {"type": "text"}),
    "suffix": (None, ""),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "verbosity": (None,),
    "web_search_options": (None,),
}


def _unsupported(name: str) -> PydanticCustomError:
    return PydanticCustomError("unsupported_parameter", "this server does not support {name}", {"name": name})


def _invalid(message: str) -> PydanticCustomError:
    # The message is a template to pydantic; braces of a client's own must not be one.
    return PydanticCustomError("invalid_value", "{message}", {"message": message})


def _check_text(value: str) -> str:
    # JSON can write halves of a surrogate pair, which are no text and no tokenizer takes.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _invalid("has characters that are not Unicode")
    return value


def _stop_list(value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else value if value is not None else []
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise _invalid("must be a text or a list of texts, none of them empty")
    if len(stops) > _MOST_STOPS:
        raise _invalid(f"must be at most {_MOST_STOPS} texts")
    return list(map(_check_text, stops))


def _prompt_list(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [_check_text(value)]
    if isinstance(value, list) and value:
        if all(map(_is_token, value)):
            return [value]
        if all(isinstance(one, str) for one in value):
            return list(map(_check_text, value))
        if all(isinstance(one, list) and one and all(map(_is_token, one)) for one in value):
            return value
    raise _invalid("must be a text, a list of texts, a list of token numbers or a list of such lists, none empty")


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text_content(value: Any) -> str:
    if value is None or isinstance(value, str):
        return _check_text(value or "")
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        for part in value:
            if part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise _unsupported(f"content parts of type {part.get('type')!r}, only text")
        return _check_text("".join(part["text"] for part in value))
    raise _invalid("must be a text or a list of text parts")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Message(_Body):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_text_content)] = ""
    name: Annotated[str, AfterValidator(_check_text)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_empty_fields(cls, data: Any) -> Any:
        """Clients send an assistant's message back with all its fields, most of them null."""
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if name in ("role", "content") or value not in (None, [])}

    def as_dict(self) -> dict[str, str]:
        """The message as a chat template reads it; templates know a developer's message as the system's."""
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": self.content} | ({"name": self.name} if self.name else {})


class StreamOptions(_Body):
    """What a stream holds besides the answer."""

    include_usage: bool | None = None
    # Padding against eavesdroppers that see the sizes of encrypted packets; it adds nothing to the answer.
    include_obfuscation: bool | None = None


class GenerationRequest(_Body):
    """What both kinds of requests have in common."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    stop: Annotated[list[str], BeforeValidator(_stop_list)] = []
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _sort_out(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for name, harmless in _ASKS_FOR_NOTHING.items():
            if name in data and data[name] not in harmless:
                raise _unsupported(name)
        ignored = _WITHOUT_EFFECT | _ASKS_FOR_NOTHING.keys()
        return {name: value for name, value in data.items() if name not in ignored}

    @model_validator(mode="after")
    def _check_stream_options(self) -> "GenerationRequest":
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("invalid_value", "stream_options needs stream: true", {"name": "stream_options"})
        return self

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def reported_tokens(self) -> int | None:
        """Number of likeliest tokens to report at each position; None for no report at all."""
        raise NotImplementedError


class ChatRequest(GenerationRequest):
    """A body of `/v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @model_validator(mode="after")
    def _check_pairs(self) -> "ChatRequest":
        both = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(both) > 1:
            raise PydanticCustomError(
                "invalid_value", "max_tokens and max_completion_tokens differ; give one", {"name": "max_tokens"}
            )
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError("invalid_value", "top_logprobs needs logprobs: true", {"name": "top_logprobs"})
        return self

    @property
    def reported_tokens(self) -> int | None:
        """Number of likeliest tokens to report at each position; None for no report at all."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(GenerationRequest):
    """A body of `/v1/completions`."""

    prompt: Annotated[list[str | list[int]], BeforeValidator(_prompt_list)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @property
    def reported_tokens(self) -> int | None:
        """Number of likeliest tokens to report at each position; None for no report at all."""
        return self.logprobs


def explain(problem: dict[str, Any]) -> tuple[str, str | None, str | None]:
    """Returns message, parameter and code of an error that pydantic found in a body."""
    path = ".".join(str(part) for part in problem["loc"][1:]) or None
    match problem["type"]:
        case "json_invalid":
            return f"the body is not valid JSON: {problem['ctx']['error']}", None, None
        case "unsupported_parameter":
            name = problem["ctx"]["name"]
            return f"this server does not support {name}", path or name, "unsupported_parameter"
        case "extra_forbidden":
            return f"this server does not know the parameter {path}", path, "unsupported_parameter"
        case "missing" if path is None:
            return "the body is empty; send JSON", None, None
        case "missing":
            return f"{path} is missing", path, "missing_parameter"
        case "model_attributes_type" | "dict_type" | "model_type" if path is None:
            return "the body must be a JSON object, sent with Content-Type: application/json", None, None
        case "invalid_value":
            name = problem["ctx"].get("name", path)
            return problem["msg"] if path is None else f"{path} {problem['msg']}", name, "invalid_value"
    return f"{path}: {problem['msg']}", path, "invalid_value"
