"""Makes Intarsia's model classes known to transformers' Auto classes without importing transformers early.

transformers is slow to import, so `import intarsia` must not do it; yet a folder saved by Intarsia should load with
plain `AutoModel...from_pretrained`. If transformers is there already we register at once, otherwise right after
somebody imports `transformers.models.auto`.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

_TRIGGER = "transformers.models.auto.modeling_auto"

# Modules whose import registers their configs and models with the Auto classes.
_MODELING_MODULES: tuple[str, ...] = (
    "intarsia.compress.modeling",
    "intarsia.fusion.modeling",
    "intarsia.merge.modeling",
)


def register_with_transformers() -> None:
    """Registers now if transformers' Auto classes are loaded, else as soon as they are."""
    if _TRIGGER in sys.modules:
        _import_modeling()
    elif not any(isinstance(finder, _AfterAutoClasses) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterAutoClasses())


def _import_modeling() -> None:
    for module in _MODELING_MODULES:
        importlib.import_module(module)


class _AfterAutoClasses(importlib.abc.MetaPathFinder):
    """Finds the trigger module as usual, but has its loader import our modeling modules afterwards."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _TRIGGER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenRegister(spec.loader)
        return spec


class _ThenRegister(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _import_modeling()
