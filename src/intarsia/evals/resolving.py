"""Making a chat model from what a user writes."""

from pathlib import Path

from intarsia.errors import InputError
from intarsia.evals.budget import BudgetedChat
from intarsia.evals.limiting import LimitedChat
from intarsia.evals.protocol import ChatModel
from intarsia.evals.recording import RecordedChat
from intarsia.evals.replay import ReplayChat
from intarsia.evals.retrying import RetryingChat

# Models are imported when they are made: torch and Inspect take seconds.

FORMS = (
    "asset:NAME, a folder or a .gguf file (in this process); hf/OWNER/NAME (the hub's, in this process); "
    "http://HOST:PORT/v1#NAME (an OpenAI-compatible API); replay:FILE.jsonl (recorded answers); "
    "PROVIDER/NAME, e.g. openai/gpt-4o-mini (a provider of Inspect)"
)


def chat_model(
    ref: str | ChatModel,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    record: Path | None = None,
    concurrency: int = 10,
    max_calls: int | None = None,
    tries: int = 5,
    timeout: float = 120.0,
) -> ChatModel:
    """Makes a model from its name, that tries again, keeps to limits and remembers what it answered.

    | Name | Model |
    | --- | --- |
    | `asset:NAME`, a folder, a `.gguf` file | In this process; fused and twin-merged models too. |
    | `hf/OWNER/NAME` | The hub's, in this process. |
    | `http://HOST:PORT/v1#NAME` | `NAME` of an OpenAI-compatible API; or `NAME` with `base_url`. |
    | `replay:FILE.jsonl`, `replay:FILE.jsonl#NAME` | Recorded answers, of the model `NAME`. |
    | `PROVIDER/NAME` | A provider of Inspect: `openai/...`, `anthropic/...`, `openai-api/SERVICE/...` and so on. |

    Args:
        ref: The name, or a model to wrap.
        base_url: Address of an OpenAI-compatible API that has a model of this name, whatever it looks like.
        api_key: Key of the API. By default that of the environment: `INTARSIA_API_KEY` for an address, the provider's
            own variable for a provider.
        record: JSONL file of answers. What stands there is not asked; new answers are added as they come.
        concurrency: Most calls at once.
        max_calls: Most calls in all; recorded answers are free.
        tries: How often a call is made at most if the model is busy, times out or garbles its reply.
        timeout: Seconds until an answer from elsewhere is given up.

    Raises:
        InputError: If the name has none of these forms, or there is no such recording.
        ModelError: If a model of this process cannot be found or loaded.
        MissingExtraError: If a package it needs is not installed.
        ConfigError: If a setting has a value that is not allowed.
    """
    if isinstance(ref, str):
        model = _find(ref, base_url, api_key, timeout, concurrency)
    elif base_url is not None or api_key is not None:
        raise InputError("base_url and api_key are for a model's name, but the model is made already", where=ref.name)
    else:
        model = ref
    model = BudgetedChat(LimitedChat(RetryingChat(model, tries), concurrency), max_calls)
    return model if record is None else RecordedChat(model, record)


def _find(ref: str, base_url: str | None, api_key: str | None, timeout: float, concurrency: int) -> ChatModel:
    if base_url is not None:
        return _endpoint(base_url, ref, api_key, timeout)
    if ref.startswith(("http://", "https://")):
        address, _, name = ref.partition("#")
        if not name:
            fix = f"add the model's name: {address}#NAME"
            raise InputError("the address does not say which model", where=address, fix=fix)
        return _endpoint(address, name, api_key, timeout)
    if ref.startswith("replay:"):
        file, _, name = ref.removeprefix("replay:").partition("#")
        return ReplayChat(file, name or None)
    if _is_local(ref):
        return _local(ref)
    if ref.startswith("hf/"):
        return _local(ref.removeprefix("hf/"))
    provider, slash, name = ref.partition("/")
    if slash and provider and name:
        return _provided(ref, api_key, timeout, concurrency)
    raise _unknown(ref)


def _is_local(ref: str) -> bool:
    path_like = ref.startswith(("asset:", ".", "/", "~")) or ref.endswith(".gguf")
    return path_like or (bool(ref) and Path(ref).is_dir())


def _local(ref: str) -> ChatModel:
    from intarsia.evals.local import LocalChat
    from intarsia.models import load_causal_lm, resolve

    # Loading goes first: it explains what is wrong with the model argument.
    return LocalChat(load_causal_lm(ref), name=resolve(ref).ref)


def _endpoint(base_url: str, name: str, api_key: str | None, timeout: float) -> ChatModel:
    from intarsia.evals.openai_compatible import OpenAICompatibleChat

    return OpenAICompatibleChat(base_url, name, api_key=api_key, timeout=timeout)


def _provided(ref: str, api_key: str | None, timeout: float, concurrency: int) -> ChatModel:
    from intarsia.evals.inspect_model import InspectChat

    try:
        return InspectChat(ref, api_key=api_key, timeout=timeout, concurrency=concurrency)
    except InputError as error:
        if "not recognized" in error.what:
            raise _unknown(ref) from None
        raise


def _unknown(ref: str) -> InputError:
    return InputError(f"{ref!r} names no chat model", fix=f"give one of: {FORMS}")
