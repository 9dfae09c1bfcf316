"""Intarsia's models in Inspect, Inspect's evaluations from Python, and its logs read back as plain rows.

Names are imported when they are first used, because Inspect takes seconds to load.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "ChatModelAPI": "providers",
    "EvalRun": "logs",
    "LoggedSample": "logs",
    "add_script": "providers",
    "find_logs": "logs",
    "naming_call": "providers",
    "read_run": "logs",
    "run": "running",
    "watching_samples": "progress",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
