"""What Inspect finds under `intarsia/`: importing this module registers every task, solver, scorer and provider."""

from intarsia.audit.bias.evaluation import by_test, d_prime, iat_bias, rejudge_scorer, rejudge_statement, word_list
from intarsia.audit.bias.tasks import SimulatedAPI, iat, rejudge
from intarsia.audit.causal.evaluation import (
    accuracy_by_group,
    causal_prompt,
    causal_scorer,
    extract_answer,
    extracted_scorer,
)
from intarsia.audit.causal.tasks import CausalBaselineAPI, causal, causal_names
from intarsia.audit.roleplay.tasks import (
    judge_role,
    mean_by_attack,
    play_role,
    role_rules,
    rolebreak,
    rolebreak_judge,
)
from intarsia.classification.tasks import classify_intent, intent, intent_scorer
from intarsia.evals.inspect.providers import ReferredChatAPI, ScriptedChatAPI

__all__ = [
    "CausalBaselineAPI",
    "ReferredChatAPI",
    "ScriptedChatAPI",
    "SimulatedAPI",
    "accuracy_by_group",
    "by_test",
    "causal",
    "causal_names",
    "causal_prompt",
    "causal_scorer",
    "classify_intent",
    "d_prime",
    "extract_answer",
    "extracted_scorer",
    "iat",
    "iat_bias",
    "intent",
    "intent_scorer",
    "judge_role",
    "mean_by_attack",
    "play_role",
    "rejudge",
    "rejudge_scorer",
    "rejudge_statement",
    "role_rules",
    "rolebreak",
    "rolebreak_judge",
    "word_list",
]
