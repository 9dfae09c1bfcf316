"""Asking language models as black boxes: one protocol, its models, and evaluations on top of Inspect.

`ChatModel` is all that the methods know of a model. `chat_model("openai/gpt-4o-mini")` makes one from a name, that
tries again, keeps to a number of calls and remembers answers; `ask_all` asks it about many items.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "AnsweringModel": "call",
    "BudgetExceededError": "failures",
    "BudgetedChat": "budget",
    "Call": "call",
    "ChatModel": "protocol",
    "InspectChat": "inspect_model",
    "LimitedChat": "limiting",
    "LocalChat": "local",
    "Message": "protocol",
    "ModelCallError": "failures",
    "ModelUnusableError": "failures",
    "OpenAICompatibleChat": "openai_compatible",
    "Preview": "previewing",
    "RecordedChat": "recording",
    "ReplayChat": "replay",
    "Reply": "protocol",
    "RetryingChat": "retrying",
    "ScriptedChat": "scripted",
    "Spent": "budget",
    "Usage": "protocol",
    "ask_all": "asking",
    "ask_each": "asking",
    "ask_in_workers": "workers",
    "assistant": "protocol",
    "chat_model": "resolving",
    "preview": "previewing",
    "run": "background",
    "spent": "budget",
    "system": "protocol",
    "user": "protocol",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
