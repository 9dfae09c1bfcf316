"""Intarsia: train small language-model experts, fit them into one model, and measure what it knows.

Importing this package costs nothing: a room (`intarsia.merge`, `intarsia.finetune`, ...) is imported when it is first
touched. The model classes Intarsia adds to transformers are known to the Auto classes as soon as both packages are
imported, in either order.
"""

from importlib import import_module
from types import ModuleType

from intarsia import _auto_classes

__version__ = "0.1.0"

_ROOMS = (
    "audit",
    "classification",
    "compress",
    "data",
    "engine",
    "evals",
    "experiments",
    "finetune",
    "fusion",
    "merge",
    "metrics",
    "models",
    "pipeline",
    "quantum",
    "serving",
)

__all__ = ["__version__", *_ROOMS]

_auto_classes.register_with_transformers()


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return import_module(f"intarsia.{name}")
    raise AttributeError(f"module 'intarsia' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
