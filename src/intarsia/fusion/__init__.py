"""Fusing models while they decode: a large model specialised by what fine-tuning did to small ones.

Names are imported when they are first used, so that the solver, which needs only torch, does not wait for transformers.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "AlphaResult": "kl_solver",
    "FusedLogits": "kl_solver",
    "fuse_logits": "kl_solver",
    "solve_alpha": "kl_solver",
    "SolverConfig": "config",
    "FusionTrace": "trace",
    "TraceStep": "trace",
    "LogitFusionConfig": "fusion_config",
    "LogitFusionForCausalLM": "modeling",
    "LogitFusionProcessor": "processor",
    "SequenceScore": "modeling",
    "fuse_models": "building",
    "save_fused": "building",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'intarsia.fusion' has no attribute {name!r}")
    return getattr(import_module(f"intarsia.fusion.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
