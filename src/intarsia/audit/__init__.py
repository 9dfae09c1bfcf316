"""Evaluation suites for any chat model, each imported when it is first used.

`causal` asks about random causal graphs with invented names; every answer key is proved.
`bias` has a model complete statements about two groups and judge what it wrote, beside controls.
`roleplay` lures characters out of their roles and measures what defences cost.
"""

from importlib import import_module
from types import ModuleType

_SUITES = ("bias", "causal", "roleplay")

__all__ = sorted(_SUITES)


def __getattr__(name: str) -> ModuleType:
    if name not in _SUITES:
        raise AttributeError(f"module 'intarsia.audit' has no attribute {name!r}")
    return import_module(f"intarsia.audit.{name}")


def __dir__() -> list[str]:
    return list(__all__)
