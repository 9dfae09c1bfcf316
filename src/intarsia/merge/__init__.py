"""Merging experts into one model: static methods on task vectors, and Twin-Merging with a router.

Names are imported when they are first used, so that a static merge, which needs only torch and safetensors, does not
wait for (or hold in memory) the modelling code.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Checkpoint": "checkpoints",
    "Expert": "checkpoints",
    "LowRank": "checkpoints",
    "open_expert": "checkpoints",
    "open_experts": "checkpoints",
    "MergeResult": "static",
    "merge_checkpoints": "static",
    "merge_state": "static",
    "find_method": "methods",
    "list_methods": "methods",
    "merge_method": "methods",
    "AdaMergingParams": "methods.adamerging",
    "adamerging_coefficients": "methods.adamerging",
    "fisher_diagonal": "methods.fisher",
    "gram_matrices": "methods.regmean",
    "Head": "heads",
    "Router": "router",
    "RouterConfig": "config",
    "TwinMergedConfig": "modeling",
    "TwinMergedForCausalLM": "modeling",
    "TwinMergedForSequenceClassification": "modeling",
    "TwinMergingConfig": "config",
    "embed_texts": "twin",
    "fit_router": "twin",
    "merge_residual_encoders": "twin",
    "merge_residuals": "twin",
    "train_router": "router",
    "twin_merge": "twin",
    "twin_merge_classifiers": "twin",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'intarsia.merge' has no attribute {name!r}")
    return getattr(import_module(f"intarsia.merge.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
