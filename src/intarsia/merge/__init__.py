"""Merging experts into one model: static methods on task vectors, and Twin-Merging with a router.

Names are imported when they are first used, so that a static merge, which needs only torch and safetensors, does not
wait for (or hold in memory) the modelling code.
"""

from intarsia._lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
