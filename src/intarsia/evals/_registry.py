"""What Inspect finds under `intarsia/`: importing this module registers every task, solver, scorer and provider."""

from intarsia.audit.causal.evaluation import (
    accuracy_by_group,
    causal_prompt,
    causal_scorer,
    extract_answer,
    extracted_scorer,
)
from intarsia.audit.causal.tasks import CausalBaselineAPI, causal, causal_names
from intarsia.classification.tasks import classify_intent, intent, intent_scorer
from intarsia.evals.inspect.providers import ReferredChatAPI, ScriptedChatAPI

__all__ = [
    "CausalBaselineAPI",
    "ReferredChatAPI",
    "ScriptedChatAPI",
    "accuracy_by_group",
    "causal",
    "causal_names",
    "causal_prompt",
    "causal_scorer",
    "classify_intent",
    "extract_answer",
    "extracted_scorer",
    "intent",
    "intent_scorer",
]
