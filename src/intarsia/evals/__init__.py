"""Asking language models as black boxes: one protocol, its models, and evaluations on top of Inspect.

`ChatModel` is all that the methods know of a model. `chat_model("openai/gpt-4o-mini")` makes one from a name.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "ChatModel": "chat_model",
    "Message": "chat_model",
    "ModelCallError": "failures",
    "Reply": "chat_model",
    "ScriptedChat": "scripted",
    "Usage": "chat_model",
    "assistant": "chat_model",
    "system": "chat_model",
    "user": "chat_model",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
