"""One page about a model: what the causal, role-play and bias audits find at a chosen number of calls.

Names are imported when they are first used.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "AllPlan": "budget",
    "Card": "card",
    "CardConfig": "running",
    "CardRun": "running",
    "Score": "card",
    "card_report": "page",
    "compare_cards": "comparing",
    "comparison_report": "page",
    "plan_calls": "budget",
    "read_card": "card",
    "run_all": "running",
    "write_comparison": "running",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
