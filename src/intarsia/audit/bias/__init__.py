"""Re-judge inconsistency: does a model reject the stereotypes that it writes itself? With controls, or no verdict.

Content warning: the association tests hold offensive stereotypes, because these are what is measured. Names are
imported when they are first used.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "AGENTS": "simulation",
    "AssociationTest": "association",
    "Beliefs": "simulation",
    "BiasAuditConfig": "layout",
    "BiasAuditRun": "auditing",
    "BiasResult": "results",
    "Completion": "completion",
    "CompletionClass": "completion",
    "Item": "items",
    "Judgement": "judgement",
    "JudgementClass": "judgement",
    "Record": "asking",
    "RejudgeConfig": "config",
    "TEMPLATES": "templates",
    "Template": "templates",
    "WordList": "word_lists",
    "ask_item": "asking",
    "association_bias": "word_lists",
    "bias_report": "page",
    "bias_result": "results",
    "completion_prompt": "completion",
    "decision_question": "decisions",
    "detection": "indices",
    "explicit_index": "indices",
    "implicit_index": "indices",
    "judgement_prompt": "judgement",
    "logistic_slope": "decisions",
    "most_calls": "asking",
    "plan": "items",
    "read_bias_audit": "auditing",
    "read_completion": "completion",
    "read_decision": "decisions",
    "read_judgement": "judgement",
    "read_pairs": "pairs",
    "read_tests": "association",
    "read_word_list": "word_lists",
    "run_bias_audit": "auditing",
    "select_tests": "association",
    "shipped_tests": "association",
    "simulated_model": "simulation",
    "word_list_question": "word_lists",
    "write_bias_report": "auditing",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
