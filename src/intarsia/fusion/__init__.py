"""Fusing models while they decode: a large model specialised by what fine-tuning did to small ones.

Names are imported when they are first used, so that the solver, which needs only torch, does not wait for transformers.
"""

from intarsia._lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
